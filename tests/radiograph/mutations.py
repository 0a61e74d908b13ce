"""Radiographs and masks damaged at random, and what reading them takes.

Run as a process of its own: `python -m tests.radiograph.mutations KIND FOLDER` prints a report as
JSON; KIND is `damaged` or `bombs`.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.errors import UnreadableError
from pipeline.radiograph.reading import load_mask, load_radiograph
from tests.conftest import draw_pair
from tests.radiograph.bombs import BOMBS
from tests.radiograph.containers import chunks_of, dicom, dicom_bytes, encoded, png_of, with_chunk
from tests.radiograph.jpeg_streams import extended, lossless, ls

COUNT = 2000
SECONDS = 2.0
"""Of processor time, for one file."""


class HangError(BaseException):
    """Reading a file took too long; no code that catches errors may catch this one."""


def bases() -> list[tuple[str, bytes]]:
    """Good files of every kind, as name and content."""
    image, mask = (np.asarray(half) for half in draw_pair(1, 96))
    deep = image.astype(np.uint16) * 257
    palette = encoded(image, mode="P")
    place = [name for name, _ in chunks_of(palette)].index(b"IDAT")
    twelve = image.astype(np.uint16) << 4
    packed = dicom(twelve, 12, PhotometricInterpretation="MONOCHROME1")
    packed.compress(RLELossless, generate_instance_uid=False)
    frames = {
        JPEGBaseline8Bit: encoded(image, "JPEG"),
        JPEG2000Lossless: encode_array(image, bits_stored=8),
        JPEGLosslessSV1: lossless(image, 8),
        JPEGLSLossless: ls(image),
        JPEGExtended12Bit: extended(image.astype(np.uint16)),
    }
    framed = [dicom(image) for _ in frames]
    for dataset, (syntax, frame) in zip(framed, frames.items(), strict=True):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
    deflated = dicom(twelve, 12)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    windowed = dicom(twelve, 12, WindowCenter=2000, WindowWidth=3000, RescaleSlope=1)
    return [
        *[("a.png", encoded(pixels)) for pixels in (image, mask, mask[..., 0], deep) * 2],
        ("a.png", encoded(image, mode="RGBA")),
        ("a.png", with_chunk(palette, b"tRNS", b"\xff" * 200, place)),
        ("a.png", with_chunk(encoded(deep), b"sBIT", b"\x0c")),
        ("a.png", encoded(mask[..., 0] > 0)),
        ("a.jpg", encoded(image, "JPEG")),
        ("a.jpg", encoded(image, "JPEG", progressive=True)),
        *[("a.dcm", dicom_bytes(dataset)) for dataset in (windowed, packed, deflated, *framed)],
    ]


def mutated(dice: np.random.Generator, content: bytes) -> bytes:
    """Damage a file as a bad disk, a broken transfer or a careless program would."""
    kinds = [truncated, flipped, flipped_early, cut_out, overwritten]
    if content.startswith(b"\x89PNG"):
        kinds += [chunks_swapped, chunk_deleted, chunk_doubled, chunk_changed, header_changed] * 2
        kinds += [rows_changed]
    return kinds[dice.integers(len(kinds))](dice, content)


def truncated(dice: np.random.Generator, content: bytes) -> bytes:
    return content[: dice.integers(len(content))]


def flipped(dice: np.random.Generator, content: bytes, limit: int | None = None) -> bytes:
    changed = bytearray(content)
    for place in dice.integers(0, limit or len(changed), dice.integers(1, 9)):
        changed[place] ^= 1 << dice.integers(8)
    return bytes(changed)


def flipped_early(dice: np.random.Generator, content: bytes) -> bytes:
    return flipped(dice, content, min(len(content), 900))


def cut_out(dice: np.random.Generator, content: bytes) -> bytes:
    start = dice.integers(len(content))
    return content[:start] + content[start + dice.integers(1, 200) :]


def overwritten(dice: np.random.Generator, content: bytes) -> bytes:
    start = dice.integers(len(content))
    return content[:start] + dice.bytes(dice.integers(1, 40)) + content[start:]


def chunks_swapped(dice: np.random.Generator, content: bytes) -> bytes:
    chunks = chunks_of(content)
    one, other = dice.integers(0, len(chunks), 2)
    chunks[one], chunks[other] = chunks[other], chunks[one]
    return png_of(chunks)


def chunk_deleted(dice: np.random.Generator, content: bytes) -> bytes:
    chunks = chunks_of(content)
    del chunks[dice.integers(len(chunks))]
    return png_of(chunks)


def chunk_doubled(dice: np.random.Generator, content: bytes) -> bytes:
    chunks = chunks_of(content)
    return png_of([*chunks, chunks[dice.integers(len(chunks))]][:: dice.choice([1, 1, -1])])


def chunk_changed(dice: np.random.Generator, content: bytes) -> bytes:
    """Flip bits within a chunk; its checksum is good again."""
    chunks = chunks_of(content)
    place = dice.integers(len(chunks) - 1)
    name, body = chunks[place]
    chunks[place] = name, flipped(dice, body)
    return png_of(chunks)


def header_changed(dice: np.random.Generator, content: bytes) -> bytes:
    """Write another width, height, depth or kind, with and without a good checksum."""
    fields = list(struct.unpack(">IIBBBBB", chunks_of(content)[0][1]))
    place = dice.integers(len(fields))
    sizes = [0, 1, 63, 64, 96, 97, 300, 5000, 40_000, 2**31 - 1]
    fields[place] = int(dice.choice(sizes if place < 2 else [0, 1, 2, 3, 4, 6, 8, 16]))
    header = struct.pack(">IIBBBBB", *fields)
    if dice.random() < 0.3:
        return content[:16] + header + content[29:]
    return png_of([(b"IHDR", header), *chunks_of(content)[1:]])


def rows_changed(dice: np.random.Generator, content: bytes) -> bytes:
    """Change what the compressed pixels hold, among it the filters; all checksums are good."""
    chunks = chunks_of(content)
    pixels = [place for place, (name, _) in enumerate(chunks) if name == b"IDAT"]
    rows = flipped(dice, zlib.decompress(b"".join(chunks[place][1] for place in pixels)))
    rows = rows[: len(rows) - int(dice.choice([0, 0, 1]))]
    return png_of([*chunks[: pixels[0]], (b"IDAT", zlib.compress(rows)), *chunks[pixels[-1] + 1 :]])


def mutations(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged files, the same ones each time."""
    good = bases()
    for number in range(count):
        name, content = good[number % len(good)]
        yield name, mutated(np.random.default_rng(number), content)


