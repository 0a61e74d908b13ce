"""A stage in parts on two hosts, which share git, a store and MLflow, and no disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import LungsegError, ParamsError
from pipeline.files import sums_hold
from pipeline.parts import StagePart
from pipeline.run.task import run_task
from pipeline.run.task_report import RunPlan, TaskReport
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest
from tests.projects import make_project

RUN = RunRequest("first", overrides=("stages.parts=2",))


@pytest.fixture
def hosts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Settings, Settings]:
    make_project(tmp_path / "project")
    monkeypatch.setenv("LUNGSEG_REMOTE", str(tmp_path / "store"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    one = replace(settings, repo=str(tmp_path / "project"), local=False)
    return one, replace(one, home=tmp_path / "other")


def parts_of(host: Settings, plan: TaskReport) -> Path:
    return host.home / "parts" / str(plan.run_id)


def stored(tmp_path: Path) -> list[str]:
    files = (tmp_path / "store/parts").glob("*/validate/*/SHA256SUMS")
    return sorted(path.parent.name for path in files)


@pytest.mark.slow  # a real DVC
def test_two_hosts_do_a_part_each_and_nothing_when_the_stage_is_cached(
    hosts: tuple[Settings, Settings], tmp_path: Path
) -> None:
    one, two = hosts

    plan = run_task(one, RUN, "plan")
    first = run_task(one, RUN, "validate", StagePart(1, 2))
    second = run_task(two, RUN, "validate", StagePart(2, 2))
    sent = stored(tmp_path)
    made = (parts_of(two, plan) / "validate/2-of-2").stat().st_mtime_ns
    again = run_task(two, RUN, "validate", StagePart(2, 2))
    kept = (parts_of(two, plan) / "validate/2-of-2").stat().st_mtime_ns
    whole = run_task(one, RUN, "validate")

    assert isinstance(plan, RunPlan)
    assert plan.parts == ("1/2", "2/2")
    assert (first.status, second.status, whole.status) == ("ran", "ran", "ran")
    assert sent == ["1-of-2", "2-of-2"]
    assert (again.status, kept) == ("ran", made)  # it is sent again, not made again
    assert stored(tmp_path) == []
    assert not list(parts_of(one, plan).glob("*"))
    later = replace(RUN, run_id="second")
    of_later = run_task(two, later, "plan").run_id
    assert run_task(two, later, "validate", StagePart(1, 2)).status == "cached"
    assert run_task(two, later, "validate").status == "cached"
    assert not (tmp_path / "store/parts" / str(of_later)).exists()


@pytest.mark.slow  # a real DVC
def test_a_part_that_fails_beside_a_damaged_one_is_a_failure(
    hosts: tuple[Settings, Settings], tmp_path: Path
) -> None:
    one, _ = hosts
    plan = run_task(one, RUN, "plan")
    (parts_of(one, plan) / "validate/1-of-2").mkdir(parents=True)
    (one.home / "runs/first/pipeline/stages/validate.py").write_text("raise SystemExit(3)")

    with pytest.raises(LungsegError, match=r"^validate: "):
        run_task(one, RUN, "validate", StagePart(1, 2))

    assert stored(tmp_path) == []


@pytest.mark.slow  # a real DVC
def test_a_part_of_a_host_that_lacks_the_stages_before_runs_all_of_them(
    hosts: tuple[Settings, Settings],
) -> None:
    one, _ = hosts
    run_task(one, RUN, "plan")

    report = run_task(one, RUN, "augment", StagePart(1, 2))

    workspace, parts = one.home / "runs/first", parts_of(one, report)
    assert report.status == "ran"
    assert sums_hold(parts / "augment/1-of-2")
    assert [path.name for path in parts.glob("*/*")] == ["1-of-2"]
    assert not (parts / "augment/1-of-2/thumbnails.npy").exists()  # of a part of validate
    assert (workspace / "artifacts/validate/manifest.parquet").exists()


@pytest.mark.slow  # a real DVC
def test_a_stage_that_is_not_done_in_parts_says_so(
    hosts: tuple[Settings, Settings], tmp_path: Path
) -> None:
    one, _ = hosts
    whole = RunRequest("whole")
    plan = run_task(one, whole, "plan")

    assert isinstance(plan, RunPlan)
    assert plan.parts == ()
    for request, stage in ((whole, "validate"), (RUN, "split")):
        with pytest.raises(ParamsError, match=rf"^{stage}: found part 1/2, expected a stage of"):
            run_task(one, request, stage, StagePart(1, 2))
