from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ServiceError
from pipeline.files import write_json
from pipeline.services.daemon import Daemon, alive, descendants, end

IDLE = "import time; time.sleep(60)"


def sleeper(home: Path, code: str = IDLE) -> Daemon:
    return Daemon("sleeper", home, (sys.executable, "-c", code))


def wait_for(path: Path) -> str:
    while not (path.exists() and path.read_text().endswith("\n")):
        time.sleep(0.01)
    return path.read_text().strip()


def test_daemon_is_known_again_until_it_ends(tmp_path: Path) -> None:
    daemon = sleeper(tmp_path)
    assert daemon.process() is None

    started = daemon.start(os.environ)

    assert daemon.process() == started
    assert daemon.same_command()
    assert not Daemon("sleeper", tmp_path, ("other",)).same_command()
    end([started], patience=5)
    assert daemon.process() is None


def test_another_process_under_the_recorded_id_is_not_taken_for_the_daemon(tmp_path: Path) -> None:
    daemon = sleeper(tmp_path)
    me = psutil.Process()
    known = {"pid": me.pid, "created": me.create_time() - 100, "command": list(daemon.command)}
    write_json(daemon.record, known)

    assert daemon.process() is None


def test_unreadable_record_means_that_nothing_runs(tmp_path: Path) -> None:
    daemon = sleeper(tmp_path)
    daemon.record.parent.mkdir(parents=True)
    daemon.record.write_text("{")

    assert daemon.process() is None


def test_output_goes_to_the_log_and_the_log_before_is_kept(tmp_path: Path) -> None:
    for word in ("first", "second"):
        process = sleeper(tmp_path, f"print('{word}')").start(os.environ)
        process.wait()

    log = sleeper(tmp_path).log
    assert log.read_text() == "second\n"
    assert log.with_name("sleeper.log.1").read_text() == "first\n"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("starting\nERROR: port in use\nbye", "ERROR: port in use"),
        ("starting\nbye\n\n", "bye"),
        ("", "it wrote nothing"),
    ],
)
def test_telling_line_is_the_last_that_speaks_of_an_error(
    tmp_path: Path, output: str, line: str
) -> None:
    daemon = sleeper(tmp_path)
    daemon.log.parent.mkdir(parents=True)
    daemon.log.write_text(output)

    assert daemon.telling_line() == line


def test_missing_program_is_named(tmp_path: Path) -> None:
    daemon = Daemon("x", tmp_path, (str(tmp_path / "nothing"),))

    with pytest.raises(ServiceError, match=r"nothing: No such file.*install"):
        daemon.start(os.environ)


def test_grandchildren_in_sessions_of_their_own_are_found_and_ended(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {IDLE!r}], start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{child.pid}}\\n')"
    )
    sleeper(tmp_path, code).start(os.environ)
    grandchild = psutil.Process(int(wait_for(tmp_path / "pid")))

    assert grandchild in descendants(tmp_path)
    assert descendants(tmp_path / "elsewhere") == []
    end(descendants(tmp_path), patience=5)

    assert not alive(grandchild)


def test_the_services_of_a_home_that_was_moved_are_still_its_own(tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    home.mkdir()
    process = sleeper(home).start(os.environ)
    home.rename(moved)

    assert sleeper(moved).process() == process
    assert descendants(moved) == [process]
    end(descendants(moved), patience=5)
    assert not alive(process)


def test_the_services_of_a_home_that_was_copied_are_not_those_of_the_copy(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    process = sleeper(home).start(os.environ)
    shutil.copytree(home, copy)
    (tmp_path / "link").symlink_to(home)

    assert sleeper(copy).process() is None
    assert descendants(copy) == []
    assert sleeper(tmp_path / "link").process() == process
    assert descendants(tmp_path / "link") == [process]
    end([process], patience=5)


def test_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').write('\\n')\ntime.sleep(60)"
    )
    process = sleeper(tmp_path, code).start(os.environ)
    wait_for(tmp_path / "ready")

    end([process], patience=0.5)

    assert not alive(process)
