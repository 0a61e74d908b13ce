from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from pipeline.worker_pool import open_workers
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
