"""What to do with a delivery of another layout: shell commands for the folder of the delivery."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from pipeline.dataset.layout import IMAGES, MASKS
from pipeline.dataset.spellings import move_command, role_of_folder, stems_of_radiograph

ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"}
PNG = ".[Pp][Nn][Gg]"
"""As the shell matches it."""


def one_folder(half: str, folders: Iterable[Path]) -> list[str]:
    """The problem of several folders for one half of the pairs, if there are."""
    first, *others = sorted(folders) or [Path()]
    return [
        f"{other.as_posix()}: holds {half} as {first.as_posix()} does; keep one, or "
        f"`mv -n {shlex.quote(other.as_posix())}/* {shlex.quote(first.as_posix())}/`"
        for other in others
    ]


def advice_on_folder(folder: Path, images: bool, masks: bool) -> str:
    """Where an unknown folder stands in for the only half that a class lacks."""
    if images == masks:
        return ""
    missing = MASKS if images else IMAGES
    return f"; if these are the {missing}, `{move_command(folder, folder.with_name(missing))}`"


def advice_on_flat_class(folder: Path, names: Iterable[str]) -> str:
    """For radiographs and masks that lie in one folder, told apart by the names of masks."""
    stems = {Path(name).stem for name in names if name.lower().endswith(".png")}
    marked = [
        stem
        for stem in stems
        if "mask" in stem.lower() and any(one in stems for one, _ in stems_of_radiograph(stem))
    ]
    if not marked or len(marked) == len(stems):
        return ""
    return (
        f"; if the masks are named as {min(marked)}.png, `cd {shlex.quote(folder.as_posix())} && "
        f"mkdir -p {IMAGES} {MASKS} && mv -n *[Mm][Aa][Ss][Kk]*{PNG} {MASKS}/ && "
        f"mv -n *{PNG} {IMAGES}/`"
    )


def advice_on_flat_classes(folder: Path, below: Iterable[Path]) -> str:
    """For folders that look like classes without the two folders in each."""
    for path in below:
        names = [file.name for file in path.iterdir()]
        advice = advice_on_flat_class(path.relative_to(folder), names)
        if advice:
            return advice
    return ""


def advice_on_archives(folder: Path) -> str:
    """For a folder that holds an archive instead of its content."""
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in ARCHIVES]
    if not names:
        return ""
    return f"; it holds {min(names)}, import that by itself as a zip, or unpack it first"


def advice_on_halves_of_classes(folder: Path, root: Path) -> str:
    """For a folder that holds images/<class> and masks/<class>; empty for another one."""
    halves = {}
    for path in root.iterdir():
        if path.is_dir() and (role := role_of_folder(path.name)):
            halves[MASKS if role.is_mask else IMAGES] = path
    within = [{path.name for path in half.iterdir() if path.is_dir()} for half in halves.values()]
    if len(halves) != 2 or not set.intersection(*within):
        return ""
    names = {half: shlex.quote(path.name) for half, path in halves.items()}
    moves = " && ".join(f'mv -n {name}/"$c" "$c"/{half}' for half, name in names.items())
    return (
        f"holds {MASKS}/<class>, expected <class>/{MASKS}; "
        f"`cd {shlex.quote(root.relative_to(folder).as_posix())} && "
        f'for c in {names[IMAGES]}/*/; do c=$(basename "$c"); mkdir -p "$c" && {moves}; done && '
        f"rmdir {' '.join(names.values())}`"
    )


def advice_on_name(name: str) -> str:
    """For a name that cannot be shown: written in a code page, or with control characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return (
            "rename it, or import the zip itself, or for names of a Russian Windows, `convmv -r "
            "-f cp866 -t utf8 --notest .`"
        )
    return "rename it"
