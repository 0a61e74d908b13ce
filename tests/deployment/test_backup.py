from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipeline.deployment import backup
from pipeline.deployment import restore as restoring
from pipeline.deployment.backup import back_up
from pipeline.deployment.backup_parts import Part
from pipeline.deployment.databases import DatabaseState
from pipeline.deployment.restore import read_manifest, restore_backup
from pipeline.errors import DeploymentError, WorkspaceError
from pipeline.remote_store import RemoteStore
from pipeline.services import airflow_home
from pipeline.settings import Settings, child_environment
from pipeline.tracking.client import connect
from pipeline.workspace.objects import object_path
from tests.conftest import mode_of
from tests.release import conftest as of_releases
from tests.release.runs import make_run, release
from tests.stores import KEY, SECRET, s3_store
from tests.workspace.two_stages import commit

pageless = of_releases.pageless


@pytest.fixture
def kept(settings: Settings, tmp_path: Path) -> Path:
    """A backup of a home with a key, a log and a database."""
    for name in ("keys/release.pem", "releases/model.jsonl", "mlflow/artifacts/1/a.txt"):
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / name).write_text(name)
    list(back_up(settings, tmp_path / "backup", objects=False))
    return tmp_path / "backup"


def test_backup_is_its_users_alone_and_says_what_it_lacks(
    settings: Settings, kept: Path, tmp_path: Path
) -> None:
    lines = list(back_up(settings, tmp_path / "second", objects=False))

    assert mode_of(kept) == 0o700
    assert "keys: 1 files, 0.0 MB" in lines
    assert lines[0].startswith("mlflow.database: not on this host, not backed up; MLFLOW_BACKEND_S")
    assert lines[-1].startswith("no DVC remote outside of the repository")
    assert set(json.loads((kept / "manifest.json").read_text())["files"]) == {
        *("keys/release.pem", "releases/model.jsonl", "mlflow-artifacts/1/a.txt"),
        "local.database",
    }


def test_users_of_mlflow_are_kept_too(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users.db"
    sqlite3.connect(users).execute("CREATE TABLE users (name)").connection.close()
    (tmp_path / "auth.ini").write_text(f"[mlflow]\ndatabase_uri = sqlite:///{users}\n")
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(tmp_path / "auth.ini"))

    assert "mlflow-users.database: 1 files" in "\n".join(
        back_up(settings, tmp_path / "backup", objects=False)
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        ("[mlflow]\nadmin_username = admin\n", "no [mlflow] with a database_uri"),
        ("database_uri = sqlite:///x\n", "no [mlflow] with a database_uri"),
        ("\udcff", "no [mlflow] with a database_uri"),
    ],
)
def test_a_file_of_mlflows_log_in_that_names_no_database_is_refused(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    problem: str,
) -> None:
    file = tmp_path / "auth.ini"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(file))

    with pytest.raises(DeploymentError) as refused:
        list(back_up(settings, tmp_path / "backup", objects=False))

    assert str(refused.value) == (
        f"MLFLOW_AUTH_CONFIG_PATH={file}: {problem}; expected the file by which MLflow's server "
        "finds its users"
    )
    assert not (tmp_path / "backup").exists()


def test_a_part_that_a_setting_names_and_that_is_not_there_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "auth.ini").write_text(f"[mlflow]\ndatabase_uri = sqlite:///{tmp_path}/50%%.db\n")
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(tmp_path / "auth.ini"))
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(tmp_path / "misspelt"))
    monkeypatch.setenv("LUNGSEG_TRUSTED_KEYS", str(tmp_path / "misspelt"))

    def told() -> list[str]:
        lines = back_up(settings, tmp_path / "backup", objects=False)
        return [line.partition(":")[0] for line in lines if "not backed up" in line]

    lacking = told()
    assert {"mlflow-users.database", "signing_key", "trusted"} <= set(lacking)

    shutil.rmtree(tmp_path / "backup")
    sqlite3.connect(tmp_path / "50%.db").execute("CREATE TABLE users (name)").connection.close()
    assert told() == [name for name in lacking if name != "mlflow-users.database"]


def test_backup_into_a_folder_that_is_there_is_refused(settings: Settings, kept: Path) -> None:
    with pytest.raises(DeploymentError, match="is there already; name a new folder"):
        list(back_up(settings, kept, objects=False))


