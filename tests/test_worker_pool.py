from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.errors import CrashedError
from pipeline.worker_pool import open_workers, translated_kill
from tests.conftest import PROJECT

KILLED = """
import os, signal
from pipeline.worker_pool import open_workers

if __name__ == "__main__":
    pool = open_workers(2)
    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, script],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )

    _, alive = psutil.wait_procs(
        [one for one in psutil.process_iter() if str(one.pid) in done.stdout.split()],
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split()
    assert alive == []


def threads_of_opencv() -> int:
    import cv2

    return int(cv2.getNumThreads())


def test_each_worker_has_one_thread_of_opencv() -> None:
    with open_workers(1) as pool:
        assert pool.submit(threads_of_opencv).result() == 1


def test_a_worker_that_is_killed_is_a_crash_that_is_worth_a_retry() -> None:
    said = r"^validate: one of 2 worker processes was killed, .* memory; try again with more$"

    with (
        pytest.raises(CrashedError, match=said),
        translated_kill("validate", 2),
        open_workers(2) as pool,
    ):
        list(pool.map(end_at_once, range(2)))


def end_at_once(*_: object) -> None:
    os._exit(9)
