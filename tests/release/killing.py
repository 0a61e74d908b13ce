"""Kill a promotion at one of its writes to MLflow: `python -m tests.release.killing STEP RUN_ID`.

The settings and the workspace come from the environment. Step 0 kills nothing and prints how many
writes there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def main(step: int, run_id: str, folder: Path) -> None:
    """Promote the run, and kill this process right before the write `step`."""

    def before(count: int) -> None:
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings()
    with connect(settings) as client:
        counted: Any = Counted(client, before)
        record = RunRecord(settings, counted, open_record(settings, client, run_id).run)
        outcome = run_promotion(record, Workspace(folder, "c0ffee", Path(sys.executable)))
        sys.stdout.write(f"{outcome.status} {counted.count}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
