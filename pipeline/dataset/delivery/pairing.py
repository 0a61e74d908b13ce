"""Which delivered mask belongs to which radiograph of a class, judged by names alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.dataset.layout import Pair, same_name
from pipeline.dataset.spellings import Side, move_command, plain_stem, stems_of_radiograph


class DeliveredMask(NamedTuple):
    """A mask's file."""

    path: Path
    """Relative to the delivery's root."""
    side: Side | None
    """Which lung it has, where its folder says so."""


@dataclass(frozen=True)
class DeliveredPair:
    """A pair, and the files that it is delivered as, relative to the delivery's root."""

    pair: Pair
    image: Path
    masks: tuple[Path, ...]
    """One, or one for each lung."""


@dataclass(frozen=True)
class Pairing:
    """The pairs of a class, and what has no other half."""

    pairs: list[DeliveredPair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def pair_up(class_name: str, images: Iterable[Path], masks: Iterable[DeliveredMask]) -> Pairing:
    """Give each radiograph its mask: of the same name, or of one that says it is its mask."""
    radiographs = {plain_stem(path.stem): path for path in images}
    groups, lone = _grouped(radiographs, masks)
    found = Pairing()
    for stem, image in sorted(radiographs.items()):
        of_image = sorted(groups.get(stem, []))
        if _complete(of_image):
            paths = tuple(mask.path for mask in of_image)
            found.pairs.append(DeliveredPair(Pair(class_name, image.stem), image, paths))
        elif of_image:
            found.problems.append(_unclear(image, of_image))
        else:
            found.problems.append(_without_mask(image, lone))
    found.problems.extend(
        f"{shown_path(path)}: has no radiograph; add or remove" for path in sorted(lone)
    )
    return found


def shown_path(path: Path) -> str:
    """The path, printable."""
    return path.as_posix() if path.as_posix().isprintable() else repr(path.as_posix())


def _grouped(
    radiographs: Mapping[str, Path], masks: Iterable[DeliveredMask]
) -> tuple[dict[str, list[DeliveredMask]], list[Path]]:
    """The masks by the stem of their radiograph, and those of none."""
    groups: dict[str, list[DeliveredMask]] = defaultdict(list)
    lone = []
    for mask in masks:
        stems = stems_of_radiograph(mask.path.stem)
        known = next(((stem, side) for stem, side in stems if stem in radiographs), None)
        if known is None:
            lone.append(mask.path)
        else:
            groups[known[0]].append(mask._replace(side=mask.side or known[1]))
    return groups, lone


def _complete(masks: Sequence[DeliveredMask]) -> bool:
    """Whether these are one mask, or one of each lung."""
    sides = [mask.side for mask in masks]
    return sides == [None] or (len(sides) == 2 and set(sides) == set(Side))


def _unclear(image: Path, masks: Sequence[DeliveredMask]) -> str:
    names = ", ".join(shown_path(mask.path) for mask in masks)
    if len(masks) > 1:
        return f"{shown_path(image)}: has {len(masks)} masks, {names}; keep one, or one per lung"
    remedy = move_command(masks[0].path, _beside(masks[0].path, image))
    return (
        f"{shown_path(image)}: has the mask of one lung alone, {names}; add the other one, or, if "
        f"this has both, `{remedy}`"
    )


def _without_mask(image: Path, lone: list[Path]) -> str:
    """The problem of a radiograph without a mask; its likely one is taken out of `lone`."""
    for mask in lone:
        stems = {same_name(stem) for stem, _ in stems_of_radiograph(mask.stem)}
        if same_name(image.stem) in stems:
            lone.remove(mask)
            remedy = move_command(mask, _beside(mask, image))
            return f"{shown_path(image)}: its mask is named {mask.name}; rename it: `{remedy}`"
    return f"{shown_path(image)}: has no mask; add or remove"


def _beside(mask: Path, image: Path) -> Path:
    return mask.with_name(f"{image.stem}.png")
