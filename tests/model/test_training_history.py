from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.model.training_history import HISTORY, HISTORY_FILE, history_rows, history_table
from pipeline.tracking.live import METRICS

ROWS = [
    {name: 0.1 * number + epoch for number, name in enumerate(HISTORY.columns)} | {"epoch": epoch}
    for epoch in (1, 2)
]


def test_the_epochs_survive_their_file(tmp_path: Path) -> None:
    HISTORY.write(tmp_path / HISTORY_FILE, history_table(ROWS))

    assert history_rows(HISTORY.read(tmp_path / HISTORY_FILE)) == ROWS
    first = (tmp_path / HISTORY_FILE).read_text().splitlines()[1]
    assert first == "1,1.1,1.2,1.3,1.4,1.5,1.6,1.7000000000000002,1.8,1.9"


def test_every_column_of_the_history_has_its_name_in_mlflow() -> None:
    assert METRICS.keys() - {"images_per_second"} == HISTORY.columns.keys() - {"epoch"}
    assert len(set(METRICS.values())) == len(METRICS)


def test_the_history_is_read_without_keras() -> None:
    loaded = "{'keras', 'tensorflow'} & set(sys.modules)"
    code = f"import sys, pipeline.model.training_history; print({loaded})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