def test_host_without_anything_to_keep_is_told_so(settings: Settings, tmp_path: Path) -> None:
    shutil.rmtree(settings.home)

    with pytest.raises(DeploymentError, match="nothing to back up; call this where the services"):
        list(back_up(settings, tmp_path / "backup", objects=False))
    assert not (tmp_path / "backup").exists()


def test_backup_of_a_damaged_database_fails_and_leaves_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    (settings.home / "local/mlflow.db").write_bytes(b"no database")

    with pytest.raises(DeploymentError, match=r"mlflow\.db: cannot be copied: .*repair"):
        list(back_up(settings, tmp_path / "backup", objects=False))
    assert list(tmp_path.glob("*backup*")) == []


def test_copy_of_a_database_in_use_has_what_was_committed(
    settings: Settings, tmp_path: Path
) -> None:
    database = sqlite3.connect(settings.home / "local/mlflow.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE mine (x)")
    database.execute("INSERT INTO mine VALUES (1)")
    database.commit()
    database.execute("INSERT INTO mine VALUES (2)")  # not committed

    list(back_up(settings, tmp_path / "backup", objects=False))

    with sqlite3.connect(tmp_path / "backup/local.database") as copy:
        assert copy.execute("SELECT x FROM mine").fetchall() == [(1,)]
    copy.close()
    database.close()


def test_restore_puts_back_what_was_there_for_its_user_alone(
    settings: Settings, kept: Path
) -> None:
    before = {
        path.relative_to(settings.home): path.read_bytes()
        for path in settings.home.rglob("*.[jpt]*")
    }
    shutil.rmtree(settings.home)

    list(restore_backup(settings, kept, replace=False))

    assert {name: (settings.home / name).read_bytes() for name in before} == before
    assert mode_of(settings.home / "keys/release.pem") == 0o600
    assert mode_of(settings.home / "keys") == 0o700


def test_restore_over_something_is_refused_unless_told(settings: Settings, kept: Path) -> None:
    (settings.home / "keys/release.pem").write_text("newer")
    with pytest.raises(DeploymentError, match=r"keys.*: not empty; --replace"):
        list(restore_backup(settings, kept, replace=False))
    assert (settings.home / "keys/release.pem").read_text() == "newer"

    list(restore_backup(settings, kept, replace=True))
    assert (settings.home / "keys/release.pem").read_text() == "keys/release.pem"


def test_journal_of_the_former_database_is_not_taken_for_the_restored_ones(
    settings: Settings, kept: Path
) -> None:
    wal = settings.home / "local/mlflow.db-wal"
    wal.write_bytes(b"of another database")

    list(restore_backup(settings, kept, replace=True))

    assert not wal.exists()


def test_a_restored_database_of_the_local_airflow_is_migrated_by_the_next_start(
    settings: Settings, tmp_path: Path
) -> None:
    airflow = settings.home / "airflow"
    airflow.mkdir(parents=True)
    sqlite3.connect(airflow / "airflow.db").execute("CREATE TABLE old (x)").connection.close()
    list(back_up(settings, tmp_path / "backup", objects=False))
    (airflow / airflow_home.MIGRATED).write_text("of a later version")

    list(restore_backup(settings, tmp_path / "backup", replace=True))

    assert (airflow / "airflow.db").exists()
    assert not (airflow / airflow_home.MIGRATED).exists()


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_backup_that_is_not_as_it_was_written_is_refused_and_nothing_changes(
    settings: Settings, kept: Path, change: str
) -> None:
    file = kept / ("keys/other" if change == "added" else "keys/release.pem")
    file.unlink() if change == "removed" else file.write_text(change)
    shutil.rmtree(settings.home / "keys")

    with pytest.raises(DeploymentError, match=rf"{file.name} is not as it was written, and 0 more"):
        list(restore_backup(settings, kept, replace=True))
    assert not (settings.home / "keys").exists()


def test_folder_without_a_whole_manifest_is_no_backup(kept: Path) -> None:
    (kept / "manifest.json").write_text("{}")
    with pytest.raises(DeploymentError, match=r"no backup, .*expected a whole manifest\.json"):
        read_manifest(kept)


def test_restore_to_another_home_is_refused_where_paths_are_kept(
    settings: Settings, kept: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeploymentError, match=f"set LUNGSEG_HOME to {settings.home}"):
        list(restore_backup(replace(settings, home=tmp_path / "x"), kept, replace=False))