def read_all(files: Iterable[tuple[str, bytes]], folder: Path) -> dict[str, Any]:
    """Read every file as a radiograph and as a mask; what escapes is named, not raised."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    signal.signal(signal.SIGPROF, _give_up)
    for number, (name, content) in enumerate(files):
        path = folder / name
        path.write_bytes(content)
        for load in (load_radiograph, load_mask):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                outcomes[f"loaded {load(path).mode.split()[0]}"] += 1
            except UnreadableError as error:
                outcomes[error.reason] += 1
                if "\n" in str(error) or not str(error).startswith(f"{path}: "):
                    wrong.append(f"{number}: {error}")
            except BaseException as error:
                wrong.append(f"{number} {name} {load.__name__}: {error!r}")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    return {"outcomes": outcomes, "wrong": wrong, "peak": peak_memory()}


def _give_up(_signal: int, _frame: object) -> None:
    raise HangError


def peak_memory() -> int:
    """The most memory this process ever held, in bytes.

    Not ru_maxrss, which starts with what the parent held.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    read_all(bases(), Path(sys.argv[2]))
    before = peak_memory()
    files = mutations(COUNT) if sys.argv[1] == "damaged" else iter(BOMBS.values())
    report = read_all(files, Path(sys.argv[2]))
    sys.stdout.write(json.dumps(report | {"growth": report["peak"] - before}))
