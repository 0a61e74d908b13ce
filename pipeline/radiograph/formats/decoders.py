"""Decoders in C, run where a broken or malicious stream can do no harm: in a process of their own.

The process is kept for the next radiograph, ended when it takes too long, and started anew after it
died. Threads have one each while they decode; processes made by fork() start their own.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, Any, cast

from numpy.typing import NDArray

from pipeline.errors import CrashedError
from pipeline.radiograph.formats import decoder_process
from pipeline.radiograph.formats.decoder_process import DECODED, READY, REFUSED, REQUEST
from pipeline.radiograph.formats.stored import damaged

BASE_S, PER_PIXEL_S = 1.0, 1e-6
"""Of processor time: five times what the slowest decoder, JPEG 2000's, takes for a picture."""
ATTEMPTS = 2
"""A process may have been ended from outside, or while it waited."""
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)


class _EndedError(Exception):
    """The process ended before it answered; carries its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Worker:
    """A process that decodes, ready for a request."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-W", "ignore", decoder_process.__file__]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(io.BufferedReader, self._process.stdout)
        if self._answers.read(len(READY)) != READY:
            raise _EndedError(self.stop())

    def decode(self, head: bytes, content: bytes, pixels: NDArray[Any]) -> bool:
        """Fill the pixels, or return False for a stream refused; raises _EndedError."""
        with suppress(BrokenPipeError):  # it ended: so its answer will say
            self._requests.write(head)
            self._requests.write(content)
            self._requests.flush()
        answer = self._answers.read(1)
        if answer == REFUSED:
            return False
        if answer == DECODED and self._answers.readinto(pixels.data.cast("B")) == pixels.nbytes:
            return True
        raise _EndedError(self.stop())

    def stop(self) -> int:
        """End the process; returns its exit code."""
        with suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        return self._process.wait()

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self.stop()

    def forget(self) -> None:
        """Close what a forked process has of it; the process itself is its parent's."""
        self._requests.close()
        self._answers.close()
        self._process.returncode = 0


_idle: list[_Worker] = []


def decode_apart(decoder: str, content: bytes, pixels: NDArray[Any]) -> None:
    """Fill `pixels`, contiguous (H, W), from a stream that declares just their size and bytes.

    `decoder` is JPEG, JPEG-LS or JPEG 2000. Raises UnreadableError for a stream that cannot be
    decoded, takes too long or ends the decoder, and CrashedError when this machine runs no decoder.
    """
    seconds = BASE_S + PER_PIXEL_S * pixels.size
    head = REQUEST.pack(decoder.encode(), seconds, *pixels.shape, pixels.itemsize, len(content))
    code = 0
    for _ in range(ATTEMPTS):
        try:
            decoded = _decode(head, content, pixels)
        except _EndedError as ended:
            code = ended.code
            if code == -signal.SIGPROF:
                break
        else:
            if not decoded:
                raise damaged("the pixels cannot be decoded")
            return
    if code in FROM_OUTSIDE:
        raise CrashedError(
            f"the process that decodes was ended by signal {-code}, expected it to be left alone; "
            "see whether memory is short, and run it again"
        )
    slow = code in (-signal.SIGPROF, -signal.SIGALRM)
    raise damaged(
        f"decoding takes more than {seconds:.1f} s" if slow else "the decoder crashes on the pixels"
    )


def _decode(head: bytes, content: bytes, pixels: NDArray[Any]) -> bool:
    worker = _idle_or_new()
    try:
        decoded = worker.decode(head, content, pixels)
    except _EndedError:
        raise
    except BaseException:  # Ctrl-C in the midst of an answer: the rest of it is nobody's
        worker.kill()
        raise
    _idle.append(worker)
    return decoded


def _idle_or_new() -> _Worker:
    with suppress(IndexError):
        return _idle.pop()
    _tidy_up_later()
    try:
        return _Worker()
    except OSError as error:
        found = error.strerror
    except _EndedError as ended:
        found = f"it ended at once with {ended.code}"
    raise CrashedError(
        f"the process that decodes cannot be started: {found}; expected imagecodecs to be "
        "installed, and memory for it: install lungseg again, or free memory"
    )


@functools.cache
def _tidy_up_later() -> None:
    atexit.register(_stop_all)
    os.register_at_fork(after_in_child=_forget_all)


def _stop_all() -> None:
    while _idle:
        _idle.pop().stop()


def _forget_all() -> None:
    while _idle:
        _idle.pop().forget()