@pytest.mark.parametrize("backed_up", ["postgresql://lungs@db/mlflow", "sqlite:////x/mlflow.db"])
def test_a_database_is_not_restored_to_one_of_another_kind(
    settings: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch, backed_up: str
) -> None:
    manifest = kept / "manifest.json"
    content = json.loads(manifest.read_text())
    content["parts"]["mlflow.database"] = backed_up
    manifest.write_text(json.dumps(content))
    if backed_up.startswith("sqlite"):
        monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://lungs:secret@db/mlflow")
    (settings.home / "keys/release.pem").unlink()

    with pytest.raises(DeploymentError, match=f"the backup is of {backed_up}, .* same kind of dat"):
        list(restore_backup(settings, kept, replace=True))

    assert not (settings.home / "keys/release.pem").exists()  # nothing has changed


def test_part_without_a_place_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "team.pem"
    key.write_text("secret")
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(key))
    list(back_up(settings, tmp_path / "backup", objects=False))
    monkeypatch.delenv("LUNGSEG_SIGNING_KEY")

    with pytest.raises(DeploymentError, match="holds signing_key, for which no setting names a pl"):
        list(restore_backup(settings, tmp_path / "backup", replace=True))


def test_restore_below_running_services_is_refused(
    settings: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "descendants", lambda _: ["a process"])

    with pytest.raises(DeploymentError, match="services run; stop them with `lungseg down`"):
        list(restore_backup(settings, kept, replace=True))


def test_restore_of_a_database_that_others_use_is_refused(
    settings: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "database_state", lambda _: DatabaseState(3, 2))

    with pytest.raises(DeploymentError, match="2 others are connected; stop Airflow and MLflow"):
        list(restore_backup(settings, kept, replace=True))


def test_objects_of_a_remote_that_is_a_folder_are_listed_or_copied(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = tmp_path / "remote"
    (remote / "files/md5/ab").mkdir(parents=True)
    (remote / "files/md5/ab/cdef").write_text("object")
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote))

    listed = list(back_up(settings, tmp_path / "listed", objects=False))[-1]
    copied = list(back_up(settings, tmp_path / "copied", objects=True))[-1]
    shutil.rmtree(remote / "files")
    lacking = list(restore_backup(settings, tmp_path / "listed", replace=True))[-1]
    whole = list(restore_backup(settings, tmp_path / "copied", replace=True))[-1]

    assert listed.endswith(
        "1 objects listed, not copied; copy them by other means, or with --objects"
    )
    assert copied.endswith(": 1 files, 0.0 MB")
    assert lacking.endswith("0 objects restored, 1 are missing; restore the store, too")
    assert whole.endswith("1 objects restored, none is missing")
    assert (remote / "files/md5/ab/cdef").read_text() == "object"


@pytest.mark.parametrize("objects", [False, True])
def test_only_what_dvc_keeps_in_its_remote_counts_and_what_is_gone_meanwhile_does_not(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objects: bool
) -> None:
    remote = tmp_path / "remote"
    dvcs = ("files/md5/ab/cdef", "runs/ab/abcd/ef")
    for name in (*dvcs, "files/md5/ab/gone", "checkpoints/k/weights.npz", "parts/k/1-of-2/a"):
        (remote / name).parent.mkdir(parents=True, exist_ok=True)
        (remote / name).write_text(name)
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote))
    get = RemoteStore.get

    def get_late(self: RemoteStore, path: str, file: Path) -> None:
        (remote / "files/md5/ab/gone").unlink(missing_ok=True)
        get(self, path, file)

    monkeypatch.setattr(RemoteStore, "get", get_late)
    if not objects:
        (remote / "files/md5/ab/gone").unlink()

    list(back_up(settings, tmp_path / "backup", objects=objects))
    shutil.rmtree(remote / "checkpoints")

    assert read_manifest(tmp_path / "backup").store.keys() == set(dvcs)
    restored = list(restore_backup(settings, tmp_path / "backup", replace=True))[-1]
    assert restored.endswith("0 objects restored, none is missing")


