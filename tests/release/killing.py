"""Kill promotions at one of their writes to MLflow: `python -m tests.release.killing RUN FOLDER`.

Each line of the input is a step: a process of its own promotes the run and is killed right before
that write. Step 0 kills nothing. The answer is a line: the exit code, and then the outcome and how
many writes there were, if it came so far. Imports take longer than all else, so they are done once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.release import champion
from pipeline.release.promotion import run_promotion
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RunRecord, open_record
from pipeline.workspace.workspace import Workspace

WRITES = ("set_", "create_", "log_", "delete_", "update_")
"""How the names of the client's methods that write begin."""


class Counted:
    """MLflow's client, which does something before each of its writes."""

    def __init__(self, client: Any, before: Callable[[int], None]) -> None:
        self._client, self._before, self.count = client, before, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith(WRITES):
            return method

        def write(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            self._before(self.count)
            return method(*arguments, **options)

        return write


def promote(step: int, run_id: str, folder: Path) -> None:
    """Promote the run, and kill this process right before the write `step`."""

    def before(count: int) -> None:
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings()
    with connect(settings) as client:
        counted: Any = Counted(client, before)
        record = RunRecord(settings, counted, open_record(settings, client, run_id).run)
        outcome = run_promotion(record, Workspace(folder, "c0ffee", Path(sys.executable)))
        sys.stdout.write(f"0 {outcome.status} {counted.count}\n")
        sys.stdout.flush()


def main(run_id: str, folder: Path) -> None:
    """Do each step that comes in a process of its own."""
    champion.same_masks = lambda *_: True  # as in conftest.py, and for its reason
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            promote(int(line), run_id, folder)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.stdout.write(f"{code}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401 - a client imports it late

    main(sys.argv[1], Path(sys.argv[2]))
