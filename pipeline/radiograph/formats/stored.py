"""A picture as its container holds it, and how large it may be before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import Display

MAX_FILE = 64 * 2**20
"""Bytes of a file: twice what the largest radiograph takes uncompressed."""
MAX_PIXELS = 16_000_000
"""The largest detectors in use have 15 Mpx (4280x3520)."""
MAX_DECODED = 64 * 2**20
"""Bytes of the decoded picture: 16 Mpx of four channels."""
MAX_EXPANSION = 1000
"""Decoded bytes per compressed one; no picture with a lung in it comes near."""
SMALL = 5_000_000
"""Up to so many decoded bytes the expansion does not matter: an even mask packs as tightly."""


@dataclass(frozen=True)
class Stored:
    """A decoded picture, not yet judged as a radiograph or mask."""

    levels: NDArray[Any]
    """uint8 or uint16, (H, W) or (H, W, 3 or 4), the fourth channel being the opacity.

    Of a file with values that are no shades, its stored bits as unsigned numbers.
    """
    mode: str
    """How the file holds it: "L", "RGB", "I;16", "MONOCHROME2 12 bit" and the like."""
    display: Display | None = None
    """How levels become shades, as declared; None for levels, uint8, that are shades already."""
    notes: tuple[str, ...] = ()
    """What a person should know of a file that is read all the same."""


class Container(Protocol):
    """A file whose structure and header were found good; its pixels are not decoded yet."""

    @property
    def width(self) -> int:
        """Pixels in a row."""

    @property
    def height(self) -> int:
        """Rows."""

    def decode(self) -> Stored:
        """Decode the pixels; raises UnreadableError."""


def refuse_large(width: int, height: int, decoded: int, compressed: int) -> None:
    """Raise UnreadableError("too_large") for a header that no radiograph has; sizes in bytes."""
    if width * height > MAX_PIXELS or decoded > MAX_DECODED:
        raise UnreadableError(
            "too_large",
            f"header declares {width}x{height} pixels of {decoded} bytes, expected at most "
            f"{MAX_PIXELS} pixels of {MAX_DECODED} bytes; export it smaller",
        )
    if decoded > max(SMALL, MAX_EXPANSION * compressed):
        raise UnreadableError(
            "too_large",
            f"header declares {decoded} bytes of pixels in {compressed} compressed ones, expected "
            f"at most {MAX_EXPANSION} times as many; export it again",
        )


def damaged(found: str) -> UnreadableError:
    """Return the error for a file that broke off or was changed on its way."""
    return UnreadableError("truncated", f"{found}: the file is damaged; fetch it again")
