from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from pipeline.deployment.clean import DAY_S, CleaningPlan, plan_cleaning
from pipeline.deployment.leftovers import FreedBytes
from pipeline.files import write_json
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import ensure_experiment
from pipeline.workspace.lock import hold_workspace
from pipeline.workspace.workspace import NOTE
from tests.conftest import git
from tests.release import conftest as of_releases
from tests.release.runs import DATA, make_run, release
from tests.stores import KEY, SECRET, s3_store
from tests.test_cli import lungseg as lungseg
from tests.workspace.two_stages import dvc

pageless = of_releases.pageless
OLD = time.time() - 60 * DAY_S


def age(path: Path, moment: float = OLD) -> None:
    """Let a file, or a folder with all in it, be as old as that."""
    for one in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(one, (moment, moment))


class Cache:
    """Objects in DVC's layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, md5: str) -> Path:
        return self.folder / "files/md5" / md5[:2] / md5[2:]

    def put(self, content: bytes, suffix: str = "", moment: float = OLD) -> str:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
        self.path(md5).parent.mkdir(parents=True, exist_ok=True)
        self.path(md5).write_bytes(content)
        age(self.path(md5), moment)
        return md5

    def put_folder(self, *files: bytes, moment: float = OLD) -> str:
        listing = [{"md5": self.put(one), "relpath": str(n)} for n, one in enumerate(files)]
        return self.put(json.dumps(listing).encode(), ".dir", moment)

    def put_run(self, *made: str, moment: float = OLD) -> Path:
        entry = self.folder / "runs/ab/abcd" / hashlib.sha256("".join(made).encode()).hexdigest()
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(yaml.safe_dump(lock(*made)["stages"]["one"]))
        age(entry, moment)
        return entry

    def objects(self) -> set[str]:
        files = (self.folder / "files/md5").glob("*/*")
        return {f"{path.parent.name}{path.name}" for path in files}


def lock(*made: str) -> dict[str, dict[str, dict[str, object]]]:
    outs = [{"path": md5[:4], "hash": "md5", "md5": md5} for md5 in made]
    return {"stages": {"one": {"cmd": "x", "outs": outs}}}


@pytest.fixture
def cache(settings: Settings) -> Cache:
    return Cache(Path(settings.repo) / ".dvc/cache")


def clean(settings: Settings, *, store: bool = False) -> CleaningPlan:
    plan = plan_cleaning(settings, 30, store=store)
    plan.carry_out()
    return plan


def workspace(settings: Settings, name: str, python: str = sys.executable) -> Path:
    folder = settings.home / "runs" / name
    (folder / "artifacts").mkdir(parents=True)
    write_json(folder / NOTE, {"revision": "x", "python": python, "mlflow_run_id": None})
    (folder / "artifacts/result").write_bytes(bytes(1000))
    age(folder)
    return folder


def test_what_is_only_planned_stays(settings: Settings, cache: Cache) -> None:
    run, orphan = workspace(settings, "old"), cache.put(b"orphan")

    plan = plan_cleaning(settings, 30, store=False)

    assert [line.partition(",")[0] for line in plan.lines()] == [
        "workspaces: 1",
        "objects of the cache: 1",
    ]
    assert run.is_dir()
    assert cache.objects() == {orphan}


def test_old_workspaces_go_and_those_used_since_stay(settings: Settings) -> None:
    old, used, noted = (workspace(settings, name) for name in ("old", "used", "noted"))
    (used / "dvc.lock").write_text("{}")
    (noted / NOTE).touch()

    clean(settings)

    assert not old.exists()
    assert used.is_dir()
    assert noted.is_dir()


def test_workspace_of_a_task_at_work_stays_however_old(settings: Settings) -> None:
    run = workspace(settings, "busy")
    with hold_workspace(run):
        clean(settings)
        assert run.is_dir()

    clean(settings)
    assert not run.exists()


def test_workspace_that_a_task_entered_after_the_plan_stays(settings: Settings) -> None:
    run = workspace(settings, "entered")
    plan = plan_cleaning(settings, 30, store=False)
    (run / NOTE).touch()

    assert plan.carry_out() == (0, 0)
    assert run.is_dir()


def test_environment_stays_while_a_workspace_that_stays_needs_it(settings: Settings) -> None:
    envs = settings.home / "envs"
    for name in ("needed", "orphan", "used", "locked"):
        (envs / name / "bin").mkdir(parents=True)
        (envs / name / "complete").touch()
        age(envs / name)
    (envs / "used/complete").touch()
    (workspace(settings, "young", str(envs / "needed/bin/python")) / "dvc.lock").write_text("{}")
    workspace(settings, "old", str(envs / "orphan/bin/python"))

    with FileLock(envs / "locked.lock"):
        clean(settings)

    assert {path.name for path in envs.iterdir() if path.is_dir()} == {"needed", "used", "locked"}


@pytest.mark.parametrize("kind", ["checkpoints", "parts"])
def test_old_checkpoints_and_parts_go(settings: Settings, kind: str) -> None:
    for name in ("old", "young"):
        (settings.home / kind / name / "epoch-0001").mkdir(parents=True)
    age(settings.home / kind / "old")

    clean(settings)

    assert [path.name for path in (settings.home / kind).glob("*[dg]")] == ["young"]


def test_objects_that_any_commit_names_stay_with_their_files(
    settings: Settings, cache: Cache
) -> None:
    repo = Path(settings.repo)
    kept = [cache.put_folder(b"first", b"second"), cache.put(b"of a tag")]
    cache.put_folder(b"orphan", b"another")
    data = {"outs": [{"md5": kept[0], "size": 1, "nfiles": 2, "path": "data"}]}
    for name, content in (("data.dvc", data), ("dvc.lock", lock(kept[1]))):
        (repo / name).write_text(yaml.safe_dump(content))
        git(repo, "add", name)
        git(repo, "commit", "--quiet", f"--message={name}")
    git(repo, "tag", "kept")
    git(repo, "reset", "--quiet", "--hard", "HEAD~2")

    assert clean(settings).notes == []
    assert len(cache.objects()) == 4
    assert set(kept) <= cache.objects()


@pytest.fixture
def upstream(settings: Settings) -> Path:
    """What the project was cloned from, where others have a branch and a tag since."""
    project = Path(settings.repo)
    folder = project.with_name("upstream")
    git(project.parent, "clone", "--quiet", "project", "upstream")
    git(project, "remote", "add", "origin", str(folder))
    return folder


def name_objects(folder: Path, *made: str) -> None:
    """Commit a dvc.lock that names them."""
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock(*made)))
    git(folder, "add", "dvc.lock")
    git(folder, "commit", "--quiet", "--message=named")


def test_objects_that_others_branches_and_tags_name_stay_in_cache_and_store(
    settings: Settings,
    cache: Cache,
    upstream: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote, fork = Cache(tmp_path / "remote"), tmp_path / "fork"
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote.folder))
    git(tmp_path, "clone", "--quiet", "upstream", "fork")
    git(Path(settings.repo), "remote", "add", "fork", "../fork")
    git(Path(settings.repo), "tag", "moved")
    contents = (b"of a branch", b"of a tag", b"of a tag that was moved", b"of a fork")
    for one in (cache, remote):
        kept = [one.put_folder(content) for content in contents]
        one.put(b"orphan")
    for folder, reference, listing in (
        (upstream, ("branch", "next"), kept[0]),
        (upstream, ("tag", "next"), kept[1]),
        (upstream, ("tag", "moved"), kept[2]),
        (fork, ("branch", "next"), kept[3]),
    ):
        git(folder, "checkout", "--quiet", "--detach")
        name_objects(folder, listing)
        git(folder, *reference)
        git(folder, "reset", "--quiet", "--hard", "HEAD~")

    plan = clean(settings, store=True)

    assert plan.notes == []
    for one in (cache, remote):
        assert len(one.objects()) == 8
        assert set(kept) <= one.objects()


def test_nothing_is_removed_where_it_is_not_known_what_others_branches_name(
    settings: Settings, cache: Cache, upstream: Path
) -> None:
    orphan = cache.put(b"orphan")
    upstream.rename(upstream.with_name("elsewhere"))

    assert "objects of DVC: not looked at: git fetch: " in clean(settings).notes[0]
    assert cache.objects() == {orphan}


@pytest.mark.parametrize("cut_off", ["project", "upstream"])
def test_nothing_is_removed_where_only_the_newest_commits_are_known(
    settings: Settings, upstream: Path, cut_off: str
) -> None:
    for number in range(2):
        name_objects(upstream, str(number) * 32)
    shallow = upstream.with_name("shallow")
    git(upstream.parent, "clone", "--quiet", "--depth=1", upstream.as_uri(), "shallow")
    if cut_off == "project":
        settings = replace(settings, repo=str(shallow))
    else:
        git(Path(settings.repo), "remote", "set-url", "origin", str(shallow))
    cache = Cache(Path(settings.repo) / ".dvc/cache")
    orphan = cache.put(b"orphan")

    assert "has its newest commits only" in clean(settings).notes[0]
    assert cache.objects() == {orphan}

    git(shallow, "fetch", "--quiet", "--unshallow")
    assert clean(settings).notes == []
    assert cache.objects() == set()


def test_objects_of_the_working_tree_and_of_young_workspaces_stay(
    settings: Settings, cache: Cache
) -> None:
    by_hand, of_run = cache.put(b"of dvc repro"), cache.put(b"of a run")
    cache.put(b"of an old run")
    (Path(settings.repo) / "dvc.lock").write_text(yaml.safe_dump(lock(by_hand)))
    (workspace(settings, "young") / "dvc.lock").write_text(yaml.safe_dump(lock(of_run)))

    clean(settings)

    assert cache.objects() == {by_hand, of_run}


def test_what_is_young_stays_with_the_old_files_that_it_lists(
    settings: Settings, cache: Cache
) -> None:
    cache.put(b"young", moment=time.time())
    cache.put_folder(b"old", b"files", moment=time.time())
    orphan = cache.put_folder(b"of nothing")

    clean(settings)

    assert len(cache.objects()) == 4
    assert orphan not in cache.objects()


def test_entries_of_the_run_cache_go_with_what_they_name(settings: Settings, cache: Cache) -> None:
    stays = cache.put_run(cache.put(b"young", moment=time.time()))
    goes = cache.put_run(cache.put(b"old"), moment=time.time())

    clean(settings)

    assert stays.exists()
    assert not goes.exists()


def test_interrupted_clean_leaves_nothing_that_names_what_is_gone(
    settings: Settings, cache: Cache
) -> None:
    listing = cache.put_folder(b"one", b"two")
    entry = cache.put_run(listing)
    plan = plan_cleaning(settings, 30, store=False)

    for step, one in enumerate(plan.leftovers):
        one.remove()
        assert not entry.exists()
        assert step == 0 or listing not in cache.objects()
    assert cache.objects() == set()


def test_rests_of_an_interrupted_clean_go_with_the_next(settings: Settings) -> None:
    run = workspace(settings, "old")
    rest = run.rename(run.with_name(".old.removed"))

    plan = clean(settings)

    assert [one.kind for one in plan.leftovers] == ["rests of a clean"]
    assert not rest.exists()


def test_sizes_count_what_is_freed(settings: Settings, cache: Cache) -> None:
    run, orphan = workspace(settings, "old"), cache.put(bytes(5000))
    os.link(cache.path(orphan), run / "artifacts/linked")
    age(run)
    note = (run / NOTE).stat().st_size

    plan = plan_cleaning(settings, 30, store=False)
    alone = FreedBytes().of(cache.path(orphan))

    assert alone == 0  # the workspace has it still
    assert [one.size for one in plan.leftovers] == [1000 + note, 5000]
    before = _used(settings.home) + _used(cache.folder) - 5000  # which has two names
    assert plan.carry_out() == (2, 6000 + note)
    assert before - _used(settings.home) - _used(cache.folder) == 6000 + note


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_nothing_is_removed_while_a_run_is_at_work(settings: Settings, cache: Cache) -> None:
    orphan = cache.put(b"orphan")
    with connect(settings) as client:
        run = client.create_run(ensure_experiment(settings, client), run_name="busy").info.run_id

    plan = clean(settings)

    assert cache.objects() == {orphan}
    assert "run busy is at work" in plan.notes[0]
    assert plan.notes[0].endswith(f"end its record: `lungseg task close --run-id {run}`")


@pytest.mark.parametrize("kind", ["", "-search"])
def test_what_a_killed_run_kept_is_removed_once_its_record_is_ended_by_hand(
    settings: Settings,
    cache: Cache,
    lungseg: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    cache.put(b"orphan")
    named = replace(settings, experiment=f"{settings.experiment}{kind}")
    with connect(settings) as client:
        client.create_run(ensure_experiment(named, client), run_name="killed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    [command] = re.findall("`lungseg (.+)`$", clean(settings).notes[0])

    assert lungseg(*command.split()) == 0

    assert clean(settings).notes == []
    assert cache.objects() == set()


def test_code_that_a_lock_of_dvc_names_is_no_object_but_what_its_stage_read_and_made_is(
    settings: Settings, cache: Cache
) -> None:
    repo = Path(settings.repo)
    for name in ("data/one", "pipeline/formats/code.py"):
        (repo / name).parent.mkdir(parents=True)
        (repo / name).write_text(name)
    command = "mkdir made && echo made > made/one"
    stage = {"cmd": command, "deps": ["data", "pipeline/formats"], "outs": ["made"]}
    (repo / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": stage}}))
    dvc(repo, "add", "--quiet", "data")
    dvc(repo, "repro", "--quiet")
    (repo / "data.dvc").unlink()
    kept = cache.objects()
    age(cache.folder)
    cache.put(b"orphan")

    assert (repo / "dvc.lock").read_text().count(".dir") == 3
    assert clean(settings).notes == []
    assert len(kept) == 4  # listing and file of what was read, and of what was made
    assert cache.objects() == kept


def test_nothing_is_removed_while_a_listing_that_is_needed_cannot_be_read(
    settings: Settings, cache: Cache
) -> None:
    orphan, listing = cache.put(b"orphan"), cache.put_folder(b"file")
    cache.path(listing).unlink()
    (Path(settings.repo) / "dvc.lock").write_text(yaml.safe_dump(lock(listing)))

    plan = clean(settings)

    assert orphan in cache.objects()
    assert f"{listing}: the list of files that" in plan.notes[0]
    assert "neither in the cache nor in the store" in plan.notes[0]

    git(Path(settings.repo), "add", "dvc.lock")
    git(Path(settings.repo), "commit", "--quiet", "--message=named")
    git(Path(settings.repo), "rm", "--quiet", "dvc.lock")
    assert clean(settings).notes == []  # of an earlier commit, which nobody can have from here
    assert orphan not in cache.objects()


def test_listing_is_also_looked_for_in_a_remote_that_was_a_part_of_the_repository(
    settings: Settings, cache: Cache
) -> None:
    repo, kept = Path(settings.repo), cache.put(b"file")
    listing = Cache(repo / "samples").put_folder(b"file")
    (repo / "dvc.lock").write_text(yaml.safe_dump(lock(listing)))
    git(repo, "add", "samples")
    git(repo, "commit", "--quiet", "--message=samples")
    git(repo, "rm", "-r", "--quiet", "samples")
    git(repo, "commit", "--quiet", "--message=no samples")
    cache.put(b"orphan")

    assert clean(settings).notes == []
    assert cache.objects() == {kept}


@pytest.mark.parametrize(
    "content", ['[{"md5": "0123', "", "\0\0", '["no entry"]', "[{}]", "\udc80"]
)
@pytest.mark.parametrize("place", ["cache", "store"])
@pytest.mark.parametrize("why", ["needed", "young"])
def test_a_listing_that_is_damaged_keeps_all_objects_but_no_workspace(
    settings: Settings,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    place: str,
    why: str,
) -> None:
    remote = Cache(tmp_path / "remote")
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote.folder))
    run, of_place = workspace(settings, "old"), {"cache": cache, "store": remote}[place]
    listing = of_place.put_folder(b"file")
    of_place.path(listing).write_bytes(content.encode(errors="surrogateescape"))
    if why == "needed":
        age(of_place.path(listing))
        (Path(settings.repo) / "dvc.lock").write_text(yaml.safe_dump(lock(listing)))

    plan = clean(settings, store=True)

    assert len(of_place.objects()) == 2
    assert f"{of_place.path(listing)}: is damaged, expected the list of a" in plan.notes[0]
    assert not run.exists()


def test_a_damaged_entry_of_the_run_cache_keeps_all_objects_but_no_workspace(
    settings: Settings, cache: Cache
) -> None:
    run, entry = workspace(settings, "old"), cache.put_run(cache.put(b"old"))
    entry.write_text("outs: [")

    plan = clean(settings)

    assert len(cache.objects()) == 1
    assert f"{entry}: is damaged, expected YAML; remove it" in plan.notes[0]
    assert not run.exists()


def test_file_that_is_no_yaml_keeps_all(settings: Settings, cache: Cache) -> None:
    cache.put(b"orphan")
    (Path(settings.repo) / "dvc.lock").write_text("a: [")

    assert "dvc.lock: not YAML" in clean(settings).notes[0]
    assert len(cache.objects()) == 1


def test_cache_outside_of_the_project_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    shared = Cache(tmp_path / "shared")
    shared.put(b"of another project")
    (Path(settings.repo) / ".dvc/config.local").write_text(f"[cache]\n    dir = {shared.folder}\n")

    assert "others may use it" in clean(settings).notes[0]
    assert len(shared.objects()) == 1


def test_store_that_is_not_there_is_told(settings: Settings) -> None:
    assert "store: there is none" in clean(settings, store=True).notes


def test_store_is_cleaned_as_the_cache_is_and_only_when_asked(
    settings: Settings, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Cache(tmp_path / "remote")
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote.folder))
    kept = remote.put_folder(b"needed")
    remote.put_run(remote.put_folder(b"orphan"))
    (Path(settings.repo) / "dvc.lock").write_text(yaml.safe_dump(lock(kept)))
    for key, moment in (("a" * 32, OLD), ("b" * 32, time.time())):
        for name in ("SHA256SUMS", "weights.npz"):
            for file in (
                remote.folder / "checkpoints" / key / "epoch-0001" / name,
                remote.folder / "parts" / key / "validate" / "1-of-2" / name,
            ):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(name)
                age(file, moment)

    clean(settings)
    assert len(remote.objects()) == 4

    plan = clean(settings, store=True)
    assert len(remote.objects()) == 2
    assert list(plan.lines()) == [
        "checkpoints of the store: 1, 0.0 MB",
        "parts of the store: 1, 0.0 MB",
        "run-cache entries of the store: 1, 0.0 MB",
        "objects of the store: 2, 0.0 MB",
    ]
    left = [path.relative_to(remote.folder).parts for path in remote.folder.rglob("SHA*")]
    assert sorted((root, key[0]) for root, key, *_ in left) == [
        ("checkpoints", "b"),
        ("parts", "b"),
    ]


@pytest.mark.slow  # a real S3 store
def test_store_of_s3_is_cleaned(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Cache(tmp_path / "s3/bucket")
    kept = bucket.put_folder(b"needed")
    bucket.put_run(bucket.put_folder(b"orphan"))
    (Path(settings.repo) / "dvc.lock").write_text(yaml.safe_dump(lock(kept)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("LUNGSEG_REMOTE", "s3://bucket")
    with s3_store(tmp_path / "s3") as url:
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", url)
        plan = clean(settings, store=True)

    assert [line for line in plan.lines() if "not looked at" in line] == []
    assert len(bucket.objects()) == 2


@pytest.mark.slow  # a release
def test_what_a_release_needs_survives(settings: Settings, cache: Cache, tmp_path: Path) -> None:
    of_releases.deploy(Path(settings.repo))
    with connect(settings) as client:
        run = make_run(settings, client, tmp_path / "first")
        kept = cache.put(b"a released network")
        (run[1].folder / "dvc.lock").write_text(yaml.safe_dump(lock(kept)))
        release(run)
        run[0].log_artifact(run[1].folder / "dvc.lock", "")
        client.set_terminated(run[0].run_id, "FINISHED")
    cache.put(b"orphan")
    data = cache.path(DATA["outs"][0]["md5"])  # type: ignore[arg-type]
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("[]")
    # Long ago: the run itself is no reason any more, only the release is.
    with sqlite3.connect(settings.home / "local/mlflow.db") as database:
        database.execute("UPDATE runs SET start_time = 1")
    database.close()

    plan = clean(settings)

    assert plan.notes == []
    assert cache.objects() == {kept, "0123abcd.dir"}


@pytest.mark.slow  # a release
def test_release_whose_record_lost_its_lock_keeps_all(
    settings: Settings, cache: Cache, tmp_path: Path
) -> None:
    of_releases.deploy(Path(settings.repo))
    with connect(settings) as client:
        run = make_run(settings, client, tmp_path / "first")
        release(run)
        for path in Path(run[0].run.info.artifact_uri).rglob("d*.*"):
            if path.name in ("dvc.lock", "data.dvc"):
                path.unlink()
        cache.put(b"orphan")

        plan = clean(settings)
        assert "was released, has no dvc.lock in its record" in plan.notes[0]

        name = settings.model_name
        client.set_registered_model_tag(name, "release.000001", "changed")
        plan = clean(settings)
    assert "the log of releases is not whole" in plan.notes[0]
    assert len(cache.objects()) == 1


def test_the_command_shows_and_only_with_yes_removes(
    lungseg: object,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUNGSEG_HOME", str(settings.home))
    monkeypatch.setenv("LUNGSEG_REPO", settings.repo)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    run = workspace(settings, "old")

    for arguments, said in (
        ([], "nothing was removed; --yes does it"),
        (["--yes"], "removed 1, 0.0 MB freed"),
        (["--yes"], "nothing to remove"),
    ):
        lungseg("clean", *arguments)  # type: ignore[operator]
        assert said in capsys.readouterr().out
        assert run.exists() == (not arguments)
