"""A thread that tells every minute that a long work goes on, also while it cannot tell itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 60.0


@contextmanager
def heartbeat(beat: Callable[[], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Call `beat` every `every_s` seconds, in a thread that ends with the block.

    The work within may be one call that compiles or writes for minutes.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            beat()

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
