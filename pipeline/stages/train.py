"""Train the U-Net++ on the shards of the augment stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.files import atomic_folder, write_csv, write_json
from pipeline.model.shards import find_shards
from pipeline.params import Params
from pipeline.release.live import live_run


def run(params: Params, root: Path) -> str:
    """Write artifacts/train: model.keras, history.csv and train.json.

    Raises StageError when the shards are missing or the loss is no longer a number, ParamsError
    when network and image size do not suit each other, ServiceError when the weights of an
    encoder cannot be fetched.
    """
    shards = root / "artifacts/augment"
    train, val = find_shards(shards, "train"), find_shards(shards, "val")

    from pipeline.model.archive import save_network
    from pipeline.model.training import HISTORY, fit

    live = live_run()
    with atomic_folder(root / "artifacts/train") as folder:
        fitted = fit(params.train, train, val, live.log_epoch if live else None)
        save_network(fitted.network, folder / "model.keras")
        write_csv(folder / "history.csv", list(HISTORY), fitted.history)
        write_json(folder / "train.json", _summary(fitted))
    best = fitted.best
    return (
        f"train: {len(fitted.history)} epochs, best {best['epoch']} with validation Dice "
        f"{best['val_dice']:.4f}, accuracy {best['val_accuracy']:.4f}"
    )


def _summary(fitted: Any) -> dict[str, Any]:
    best = fitted.best
    return {
        "epochs": len(fitted.history),
        "best_epoch": best["epoch"],
        "val_loss": best["val_loss"],
        "val_dice": best["val_dice"],
        "val_accuracy": best["val_accuracy"],
        "parameters": fitted.network.count_params(),
    }
