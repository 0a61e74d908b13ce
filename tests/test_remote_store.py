from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ServiceError, WorkspaceError
from pipeline.files import SUMS, sums_hold, write_sums
from pipeline.remote_store import RemoteStore, open_location, open_store, remote_url
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import join_cache
from tests.conftest import small_disk
from tests.stores import KEY, SECRET, s3_store

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project whose deployment has this remote."""

    def make(url: str, endpoint: str = "") -> Path:
        folder = tmp_path / "project"
        (folder / ".dvc").mkdir(parents=True, exist_ok=True)
        (folder / ".dvc/config").write_text(
            "[core]\n    remote = samples\n['remote \"samples\"']\n    url = ../samples\n"
        )
        monkeypatch.setenv("LUNGSEG_REMOTE", url)
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", endpoint)
        join_cache(Settings(repo=str(tmp_path / "none"), home=tmp_path / "home"), folder)
        return folder

    return make


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with s3_store(folder) as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def opened(project: Path) -> RemoteStore:
    store = open_store(project)
    assert store is not None
    return store


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest,
    project: Project,
    endpoint: str,
    credentials: None,
    tmp_path: Path,
) -> RemoteStore:
    if request.param == "s3":
        return opened(project("s3://bucket/prefix", endpoint))
    return opened(project(str(tmp_path / "remote")))


def test_what_is_put_is_listed_got_replaced_and_removed(store: RemoteStore, tmp_path: Path) -> None:
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(b"first")
    store.put(file, "checkpoints/key/epoch-0001/arrays.npz")
    file.write_bytes(b"second one")
    store.put(file, "checkpoints/key/epoch-0001/arrays.npz")
    store.put(file, "checkpoints/key/holder.txt")

    listed = store.list("checkpoints/key")
    store.get("checkpoints/key/epoch-0001/arrays.npz", back)
    store.remove("checkpoints/key/epoch-0001/arrays.npz")
    store.remove("checkpoints/key/epoch-0001/arrays.npz")

    assert [(one.path, one.size) for one in listed] == [
        ("checkpoints/key/epoch-0001/arrays.npz", 10),
        ("checkpoints/key/holder.txt", 10),
    ]
    assert abs(listed[0].modified - file.stat().st_mtime) < 60
    assert back.read_bytes() == b"second one"
    assert [one.path for one in store.list("checkpoints/key")] == ["checkpoints/key/holder.txt"]
    assert store.list("nothing/here") == []


def test_a_probe_of_a_good_store_leaves_nothing(store: RemoteStore) -> None:
    store.probe()

    assert store.list("probes") == []


def test_a_wrong_secret_is_refused(
    project: Project, endpoint: str, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")

    with pytest.raises(WorkspaceError, match=r"refuses: The request signature .*credentials"):
        opened(project("s3://bucket/prefix", endpoint)).probe()


def test_no_credentials_at_all_are_said_to_be_missing(
    project: Project, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(WorkspaceError, match="refuses: Unable to locate credentials; mend"):
        opened(project("s3://bucket/prefix", endpoint)).probe()


def test_a_missing_bucket_is_named(project: Project, endpoint: str, credentials: None) -> None:
    with pytest.raises(WorkspaceError, match=r"s3://none/prefix: .* bucket does not exist; mend"):
        opened(project("s3://none/prefix", endpoint)).probe()


@pytest.mark.slow  # the library tries for 10 s
def test_a_store_that_is_away_is_worth_another_try(project: Project, credentials: None) -> None:
    with pytest.raises(ServiceError, match="the store does not answer: Could not connect"):
        opened(project("s3://bucket/prefix", "http://127.0.0.1:9")).probe()


def test_a_folder_that_is_full_is_refused(project: Project, tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k") as disk:
        file = tmp_path / "file"
        file.write_bytes(bytes(100_000))

        with pytest.raises(WorkspaceError, match=r"the store refuses: .*No space left on device"):
            opened(project(str(disk / "remote"))).put(file, "a/b")


class Broken:
    """A file system whose every answer is one error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_file(self, *_: str) -> None:
        raise self.error

    def join(self, *parts: str) -> str:
        return "/".join(parts)


