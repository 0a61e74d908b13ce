"""One stage of dvc.yaml in a workspace, through DVC: run, or taken from its caches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import (
    CrashedError,
    DatasetError,
    LungsegError,
    StageError,
    WorkspaceError,
)
from pipeline.files import link_file, read_json
from pipeline.params_file import read_yaml
from pipeline.settings import Settings
from pipeline.stage_graph import stage_definition, stage_names
from pipeline.workspace.dvc_command import dvc, follow_dvc, store_problem
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.objects import find_damage, object_path, read_listing
from pipeline.workspace.workspace import Workspace

StageStatus = Literal["ran", "cached"]


def reproduce(
    workspace: Workspace,
    name: str,
    *,
    force: bool = False,
    started: Callable[[], None] = lambda: None,
    part: Path | None = None,
    **environment: str,
) -> StageStatus:
    """Bring the stage up to date; `started` is called when it really runs.

    With `part` it does no more than a part of it, if it has to run at all: it leaves that folder,
    and DVC keeps nothing of it.

    What a stage reads is known from data.dvc and dvc.lock (`--allow-missing`), so a run that finds
    everything cached never checks the radiographs out. The stages before it are compared too; they
    do not run here, unless this host's dvc.lock knows less than their own tasks and no cache holds
    their results.

    Raises the stage's own refusal, WorkspaceError when the dataset is damaged or cannot be had, or
    CrashedError when the stage died without giving a reason.
    """
    with tempfile.TemporaryDirectory() as temporary:
        error_file = Path(temporary, "error.json")
        environment["LUNGSEG_ERROR_FILE"] = str(error_file)
        names = stage_names(workspace.folder)
        chain = names[: names.index(name) + 1]
        _fetch_changed_inputs(workspace, chain)
        for arguments in _commands(chain, force):
            if "--force" in arguments:
                _fetch(workspace, _inputs(workspace.folder, name))
            marker = f"Running stage '{name}'"
            ran, code, errors = follow_dvc(workspace, arguments, marker, started, environment)
            if code and not (ran and part and part.exists()):
                raise _failure(workspace, name, error_file, errors)
    if ran and "data" in stage_definition(workspace.folder, name).deps:
        _refuse_damaged_data(workspace.folder, name)
    return "ran" if ran else "cached"


def _commands(chain: list[str], force: bool) -> list[list[str]]:
    """The DVC commands that bring the last stage of `chain` up to date, or run it again."""
    # --single-item, because DVC would otherwise take a changed data/ for a new version, rewrite
    # data.dvc and go on.
    options = ["--single-item", "--pull", "--allow-missing"]
    if not force:
        return [["repro", *chain, *options]]
    before = [["repro", *chain[:-1], *options]] if chain[:-1] else []
    return [*before, ["repro", chain[-1], *options, "--force"]]


def _fetch_changed_inputs(workspace: Workspace, chain: list[str]) -> None:
    """Check out what the stages now read instead of what they last read.

    DVC takes an input that is not checked out for unchanged, whatever data.dvc says of it now.
    """
    recorded, locked = _recorded(workspace.folder), locked_stages(workspace.folder)
    deps = [dep for name in chain for dep in locked.get(name, {}).get("deps", [])]
    _fetch(
        workspace,
        {dep["path"] for dep in deps if recorded.get(dep["path"], dep["md5"]) != dep["md5"]},
    )


def _inputs(folder: Path, name: str) -> set[str]:
    """What the stage reads of the dataset and of other stages' outputs, as DVC records it.

    DVC fetches what a stage reads when that has changed, but not when the stage is forced to run.
    """
    deps = [Path(dep) for dep in stage_definition(folder, name).deps]
    return {
        path
        for path in _recorded(folder)
        if any(Path(path).is_relative_to(dep) or dep.is_relative_to(path) for dep in deps)
    }


def _fetch(workspace: Workspace, paths: Collection[str]) -> None:
    """Check out what of these paths is not there."""
    for path in sorted(paths):
        if not (workspace.folder / path).exists():
            code, errors = dvc(workspace, ["pull", "--quiet", path])
            if code:
                raise store_problem(workspace, f"{path}: cannot be pulled") or WorkspaceError(
                    f"{path}: cannot be pulled: {errors}"
                )


def materialise(workspace: Workspace, name: str) -> None:
    """Make sure that the outputs of an up-to-date stage, or `data`, are in the workspace."""
    paths = [Path("data")] if name == "data" else stage_definition(workspace.folder, name).outputs
    if all((workspace.folder / path).exists() for path in paths):
        return
    code, errors = dvc(workspace, ["pull", "--quiet", name])
    # DVC takes a damaged list of files from a remote for a folder with fewer files, and succeeds.
    damage = _find_damage(workspace.folder, paths, files=bool(code))
    problem = store_problem(workspace, f"{name}: cannot be pulled") if code else None
    if problem:
        raise problem
    if code or damage:
        again = "" if name == "data" else "; or run it again with --force"
        causes = "; DVC says: ".join(filter(None, [damage, errors]))
        raise WorkspaceError(f"{name}: cannot be pulled: {causes}{again}")


def borrow_data(workspace: Workspace, paths: Sequence[str], folder: Path) -> Path:
    """A folder in which these files of data/ can be read; they are not to be changed.

    It is data/ where it is checked out. Else only these files are fetched, and linked from DVC's
    cache into `folder`: a part of data/ in the workspace would pass for all of it. Raises
    WorkspaceError when they cannot be had.
    """
    whole = workspace.folder / "data"
    if whole.exists():
        return whole
    cache = shared_cache(Settings(repo=str(workspace.folder)))
    code, errors = dvc(workspace, ["fetch", "--quiet", *(f"data/{path}" for path in paths)])
    problem = store_problem(workspace, "data: cannot be fetched") if code else None
    if problem:
        raise problem
    try:
        listing = read_listing(cache, _recorded(workspace.folder)["data"])
        missing = [path for path in paths if path not in listing]
        objects = {path: object_path(cache, listing[path]) for path in paths if path in listing}
        missing += [path for path, found in objects.items() if not found.is_file()]
    except (DatasetError, KeyError) as error:
        raise WorkspaceError(f"data: cannot be fetched: {error}; DVC says: {errors}") from None
    if code or missing:
        raise WorkspaceError(f"data: cannot be fetched: {', '.join(missing[:3])}; {errors}")
    for path, found in objects.items():
        (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        link_file(found, folder / "data" / path)
    return folder / "data"


def _refuse_damaged_data(folder: Path, name: str) -> None:
    # DVC links what its cache holds without looking at it, so a stage may have read other bytes.
    if damage := _find_damage(folder, [Path("data")]):
        raise WorkspaceError(f"{name}: ran on damaged data: {damage}; then run again with --force")


def _find_damage(folder: Path, paths: Sequence[Path], *, files: bool = True) -> str | None:
    """Return a sentence on what DVC's cache lacks, or holds damaged, of these paths."""
    recorded = _recorded(folder)
    wanted = {name: recorded[name] for name in map(str, paths) if name in recorded}
    return find_damage(shared_cache(Settings(repo=str(folder))), wanted, files=files)


