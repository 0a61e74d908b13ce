from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline import worker_pool
from pipeline.errors import CrashedError
from pipeline.inference import predictor
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


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 2), ("800000 100000", 4), ("max 100000", 4), (None, 4)]
)
def test_a_container_uses_no_more_cores_than_its_share_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for module in (worker_pool, predictor):
        monkeypatch.setattr(module, "CPU_QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")

    assert worker_pool.usable_cores() == predictor._cores() == cores


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
