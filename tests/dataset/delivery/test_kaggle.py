"""Fetching from Kaggle with the real kagglehub, in child processes of their own.

Its client speaks to localhost:7777 when KAGGLE_API_ENVIRONMENT=TEST, where a small server plays
Kaggle; without that it meets whatever network the machine has.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.settings import child_environment
from tests.dataset.delivery.deliveries import Deliver, write_pair

SCRIPT = """
import sys
from pathlib import Path
from pipeline.dataset.delivery import kaggle
from pipeline.errors import LungsegError
kaggle.TIMEOUT = (2.0, 2.0)
try:
    print(kaggle.fetch_dataset(Path(sys.argv[1])).summary())
except LungsegError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(error.exit_code)
"""
NO_KEYS = {"KAGGLE_API_TOKEN": "", "KAGGLE_USERNAME": "", "KAGGLE_KEY": ""}


def fetched(project: Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    settings = {"HOME": str(home), "KAGGLE_API_ENVIRONMENT": "TEST", **NO_KEYS, **environment}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(project)],
        env=child_environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refused(project: Path, home: Path, **environment: str) -> str:
    done = fetched(project, home, **environment)
    assert done.returncode == 75, done.stdout + done.stderr
    assert not (project / "data").exists()
    line = done.stdout.splitlines()[-1]
    assert line.startswith("ServiceError: Kaggle: ")
    return line


@contextmanager
def kaggle(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[None]:
    """A server in Kaggle's place whose requests `answer` replies to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("localhost", 7777), Handler)
    except OSError:
        pytest.skip("port 7777, where kagglehub looks for a test server, is taken")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def send(request: BaseHTTPRequestHandler, status: int, kind: str, content: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def deliverer(archive: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith("/GetDataset"):
            version = json.dumps({"currentVersionNumber": 5}).encode()
            send(request, 200, "application/json", version)
        else:
            send(request, 200, "application/zip", archive)

    return answer


@pytest.mark.slow
def test_the_downloaded_dataset_is_imported(
    deliver: Deliver, project: Path, tmp_path: Path
) -> None:
    source = deliver("COVID", "Viral Pneumonia", name="COVID-19_Radiography_Dataset")
    archive = shutil.make_archive(str(tmp_path / "kaggle"), "zip", tmp_path, source.name)

    with kaggle(deliverer(Path(archive).read_bytes())):
        done = fetched(project, tmp_path / "home")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "added pairs: COVID 2, Viral Pneumonia 2" in done.stdout
    assert (project / "data/COVID/masks/COVID-1.png").exists()
    assert (project / "data.dvc").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "status 401 for tawsifurrahman/covid19-radiography-database; set KAGGLE_API_TOKEN"),
        (403, "status 403 for tawsifurrahman/covid19-radiography-database; set KAGGLE_API_TOKEN"),
        (404, "status 404 for tawsifurrahman/covid19-radiography-database; try again later"),
        (500, "status 500 for tawsifurrahman/covid19-radiography-database; try again later"),
    ],
)
def test_a_refusal_of_kaggle_is_one_line(
    project: Path, tmp_path: Path, status: int, said: str
) -> None:
    with kaggle(lambda request: send(request, status, "text/plain", b"no")):
        line = refused(project, tmp_path / "home")

    assert said in line
    assert "or download the zip from https://www.kaggle.com/datasets/tawsifurrahman" in line


@pytest.mark.slow
def test_a_login_page_instead_of_an_answer_is_refused(project: Path, tmp_path: Path) -> None:
    with kaggle(lambda request: send(request, 200, "text/html", b"<html>Log in</html>")):
        assert "no complete answer" in refused(project, tmp_path / "home")


@pytest.mark.slow
def test_a_damaged_download_is_refused(project: Path, tmp_path: Path) -> None:
    with kaggle(deliverer(b"PK\x03\x04 cut off")):
        assert "Unsupported archive type" in refused(project, tmp_path / "home")


@pytest.mark.slow
def test_a_silent_server_does_not_hang_the_fetch(project: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with kaggle(lambda _: time.sleep(20)):
        line = refused(project, tmp_path / "home")

    assert "no complete answer" in line
    assert "timed out" in line
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_damaged_credentials_file_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    (tmp_path / "home/.kaggle/kaggle.json").write_text("{")

    line = refused(project, tmp_path / "home")

    assert "Invalid Kaggle credentials file" in line
    assert "set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY" in line


@pytest.mark.slow
def test_without_a_network_the_fetch_says_so(project: Path, tmp_path: Path) -> None:
    try:
        socket.getaddrinfo("api.kaggle.com", 443)
    except OSError:
        line = refused(project, tmp_path / "home", KAGGLE_API_ENVIRONMENT="PROD")
        assert "no complete answer" in line
        assert "check the network and run again" in line
    else:
        pytest.skip("this machine reaches Kaggle")


@pytest.mark.slow
def test_data_that_would_be_lost_are_refused_before_the_download(
    project: Path, tmp_path: Path
) -> None:
    write_pair(project / "data", "Normal", "Normal-1", seed=1)

    done = fetched(project, tmp_path / "home")

    assert done.returncode == 1
    assert "DatasetError" in done.stdout
    assert "not known to DVC" in done.stdout