def _recorded(folder: Path) -> dict[str, str]:
    """Return the MD5 of the dataset and of every output that dvc.lock knows, by path."""
    data = folder / "data.dvc"
    outs = [out for stage in locked_stages(folder).values() for out in stage.get("outs", [])]
    outs += read_yaml(data)["outs"] if data.exists() else []
    return {out["path"]: out["md5"] for out in outs}


def locked_stages(folder: Path) -> dict[str, Any]:
    """What dvc.lock says of each stage that it knows."""
    lock = folder / "dvc.lock"
    stages: dict[str, Any] = read_yaml(lock).get("stages", {}) if lock.exists() else {}
    return stages


def _failure(workspace: Workspace, name: str, error_file: Path, errors: str) -> LungsegError:
    deps = [Path(dep) for dep in stage_definition(workspace.folder, name).deps]
    damage = _find_damage(workspace.folder, deps)
    if error_file.exists():
        content = read_json(error_file)
        refusal = StageError("; ".join(filter(None, [content["message"], damage])))
        refusal.exit_code = content["exit_code"]
        return refusal
    if damage:
        # When a file of a folder is missing, DVC keeps no list either but names the file's object.
        return WorkspaceError("; DVC says: ".join(filter(None, [f"{name}: {damage}", errors])))
    problem = store_problem(workspace, f"{name}: its results cannot be looked for")
    if problem:
        return problem
    return CrashedError(f"{name}: stopped without giving a reason: {errors}")
