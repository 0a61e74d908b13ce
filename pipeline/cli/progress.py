"""How far a long command is: a bar in a terminal, else a line every half minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

INTERVAL_S = 30.0


@contextmanager
def shown_progress(things: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told how many things are done, of how many; it shows that on the error output.

    A command that ends at once shows nothing where there is no terminal.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, things)
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(things, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class _Lines:
    def __init__(self, console: Console, things: str) -> None:
        self._console, self._things = console, things
        self._started = self._said = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._said < INTERVAL_S or not done:
            return
        self._said, seconds = now, now - self._started
        left = seconds / done * (of - done)
        self._console.print(
            f"{done} of {of} {self._things}, {done / seconds:.1f} a second, {left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