def answer(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError

    content = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(content, "PutObject")


def untrusted() -> Exception:
    error = OSError("cannot connect")
    error.__cause__ = ssl.SSLCertVerificationError(1, "self-signed certificate")
    return error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (answer("AccessDenied", 403), WorkspaceError, "refuses"),
        (answer("RequestTimeTooSkewed", 403), WorkspaceError, "refuses"),
        (answer("SlowDown", 503), ServiceError, "does not answer"),
        (answer("RequestTimeout", 400), ServiceError, "does not answer"),
        (TimeoutError(), ServiceError, "does not answer: TimeoutError"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), ServiceError, "does not answer"),
        (PermissionError(errno.EACCES, "not yours"), WorkspaceError, "refuses"),
        (untrusted(), WorkspaceError, "certificate is not trusted; name .* AWS_CA_BUNDLE"),
    ],
)
def test_errors_are_told_apart_by_whether_another_try_helps(
    error: Exception, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    store = RemoteStore(Broken(error), "bucket", "s3://bucket")

    with pytest.raises(kind, match=f"^s3://bucket: .*{text}"):
        store.put(tmp_path, "a")


def test_a_store_is_named_without_a_login(project: Project, tmp_path: Path) -> None:
    url = "https://ci:secret@store.example/a"
    store = RemoteStore(Broken(OSError(f"{url}: away")), "a", url)

    with pytest.raises(ServiceError, match=r"^https://store\.example/a: .*: https://store\.exam"):
        store.put(tmp_path, "a")
    for open_it in (
        lambda: open_store(project("ftp://ci:secret@host/a")),
        lambda: open_location("ftp://ci:secret@host/a", None),
    ):
        with pytest.raises(WorkspaceError, match=r"^ftp://host/a: ") as error:
            open_it()
        assert "secret" not in str(error.value)


def test_a_store_that_gives_back_other_bytes_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(project(str(tmp_path / "remote")))
    monkeypatch.setattr(type(store._fs), "cat_file", lambda *_: b"other")

    with pytest.raises(WorkspaceError, match="gives back other bytes than were written; repair"):
        store.probe()


def test_the_samples_within_the_repository_are_no_store(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(
        "[core]\n    remote = samples\n['remote \"samples\"']\n    url = ../samples\n"
    )

    assert remote_url(tmp_path) is None
    assert open_store(tmp_path) is None


def test_a_remote_that_dvc_cannot_read_is_one_line(project: Project) -> None:
    with pytest.raises(WorkspaceError, match=r"ftp://host/a: .*; mend the DVC remote"):
        open_store(project("ftp://host/a"))


@pytest.mark.parametrize("sent", range(4))
def test_a_folder_is_whole_or_seen_not_to_be_wherever_sending_or_removing_stops(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    store, folder = opened(project(str(tmp_path / "remote"))), tmp_path / "folder"
    folder.mkdir()
    for name in ("A", "z"):  # before and after the sums, by name
        (folder / name).write_text(name)
    write_sums(folder)

    def whole() -> bool:
        return any(SUMS in names for names in store.folders("parts").values())

    def stop_after(method: str) -> None:
        answers = iter([getattr(store, method)] * sent)

        def limited(*arguments: Any) -> None:
            if (answer := next(answers, None)) is None:
                raise ServiceError("away")
            answer(*arguments)

        monkeypatch.setattr(store, method, limited)

    stop_after("put")
    with nullcontext() if sent == 3 else pytest.raises(ServiceError):
        store.put_folder(folder, "parts/a")
    assert whole() == (sent == 3)
    monkeypatch.undo()

    store.put_folder(folder, "parts/a")
    [(path, names)] = store.folders("parts").items()
    store.get_folder(path, names, tmp_path / "copy")
    assert sums_hold(tmp_path / "copy")
    stop_after("remove")
    with nullcontext() if sent == 3 else pytest.raises(ServiceError):
        store.remove_all(f"{path}/{name}" for name in names)
    assert whole() == (sent == 0)


def test_a_folder_that_is_gone_is_a_refusal(project: Project, tmp_path: Path) -> None:
    store = opened(project(str(tmp_path / "remote")))

    with pytest.raises(WorkspaceError, match=r"the store refuses: .*No such file"):
        store.put_folder(tmp_path / "gone", "parts/a")
