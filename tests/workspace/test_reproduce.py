from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.errors import CrashedError, LungsegError, ParamsError, StageError, WorkspaceError
from pipeline.settings import Settings
from pipeline.stage_graph import stage_definition, stage_names
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.pushing import push_results
from pipeline.workspace.reproduce import borrow_data, materialise, reproduce
from pipeline.workspace.workspace import RunRequest, make_workspace
from tests.conftest import PROJECT, give_store, small_disk
from tests.workspace.two_stages import UPPER, checkout, commit, dvc, record_other_data

REFUSES = """
import json, os, pathlib, sys
content = {"message": "data: too short; add words", "exit_code": 75}
pathlib.Path(os.environ["LUNGSEG_ERROR_FILE"]).write_text(json.dumps(content))
sys.exit(75)
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_dvc_yaml_tells_stages_and_outputs(project: Path) -> None:
    assert stage_names(project) == ["upper", "twice"]
    assert stage_definition(project, "twice").outputs == [
        Path("artifacts/twice.json"),
        Path("artifacts/twice.csv"),
    ]
    with pytest.raises(ParamsError, match=r"stage 'other': not in dvc.yaml, expected one of upper"):
        stage_definition(project, "other")


def test_a_stage_runs_once_and_is_cached_afterwards(project: Path) -> None:
    workspace, starts = checkout(project, "one"), []

    statuses = [
        reproduce(workspace, name, started=lambda: starts.append(1))
        for name in ("upper", "twice", "upper", "twice")
    ]

    assert statuses == ["ran", "ran", "cached", "cached"]
    assert len(starts) == 2
    assert (workspace.folder / "artifacts/twice.json").read_text() == '{"length": 10}'
    assert reproduce(workspace, "upper", force=True) == "ran"


@pytest.mark.slow
def test_another_host_takes_results_from_the_remote_without_the_data(project: Path) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
        push_results(Settings(home=project.with_name("home")), first, name)
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    statuses = [reproduce(second, name) for name in ("upper", "twice")]
    materialise(second, "twice")

    assert statuses == ["cached", "cached"]
    assert (second.folder / "artifacts/twice.json").exists()
    assert not (second.folder / "data").exists()
    materialise(second, "data")
    assert (second.folder / "data/text.txt").read_text() == "lungs"


@pytest.mark.slow
def test_a_new_version_of_the_data_is_seen_though_it_is_not_checked_out(project: Path) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
    record_other_data(project)
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    statuses = [reproduce(second, name) for name in ("upper", "twice")]

    assert statuses == ["ran", "ran"]
    assert (second.folder / "artifacts/twice.json").read_text() == '{"length": 30}'


@pytest.mark.slow
def test_a_host_whose_lock_is_older_takes_what_the_others_pushed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = checkout(project, "old")
    for name in ("upper", "twice"):
        reproduce(old, name)
    record_other_data(project)
    first, second = checkout(project, "one"), checkout(project, "two")
    reproduce(first, "upper")
    push_results(Settings(home=project.with_name("home")), first, "upper")
    shutil.copyfile(old.folder / "dvc.lock", second.folder / "dvc.lock")

    starts: list[int] = []
    capsys.readouterr()
    status = reproduce(second, "twice", started=lambda: starts.append(1))

    assert (status, starts) == ("ran", [1])
    assert "Running stage 'upper'" not in capsys.readouterr().err
    assert (second.folder / "artifacts/twice.json").read_text() == '{"length": 30}'


@pytest.mark.slow
def test_force_runs_the_stage_again_and_none_before_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(workspace, name)
    capsys.readouterr()

    status = reproduce(workspace, "twice", force=True)

    lines = capsys.readouterr().err.splitlines()
    assert status == "ran"
    assert [line for line in lines if "Running" in line] == ["Running stage 'twice':"]


@pytest.mark.slow
def test_force_runs_a_stage_on_a_host_that_has_nothing_yet(project: Path) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
    push_results(Settings(home=project.with_name("home")), first, "twice")
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    statuses = [reproduce(second, name, force=True) for name in ("upper", "twice")]

    assert statuses == ["ran", "ran"]
    assert (second.folder / "artifacts/twice.json").read_text() == '{"length": 10}'


def test_a_result_that_nobody_holds_is_one_line(project: Path) -> None:
    first = checkout(project, "one")
    reproduce(first, "upper")
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    with pytest.raises(WorkspaceError) as refusal:
        materialise(second, "upper")

    message = str(refusal.value)
    assert message.startswith(
        f"upper: cannot be pulled: artifacts/upper.txt: object {md5('LUNGS')}"
    )
    assert "drop the cache entry if there is one and pull again" in message
    assert message.endswith("or run it again with --force")
    assert "\n" not in message


def add_file(project: Path) -> None:
    (project / "data/more").mkdir()
    (project / "data/more/other.txt").write_text("heart")
    record_other_data(project)


def test_a_part_of_the_data_is_borrowed_without_checking_any_of_it_out(
    project: Path, tmp_path: Path
) -> None:
    add_file(project)
    workspace = checkout(project, "one")

    folder = borrow_data(workspace, ["more/other.txt"], tmp_path / "borrowed")

    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert found == ["more/other.txt"]
    assert (folder / "more/other.txt").read_text() == "heart"
    assert not (workspace.folder / "data").exists()
    cache = workspace.folder / ".dvc/cache"
    assert not stored(cache, md5("lungs and heart")).exists()  # not asked for, not fetched


def test_data_that_are_checked_out_are_read_where_they_lie(project: Path, tmp_path: Path) -> None:
    workspace = checkout(project, "one")
    materialise(workspace, "data")

    assert borrow_data(workspace, ["text.txt"], tmp_path) == workspace.folder / "data"


@pytest.mark.parametrize("name", ["none.txt", "text.txt"])
def test_a_part_of_the_data_that_cannot_be_had_is_one_line(
    project: Path, tmp_path: Path, name: str
) -> None:
    workspace = checkout(project, "one")
    stored(project.with_name("store"), md5("lungs")).unlink()

    with pytest.raises(WorkspaceError, match=r"^data: cannot be fetched: ") as refusal:
        borrow_data(workspace, [name], tmp_path / "borrowed")
    assert "\n" not in str(refusal.value)


def test_data_whose_list_cannot_be_had_are_one_line(project: Path, tmp_path: Path) -> None:
    workspace = checkout(project, "one")
    stored(project.with_name("store"), listing(project)).unlink()

    with pytest.raises(WorkspaceError, match=r"^data: cannot be fetched: .* is not in the cache"):
        borrow_data(workspace, ["text.txt"], tmp_path / "borrowed")


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def overwrite(path: Path, text: str) -> None:
    """As root does through a hard link, or a failing disk."""
    path.chmod(0o644)
    path.write_text(text)
    path.chmod(0o444)


def stored(root: Path, digest: str) -> Path:
    return root / "files/md5" / digest[:2] / digest[2:]


def listing(project: Path) -> str:
    """The object that lists the files of data/."""
    recorded = yaml.safe_load((project / "data.dvc").read_text())["outs"][0]["md5"]
    return str(recorded)


def spoil_file(project: Path, store: Path) -> str:
    overwrite(stored(store, md5("lungs")), "LUNG?")
    return f"data/text.txt: object {md5('lungs')} is not in the cache"


def lose_file(project: Path, store: Path) -> str:
    stored(store, md5("lungs")).unlink()
    return f"data: object {listing(project)} is not in the cache"


def spoil_listing(project: Path, store: Path) -> str:
    overwrite(stored(store, listing(project)), "[]")
    return f"data: object {listing(project)} is not in the cache"


def lose_listing(project: Path, store: Path) -> str:
    stored(store, listing(project)).unlink()
    return f"data: object {listing(project)} is not in the cache"


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [spoil_file, lose_file, spoil_listing, lose_listing])
def test_data_that_the_remote_does_not_give_intact_are_named_with_the_remedy(
    project: Path, tmp_path: Path, spoil: Callable[[Path, Path], str]
) -> None:
    dvc(project, "remote", "modify", "--quiet", "store", "verify", "true")
    commit(project)
    expected = spoil(project, tmp_path / "store")
    workspace = checkout(project, "one")

    with pytest.raises(WorkspaceError) as pulled:
        materialise(workspace, "data")
    shutil.rmtree(workspace.folder / "data", ignore_errors=True)
    with pytest.raises(LungsegError) as reproduced:
        reproduce(workspace, "upper")

    for refusal, start in ((pulled, "data: cannot be pulled: "), (reproduced, "upper: ")):
        message = str(refusal.value)
        assert message.startswith(f"{start}{expected}")
        assert "push it again from a copy whose cache is good" in message
        assert "\n" not in message


@pytest.mark.slow
def test_a_stage_that_fails_over_a_poisoned_cache_names_the_object(project: Path) -> None:
    script = UPPER + 'if "?" in text:\n    raise SystemExit("not lungs")\n'
    (project / "upper.py").write_text(script)
    dvc(project, "config", "cache.type", "hardlink")
    commit(project)
    workspace = checkout(project, "one")
    materialise(workspace, "data")
    poisoned = stored(workspace.folder / ".dvc/cache", md5("lungs"))
    overwrite(poisoned, "LUNG?")
    assert (workspace.folder / "data/text.txt").read_text() == "LUNG?"

    with pytest.raises(WorkspaceError) as refusal:
        reproduce(workspace, "upper")

    assert f"upper: data/text.txt: object {poisoned} is damaged" in str(refusal.value)


@pytest.mark.slow
def test_a_stage_that_ran_on_poisoned_data_does_not_pass(project: Path) -> None:
    dvc(project, "config", "cache.type", "hardlink")
    commit(project)
    workspace = checkout(project, "one")
    materialise(workspace, "data")
    poisoned = stored(workspace.folder / ".dvc/cache", md5("lungs"))
    overwrite(poisoned, "LUNG?")
    shutil.rmtree(workspace.folder / "data")

    with pytest.raises(WorkspaceError) as refusal:
        reproduce(workspace, "upper")

    message = str(refusal.value)
    assert (workspace.folder / "artifacts/upper.txt").read_text() == "LUNG?"
    assert f"upper: ran on damaged data: data/text.txt: object {poisoned} is damaged" in message
    assert message.endswith("then run again with --force")


@pytest.mark.slow
def test_a_refusal_over_a_poisoned_cache_keeps_its_exit_code_and_names_the_object(
    project: Path,
) -> None:
    (project / "upper.py").write_text(REFUSES)
    commit(project)
    workspace = checkout(project, "one")
    materialise(workspace, "data")
    poisoned = stored(workspace.folder / ".dvc/cache", md5("lungs"))
    overwrite(poisoned, "LUNG?")

    with pytest.raises(StageError) as refusal:
        reproduce(workspace, "upper")

    message = str(refusal.value)
    assert message.startswith("data: too short; add words; data/text.txt: object ")
    assert f"{poisoned} is damaged" in message
    assert refusal.value.exit_code == 75


def test_a_stages_own_refusal_comes_through_with_its_exit_code(project: Path) -> None:
    (project / "upper.py").write_text(REFUSES)
    commit(project)

    with pytest.raises(StageError, match="data: too short; add words") as refusal:
        reproduce(checkout(project, "one"), "upper")

    assert refusal.value.exit_code == 75


def test_a_killed_stage_is_a_crash_and_leaves_no_output(project: Path) -> None:
    (project / "upper.py").write_text(DIES)
    commit(project)
    workspace = checkout(project, "one")

    with pytest.raises(CrashedError, match="upper: stopped without giving a reason") as crash:
        reproduce(workspace, "upper")

    assert crash.value.exit_code == 70
    assert not (workspace.folder / "artifacts/upper.txt").exists()


@pytest.mark.slow
def test_a_home_on_another_file_system_than_the_cache_has_links_that_are_kept_as_files(
    project: Path, tmp_path: Path, store: Path
) -> None:
    recorded = Settings(home=tmp_path / "recorded", local=True)
    give_store(recorded, store)
    with small_disk(tmp_path, "64m") as disk:
        settings = Settings(repo=str(project), home=disk / "home")
        shutil.copy(PROJECT / "uv.lock", project / "uv.lock")
        shutil.copy(PROJECT / "params.yaml", project / "params.yaml")
        (project / "pipeline").mkdir()
        (project / "pipeline/conventions.py").touch()
        commit(project)
        statuses = []
        for name in ("one", "two"):
            workspace = make_workspace(settings, RunRequest(name), None)
            statuses += [reproduce(workspace, stage) for stage in ("upper", "twice")]
            materialise(workspace, "upper")
            made = workspace.folder / "artifacts/upper.txt"
            assert made.is_symlink()
            with connect(recorded) as client:
                experiment = client.create_experiment(name, recorded.artifact_location)
                record = RunRecord(recorded, client, client.create_run(experiment))
                record.log_artifact(made.parent, "upper")
                record.log_artifact(made, "")
                kept = Path(client.download_artifacts(record.run_id, ""))
            files = sorted(path for path in kept.rglob("upper.txt"))
            assert [file.read_text() for file in files] == ["LUNGS", "LUNGS"]
            assert not [file for file in files if file.is_symlink()]

    assert statuses == ["ran", "ran", "cached", "cached"]