@pytest.mark.parametrize("gone", [False, True])
def test_a_store_that_refuses_or_is_wholly_gone_meanwhile_ends_the_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    remote = tmp_path / "remote"
    (remote / "files/md5/ab").mkdir(parents=True)
    (remote / "files/md5/ab/cdef").write_text("object")
    monkeypatch.setenv("LUNGSEG_REMOTE", str(remote))

    def get(*_: object) -> None:
        if gone:  # like a folder that is no longer mounted
            shutil.rmtree(remote)
        raise WorkspaceError("the store refuses")

    monkeypatch.setattr(RemoteStore, "get", get)

    with pytest.raises(WorkspaceError, match="the store refuses"):
        list(back_up(settings, tmp_path / "backup", objects=True))
    assert not (tmp_path / "backup").exists()


def test_objects_of_a_remote_with_a_login_are_copied_by_it_and_it_is_not_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://ci:secret@store.example/lungs"
    monkeypatch.setenv("LUNGSEG_REMOTE", url)
    monkeypatch.setattr(RemoteStore, "list", lambda *_: [])
    copied: list[str] = []

    def copy_out(part: Part, folder: Path) -> None:
        copied.append(part.source)
        (folder / part.name).mkdir()

    monkeypatch.setattr(backup, "copy_out", copy_out)

    told = list(back_up(settings, tmp_path / "copied", objects=True))[-1]

    assert copied[-1] == url
    assert told == "DVC remote https://store.example/lungs: 0 files, 0.0 MB"


def test_a_dataset_that_the_cache_alone_has_is_not_called_safe(
    settings: Settings, tmp_path: Path
) -> None:
    repo, md5 = Path(settings.repo), "0123456789abcdef.dir"
    (repo / ".dvc/config").write_text(
        "[core]\n    remote = samples\n['remote \"samples\"']\n    url = ../samples\n"
    )
    pointer = {"outs": [{"md5": md5, "size": 2, "nfiles": 0, "path": "data"}]}
    (repo / "data.dvc").write_text(yaml.safe_dump(pointer))
    commit(repo)
    alone = list(back_up(settings, tmp_path / "alone", objects=True))[-1]

    listing = object_path(repo / "samples", md5)
    listing.parent.mkdir(parents=True)
    listing.write_text("[]")
    commit(repo)
    committed = list(back_up(settings, tmp_path / "committed", objects=True))[-1]

    assert alone == (
        "no DVC remote outside of the repository: data and results are in "
        f"{repo}/.dvc/cache alone, which is not in this backup; add a remote and `dvc push`"
    )
    assert committed == "DVC remote: a part of the repository, which is its own copy"
    restored = list(restore_backup(settings, tmp_path / "alone", replace=True))[-1]
    assert restored == "no DVC remote outside of the repository: no objects restored"


@pytest.mark.slow  # a real S3 store
def test_artifacts_in_s3_are_kept_and_a_bucket_without_versions_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "s3/bucket"
    (bucket / "mlflow/1").mkdir(parents=True)
    (bucket / "mlflow/1/model").write_text("a model")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/mlflow")
    monkeypatch.setenv("LUNGSEG_REMOTE", "s3://bucket/dvc")
    with s3_store(tmp_path / "s3") as url:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", url)
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", url)
        lines = list(back_up(settings, tmp_path / "backup", objects=False))
        (bucket / "mlflow/1/model").unlink()
        list(restore_backup(settings, tmp_path / "backup", replace=True))

    assert "mlflow-artifacts: 1 files, 0.0 MB" in lines
    assert "bucket bucket keeps no former versions: switch versioning" in lines[-1]
    assert (bucket / "mlflow/1/model").read_text() == "a model"


def said(home: Path, *arguments: str) -> str:
    """What the command says of the releases, in a process that knows nothing of before."""
    environment = child_environment(
        LUNGSEG_HOME=str(home),
        LUNGSEG_REPO=str(home.with_name("project")),
        MLFLOW_TRACKING_URI=f"sqlite:///{home}/local/mlflow.db",
        COLUMNS="200",
    )
    command = [sys.executable, "-m", "pipeline", "releases", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # a release, and processes that import MLflow
def test_releases_are_back_after_all_was_lost(settings: Settings, tmp_path: Path) -> None:
    of_releases.deploy(Path(settings.repo))
    with connect(settings) as client:
        release(make_run(settings, client, tmp_path / "first"))
    shown, verified = said(settings.home), said(settings.home, "verify")
    assert "champion" in shown

    list(back_up(settings, tmp_path / "backup", objects=False))
    shutil.rmtree(settings.home)
    list(restore_backup(settings, tmp_path / "backup", replace=False))

    assert said(settings.home) == shown
    assert said(settings.home, "verify") == verified
