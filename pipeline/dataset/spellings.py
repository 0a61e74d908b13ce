"""Other spellings of the layout: of the folders of radiographs and masks, and of a mask's name.

`Images`, `lung masks` and `leftMask` are folders that people deliver; `a_mask.png`, `mask-a.png`
and `a_left.png` are masks of `a.png`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

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
