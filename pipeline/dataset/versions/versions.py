"""The dataset's versions: the commits that changed data.dvc, and what each of them holds."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pipeline.artifacts import StrictModel
from pipeline.dataset.layout import IMAGES, Pair
from pipeline.errors import DatasetError
from pipeline.files import link_file
from pipeline.git_command import run_git
from pipeline.settings import Settings, child_environment
from pipeline.workspace.dvc_config import join_cache, shared_cache
from pipeline.workspace.objects import (
    DataPointer,
    find_damage,
    object_path,
    parse_pointer,
    read_listing,
)
from pipeline.workspace.revisions import checkout_revision

POINTER = "data.dvc"
WORKING_TREE = "working tree"


@dataclass(frozen=True)
class Version:
    """A state of the dataset that DVC knows."""

    commit: str
    """Short hash, or WORKING_TREE."""
    date: str
    """Of the commit, YYYY-MM-DD."""
    subject: str
    """First line of the commit's message."""
    pointer: DataPointer
    text: str
    """The data.dvc itself."""


def list_versions(project: Path) -> list[Version]:
    """Return every version that git knows, newest first, led by an uncommitted one if there is."""
    _demand_commit(project)
    log = _git(project, "log", "--format=%h%x1f%cs%x1f%s", "--", POINTER) or ""
    lines = [line.split("\x1f") for line in log.splitlines()]
    shown = [(_show(project, commit), commit, date, subject) for commit, date, subject in lines]
    # A commit that removed data.dvc has none.
    versions = [_version(*known) for known in shown if known[0]]
    if not (project / POINTER).is_file():
        return versions
    here = find_version(project, None)
    if versions and here.pointer.md5 == versions[0].pointer.md5:
        return versions
    return [here, *versions]


def find_version(project: Path, revision: str | None) -> Version:
    """Return the version at a git revision, or that of the working tree's data.dvc for None.

    Raises DatasetError for an unknown revision and for one without a dataset.
    """
    if revision is None:
        if not (project / POINTER).is_file():
            raise DatasetError(f"{project / POINTER}: no such file; import or check out a dataset")
        text = (project / POINTER).read_text(encoding="utf-8")
        return _version(text, WORKING_TREE, "", "not committed")
    _demand_commit(project)
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    commit = _git(project, *arguments)
    if not commit:
        raise DatasetError(
            f"revision {revision!r}: not in this repository; name a commit, branch or tag of it",
        )
    known = _show(project, commit.strip())
    if not known:
        raise DatasetError(
            f"revision {revision!r}: has no {POINTER}; "
            "`lungseg data log` lists those that have one",
        )
    about = _git(project, "log", "-1", "--format=%h%x1f%cs%x1f%s", commit.strip()) or ""
    return _version(known, *about.rstrip("\n").split("\x1f"))


def _version(text: str, commit: str, date: str, subject: str) -> Version:
    where = POINTER if commit == WORKING_TREE else f"{commit}:{POINTER}"
    return Version(commit, date, subject, parse_pointer(text, where), text)


def _show(project: Path, commit: str) -> str:
    return _git(project, "show", f"{commit}:./{POINTER}") or ""


def _demand_commit(project: Path) -> None:
    if not _git(project, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise DatasetError(f"{project}: not a git repository with a commit; run from the project")


def _git(project: Path, *arguments: str) -> str | None:
    """The output of git; None when it fails."""
    done = run_git(arguments, project)
    return None if done.returncode else done.stdout


def list_pairs(listing: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return image_id to the MD5s of radiograph and mask, for every pair among the files."""
    pairs = {}
    for path in listing:
        parts = PurePosixPath(path).parts
        if len(parts) == 3 and parts[1] == IMAGES and path.endswith(".png"):
            pair = Pair(parts[0], parts[2].removesuffix(".png"))
            image, mask = pair.image.as_posix(), pair.mask.as_posix()
            if mask in listing:
                pairs[pair.image_id] = (listing[image], listing[mask])
    return pairs


def count_classes(image_ids: Iterable[str]) -> dict[str, int]:
    """Pairs per class, by the name of the class."""
    return dict(sorted(Counter(image_id.split("/")[0] for image_id in image_ids).items()))


class VersionRow(StrictModel):
    """A version for people and machines."""

    commit: str
    """Short hash, or WORKING_TREE."""
    date: str
    """Of the commit, YYYY-MM-DD."""
    subject: str
    """First line of the commit's message."""
    md5: str
    """Of the list of its files; ends in `.dir`."""
    size: int
    """Bytes."""
    files: int
    pairs: int | None
    """None when the list of its files is not in DVC's cache, or damaged there."""
    classes: dict[str, int] | None
    """Pairs of each class; None likewise."""


def describe_versions(settings: Settings, versions: list[Version]) -> list[VersionRow]:
    """Return a row per version."""
    return [_describe(shared_cache(settings), version) for version in versions]


def _describe(cache: Path, version: Version) -> VersionRow:
    classes = None
    if not find_damage(cache, {POINTER: version.pointer.md5}, files=False):
        classes = count_classes(list_pairs(read_listing(cache, version.pointer.md5)))
    return VersionRow(
        commit=version.commit,
        date=version.date,
        subject=version.subject,
        **asdict(version.pointer),
        pairs=None if classes is None else sum(classes.values()),
        classes=classes,
    )


def read_files(settings: Settings, version: Version) -> dict[str, str]:
    """Return path to MD5 of the version's files, fetching their list if the cache has none."""
    cache = shared_cache(settings)
    if not object_path(cache, version.pointer.md5).is_file():
        _fetch(settings, version)
    try:
        return read_listing(cache, version.pointer.md5)
    except DatasetError as error:
        raise DatasetError(f"{version.commit}: {error}") from None


def link_files(settings: Settings, version: Version, folder: Path) -> None:
    """Make `folder` hold the version's files as links into DVC's cache, fetching what it lacks.

    Raises DatasetError for a missing or damaged object, naming file and remedy.
    """
    cache, hashes = shared_cache(settings), {"data": version.pointer.md5}
    if find_damage(cache, hashes):
        _fetch(settings, version)
    if damage := find_damage(cache, hashes):
        raise DatasetError(f"{version.commit}: {damage}")
    for file, md5 in read_listing(cache, version.pointer.md5).items():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        link_file(object_path(cache, md5), target)


def _fetch(settings: Settings, version: Version) -> None:
    """Ask the remote for the version, in a clone that is thrown away; what is missing stays so."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "clone")
        revision = "HEAD" if version.commit == WORKING_TREE else version.commit
        checkout_revision(settings.repo, revision, folder)
        (folder / POINTER).write_text(version.text, encoding="utf-8")
        join_cache(settings, folder)
        subprocess.run(
            [sys.executable, "-m", "dvc", "fetch", "--quiet", POINTER],
            cwd=folder,
            env=child_environment(),
            capture_output=True,
        )
