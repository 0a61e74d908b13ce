from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.errors import CrashedError, UnreadableError
from pipeline.radiograph.formats import decoder_process, decoders
from pipeline.radiograph.formats.decoders import decode_apart
from tests.conftest import PROJECT


@pytest.fixture(autouse=True)
def _no_process_before_or_after() -> Iterator[None]:
    decoders._stop_all()
    yield
    decoders._stop_all()


@pytest.fixture
def unruly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setattr(decoders, "BASE_S", 0.2)
    script = Path(__file__).with_name("unruly_decoders.py")
    monkeypatch.setattr(decoder_process, "__file__", str(script))


def decode(what: str) -> int:
    """Low bits of the process that decoded."""
    pixels = np.zeros((64, 72), np.uint16)
    decode_apart("JPEG", what.encode(), pixels)
    assert np.unique(pixels).size == 1
    return int(pixels[0, 0])


@pytest.mark.usefixtures("unruly")
def test_one_process_decodes_one_picture_after_another(tmp_path: Path) -> None:
    first = decode("good")

    assert first
    for what in ("raise", "memory", "half"):
        with pytest.raises(UnreadableError, match="pixels cannot be decoded") as caught:
            decode(what)
        assert caught.value.reason == "truncated"
    assert decode("print") == decode("good") == first


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("unruly")
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("crash", "the decoder crashes on the pixels: the file is damaged"),
        ("loop", r"decoding takes more than 0\.2 s: the file is damaged"),
    ],
)
def test_a_decoder_that_dies_or_hangs_takes_nothing_with_it(what: str, said: str) -> None:
    with pytest.raises(UnreadableError, match=said) as caught:
        decode(what)
    assert caught.value.reason == "truncated"
    assert decode("good")


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("unruly")
def test_bounds_hold_below_a_parent_that_ignores_their_signals() -> None:
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
    try:
        with pytest.raises(UnreadableError, match="decoding takes more than"):
            decode("loop")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.usefixtures("unruly")
def test_a_tighter_bound_of_memory_stays() -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    process = psutil.Process()
    tight = process.memory_info().vms + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (tight, limits[1]))
    try:
        assert decode("good")
        (worker,) = decoders._idle
        found = psutil.Process(worker._process.pid).rlimit(psutil.RLIMIT_AS)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert 0 < found[0] <= tight


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("unruly")
def test_a_decoder_that_stands_still_is_ended() -> None:
    with pytest.raises(UnreadableError, match="decoding takes more than"):
        decode("sleep")
    assert decode("good")


@pytest.mark.usefixtures("unruly")
def test_a_crash_that_does_not_happen_again_is_none_of_the_file(tmp_path: Path) -> None:
    assert decode(f"crash-once {tmp_path / 'crashed'}")


@pytest.mark.usefixtures("unruly")
def test_a_process_ended_from_outside_is_no_fault_of_the_file() -> None:
    os.kill(process_of_idle(), signal.SIGKILL)

    assert decode("good")
    with pytest.raises(CrashedError, match="was ended by signal 9, expected it to be left alone"):
        decode("kill")


def process_of_idle() -> int:
    decode("good")
    (worker,) = decoders._idle
    return worker._process.pid


def test_a_machine_that_runs_no_decoder_is_told_apart_from_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("raise ImportError('imagecodecs')")
    monkeypatch.setattr(decoder_process, "__file__", str(tmp_path / "a.py"))
    with pytest.raises(CrashedError, match="it ended at once with 1; expected imagecodecs"):
        decode("good")

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CrashedError, match="cannot be started: No such file"):
        decode("good")


@pytest.mark.usefixtures("unruly")
def test_an_interrupt_within_an_answer_leaves_no_half_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    process = process_of_idle()
    with monkeypatch.context() as patched:
        patched.setattr(decoders._Worker, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode("good")

    assert not Path(f"/proc/{process}").exists()
    assert decode("good")


@pytest.mark.usefixtures("unruly")
def test_threads_have_a_process_each() -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(decode, ["good"] * 30))

    assert set(answers) == {worker._process.pid % 2**16 for worker in decoders._idle}
    assert 1 <= len(decoders._idle) <= 3


PROGRAM = """
import multiprocessing, os, signal, sys
from pathlib import Path
from pipeline.radiograph.formats import decoders
from pipeline.radiograph.reading import read_radiograph

def worker(_=None):
    assert_same(read_radiograph(Path(sys.argv[1])))
    return decoders._idle[0]._process.pid

def assert_same(pixels):
    if pixels.shape != (64, 72):
        raise SystemExit(1)

if __name__ == "__main__":
    first = worker()
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        processes = {*pool.map(worker, range(4)), first, worker()}
    print(*processes, flush=True)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("start", "end"), [("fork", "killed"), ("spawn", "exit")])
def test_pools_have_their_own_processes_and_leave_none(
    tmp_path: Path, start: str, end: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    radiograph = Path(__file__).parent / "dcmtk" / "lossless_12u.dcm"
    command = [sys.executable, "-OO", "-W", "error::ResourceWarning", "program.py"]

    done = subprocess.run(
        [*command, radiograph, start, end],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == (-signal.SIGKILL if end == "killed" else 0)
    processes = done.stdout.split()
    assert 2 <= len(processes) <= 3
    for _ in range(200):
        if not any(Path("/proc", process).exists() for process in processes):
            return
        time.sleep(0.05)
    pytest.fail(f"{processes} are still there")
