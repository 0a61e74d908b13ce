"""history.csv and train.json: how a network was trained. Imports no TensorFlow and no Keras."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pandas as pd

from pipeline.artifacts import Artifact
from pipeline.table_files import COUNT, NUMBER, TableFile

TRAINED = Path("artifacts/train")
"""The folder of the trained network, below the project's root."""
HISTORY_FILE = TRAINED / "history.csv"
TRAIN_SUMMARY_FILE = TRAINED / "train.json"

EpochRow = dict[str, float]
"""A row of the history: a number for each of its columns."""

MEASURED = ("loss", "accuracy", "dice", "iou")
"""What is measured of an epoch on the training radiographs; `val_…` on the validation ones."""
HISTORY = TableFile(
    {
        "epoch": COUNT,  # counted from 1
        **dict.fromkeys(MEASURED, NUMBER),
        **{f"val_{name}": NUMBER for name in MEASURED},
        "learning_rate": NUMBER,
    },
    "the stage train",
)


def history_table(rows: Iterable[EpochRow]) -> pd.DataFrame:
    """The history of these epochs."""
    return pd.DataFrame(list(rows), columns=list(HISTORY.columns))


def history_rows(history: pd.DataFrame) -> list[EpochRow]:
    """Each epoch of a history."""
    return [{str(name): value for name, value in row.items()} for row in history.to_dict("records")]


class TrainSummary(Artifact):
    """train.json: the best epoch, by validation loss, and the network's size."""

    made_by: ClassVar[str] = "the stage train"

    epochs: int
    """All that were trained."""
    best_epoch: int
    best_val_loss: float
    best_val_dice: float
    best_val_iou: float
    best_val_accuracy: float
    network_parameters: int
    """Weights, trained or not."""
    onnx_max_difference: float
    """Of a probability, between model.onnx and the network."""
