"""Other spellings of the layout: of the folders of radiographs and masks, and of a mask's name.

`Images`, `lung masks` and `leftMask` are folders that people deliver; `a_mask.png`, `mask-a.png`
and `a_left.png` are masks of `a.png`.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

OF_TWO_LUNGS = "deliver them with `lungseg data import`, which joins the masks of two lungs"
"""What to do with masks of one lung each in data/."""

WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W_a-zA-Z]+")
IMAGE_WORDS = {"image", "images", "img", "imgs", "radiograph", "radiographs", "cxr", "cxrs"}
IMAGE_WORDS |= {"xray", "xrays"}
MASK_WORDS = {"mask", "masks", "msk", "seg", "segmentation", "segmentations"}
BESIDE_MASK = {"lung", "lungs", "manual"}


class Side(Enum):
    """Of the patient's lungs or of the picture: which one is of no account here."""

    LEFT = "left"
    RIGHT = "right"


SIDES = {"left": Side.LEFT, "l": Side.LEFT, "right": Side.RIGHT, "r": Side.RIGHT}
TAIL = re.compile(
    rf"(.+?)(?:[ _.-]+[(\[]?|[(\[])({'|'.join(MASK_WORDS | BESIDE_MASK | SIDES.keys())})[)\]]?",
    re.IGNORECASE,
)
HEAD = re.compile(
    rf"({'|'.join(MASK_WORDS | BESIDE_MASK | SIDES.keys())})[ _.-]+(.+)", re.IGNORECASE
)
JOINED = re.compile(r"(.+[\d_a-z])(Mask|MASK|mask)")


class FolderRole(NamedTuple):
    """What a folder below a class holds."""

    is_mask: bool
    side: Side | None = None
    """Which lung its masks have, when it is one."""


def role_of_folder(name: str) -> FolderRole | None:
    """What a folder of this name holds; None for another name."""
    words = [word.lower() for word in WORDS.findall(name)]
    sides = [SIDES[word] for word in words if word in SIDES]
    rest = {word for word in words if word not in SIDES}
    if rest and rest <= IMAGE_WORDS and not sides:
        return FolderRole(is_mask=False)
    if rest & MASK_WORDS and rest <= MASK_WORDS | BESIDE_MASK and len(sides) < 2:
        return FolderRole(True, sides[0] if sides else None)
    return None


def side_of_folder(name: str) -> Side | None:
    """Which lung a folder among the masks is for, such as `left` and `rightMask`."""
    words = [word.lower() for word in WORDS.findall(name)]
    sides = [SIDES[word] for word in words if word in SIDES]
    rest = {word for word in words if word not in SIDES}
    return sides[0] if len(sides) == 1 and rest <= MASK_WORDS | BESIDE_MASK else None


def stems_of_radiograph(stem: str) -> Iterator[tuple[str, Side | None]]:
    """The stems that the radiograph of the mask `stem` may have, the most alike first.

    Each with the lung that the mask's name gives.
    """
    side = None
    yield plain_stem(stem), side
    while True:
        tail, head = TAIL.fullmatch(stem) or JOINED.fullmatch(stem), HEAD.fullmatch(stem)
        if tail:
            stem, word = tail[1].rstrip(" _.-"), tail[2]
        elif head:
            word, stem = head[1], head[2]
        else:
            return
        side = SIDES.get(word.lower(), side)
        yield plain_stem(stem), side


def plain_stem(stem: str) -> str:
    """The stem as it is compared: a Mac parts letters from their accents."""
    return unicodedata.normalize("NFC", stem)


def spelt_as(name: str, known: Iterable[str]) -> str:
    """The one of `known` that is `name`, else one of the same letters, else `name` itself."""
    alike = [one for one in known if plain_stem(one) == plain_stem(name)]
    return name if name in alike else next(iter(alike), name)


def move_command(source: Path, target: Path) -> str:
    """The shell command that gives a file or folder another name, and never takes another's."""
    return f"mv -n {shlex.join(map(str, (source, target)))}"


def renamed_in_data(*renamed: tuple[Path, str]) -> str:
    """What to do to give files or folders of data/ other names."""
    moves = [(Path("data", path), Path("data", path).with_name(name)) for path, name in renamed]
    return f"`{' && '.join(move_command(*move) for move in moves)}`, then `dvc add data`"


def one_name_for(image: Path, mask: Path) -> str:
    """What to do with a radiograph and its mask of data/ whose names differ."""
    if any(side for _, side in stems_of_radiograph(mask.stem)):
        return OF_TWO_LUNGS
    if {path.suffix.lower() for path in (image, mask)} != {".png"}:
        return f"export both as PNG and name both {image.stem}.png"
    target = f"{image.stem}.png"
    return renamed_in_data(*((path, target) for path in (image, mask) if path.name != target))
