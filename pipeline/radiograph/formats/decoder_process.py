"""The process in which compressed pixels are decoded: a stream in, pixels out, one after another.

The decoders are C code, and what they are given is not trusted. Here they have so much processor
time and memory, and when one crashes, this process ends and no other. It is started by its path and
imports nothing of the project; it ends when its input does, so it cannot outlive its parent.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from imagecodecs import jpeg8_decode, jpegls_decode
from openjpeg.utils import decode

REQUEST = struct.Struct("<16sdIIBQ")
"""The decoder, seconds of processor time, rows, columns, bytes of a pixel, bytes of the stream."""
READY, DECODED, REFUSED = b"R", b"D", b"N"
STUCK_S = 60
"""A process that gets no further ends after so many seconds, though it takes no processor time."""
MEMORY = 512 * 2**20
"""Bytes beside what it starts with: the largest file (64 MiB) and its pixels, several times."""
DECODERS: dict[bytes, Callable[[bytes], Any]] = {
    b"JPEG": jpeg8_decode,
    b"JPEG-LS": jpegls_decode,
    b"JPEG 2000": decode,
}


def answer_requests() -> None:
    """Answer requests until there are no more."""
    _let_signals_end_it()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold a radiograph
    answers.write(READY)
    answers.flush()
    while _answer(sys.stdin.buffer, answers):
        pass


def _let_signals_end_it() -> None:
    """Whatever the parent does with signals, which a process inherits."""
    bounds = (signal.SIGALRM, signal.SIGPROF)
    for one in bounds:
        signal.signal(one, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, bounds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair


def _limit_memory() -> None:
    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    allowed, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = present + MEMORY
    if allowed == resource.RLIM_INFINITY or limit < allowed:
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _answer(requests: IO[bytes], answers: IO[bytes]) -> bool:
    """Answer one request; False when there is none, or only a part of one."""
    head = requests.read(REQUEST.size)
    if len(head) < REQUEST.size:
        return False
    name, seconds, rows, columns, itemsize, length = REQUEST.unpack(head)
    content = requests.read(length)
    if len(content) < length:
        return False
    # Their signals end the process, whatever the decoder is doing.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(STUCK_S)
    try:
        pixels = DECODERS[name.rstrip(b"\0")](content)
    except (MemoryError, RuntimeError, ValueError):
        pixels = None
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    if pixels is None or (*pixels.shape, pixels.itemsize) != (rows, columns, itemsize):
        answers.write(REFUSED)
    else:
        answers.write(DECODED)
        answers.write(pixels.data)
    answers.flush()
    return True


if __name__ == "__main__":
    answer_requests()
