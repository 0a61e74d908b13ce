"""What TensorFlow and XLA write of themselves at their start, kept from people.

They write to the error output below Python, partly before any setting of theirs counts
(TF_CPP_MIN_LOG_LEVEL is such a one), so it is there that it is filtered: by a process of its own,
which also passes on the last words of one that crashes. It imports nothing of the package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

ENGINE_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\] "  # of Abseil, fatal ones (F) excepted
    rb"|[\d-]{10} [\d:.]+: [IWE] \S+:\d+\] "  # of TensorFlow
    rb"|To enable the following instructions: "  # the second line of one of these
)
PATIENCE_S = 1.0
"""Seconds for which the end waits until all is passed on."""


@contextmanager
def without_engine_lines() -> Iterator[None]:
    """Within, this process and its children have an error output without ENGINE_LINE.

    Everything stays where the user asks for it by TF_CPP_MIN_LOG_LEVEL.
    """
    from pipeline.settings import engines_are_quiet

    if not engines_are_quiet():
        yield
        return
    before, (reading, writing) = os.dup(2), os.pipe()
    # In a session of its own: Ctrl+C ends the work, whose last words are then passed on.
    child = subprocess.Popen(
        [sys.executable, "-IS", __file__], stdin=reading, stderr=before, start_new_session=True
    )
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE_S)


def pass_on(lines: Iterable[bytes]) -> None:
    """Write all but the ENGINE_LINEs to the error output, each at once."""
    for line in lines:
        if not ENGINE_LINE.match(line):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


if __name__ == "__main__":
    pass_on(sys.stdin.buffer)
