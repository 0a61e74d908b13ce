"""Sides of a comparison in processes of their own, which work only while they are asked.

So neither's threads and memory disturb the other.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Turn:
    """A side in a process of its own: a script that was started with `--side`."""

    def __init__(self, script: str, side: str, environment: Mapping[str, str]) -> None:
        self._child: Any = subprocess.Popen(
            [sys.executable, script, "--side", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(script).parents[1],
            env={**os.environ, **environment},
        )

    def ask(self, method: str, *values: Any) -> Any:
        """The answer of a method; ends the run when the process has died, which says why."""
        self.send(method, *values)
        answer = self.answer()
        if answer is None:
            raise SystemExit(f"{method}{values}: no answer")
        return answer

    def send(self, method: str, *values: Any) -> None:
        """Ask for what `answer` gives later."""
        print(json.dumps([method, values]), file=self._child.stdin, flush=True)

    def answer(self, seconds: float | None = None) -> Any | None:
        """What was asked for; None when the process has died, which says why, or needs longer."""
        if not select.select([self._child.stdout], [], [], seconds)[0]:
            return None
        line = self._child.stdout.readline()
        return json.loads(line) if line else None

    def end(self) -> None:
        """Let the process end."""
        self._child.communicate()

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._child.kill()
        self._child.wait()


def serve(side: Any) -> None:
    """Answer what is asked line by line by the methods of `side`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    for line in sys.stdin:
        method, values = json.loads(line)
        print(json.dumps(getattr(side, method)(*values)), file=answers, flush=True)
