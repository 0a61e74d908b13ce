"""A thread that tells every minute that a long work goes on, also while it cannot tell itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model.pace import spoken_time

log = logging.getLogger(__name__)

EVERY_S = 60.0


@contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` every EVERY_S seconds, in a thread that ends with the block.

    The work within may be one call that compiles or writes for minutes.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(EVERY_S):
            beat()

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def told_meanwhile(work: str) -> Iterator[None]:
    """Log every minute that `work` goes on, until the block ends."""
    started = time.monotonic()
    with heartbeat(
        lambda: log.info("%s, %s so far", work, spoken_time(time.monotonic() - started))
    ):
        yield
