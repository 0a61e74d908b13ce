"""Train the U-Net++ on the shards of the augment stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.files import atomic_folder, write_csv, write_json
from pipeline.fingerprints import code_files
from pipeline.model.checkpoint import checkpoint_key, hold_checkpoints
from pipeline.model.shards import find_shards
from pipeline.params import Params, TrainParams
from pipeline.settings import Settings
from pipeline.tracking.live import live_run


def run(params: Params, root: Path) -> str:
    """Write artifacts/train: model.keras, model.onnx, history.csv and train.json.

    A killed training is gone on from its last epoch, with the result that it would have had.
    Raises StageError when the shards are missing, the loss is no longer a number, a checkpoint
    cannot be written or the exported network answers otherwise than the trained one, ParamsError
    when network and image size do not suit each other, ServiceError when the weights of an encoder
    cannot be fetched.
    """
    shards = root / "artifacts/augment"
    train, val = find_shards(shards, "train"), find_shards(shards, "val")

    from pipeline.model.devices import circumstances
    from pipeline.model.export import check_export, export_network
    from pipeline.model.keras_file import save_network
    from pipeline.model.training import HISTORY, fit

    live = live_run()
    inputs = [*train.paths, *val.paths, shards / "augment.json"]
    key = training_key(params.train, inputs, circumstances())
    with hold_checkpoints(Settings().checkpoints, key) as checkpoints:
        with atomic_folder(root / "artifacts/train") as folder:
            fitted = fit(params.train, train, val, checkpoints, live)
            save_network(fitted.network, folder / "model.keras")
            export_network(fitted.network, folder / "model.onnx")
            difference = check_export(fitted.network, folder / "model.onnx", val)
            write_csv(folder / "history.csv", list(HISTORY), fitted.history)
            write_json(folder / "train.json", _summary(fitted, difference))
        checkpoints.clear()
    best = fitted.best
    return (
        f"train: {len(fitted.history)} epochs, best {best['epoch']} with validation Dice "
        f"{best['val_dice']:.4f}, accuracy {best['val_accuracy']:.4f}"
    )


def training_key(params: TrainParams, inputs: list[Path], circumstances: dict[str, Any]) -> str:
    """A hash of all that the result depends on.

    The number of epochs and the patience are part of it: with fewer, an undisturbed training
    might have stopped before the checkpoint.
    """
    files = {path.name: path for path in inputs} | code_files("train")
    return checkpoint_key(files, {"params": params.model_dump(), **circumstances})


def _summary(fitted: Any, difference: float) -> dict[str, Any]:
    best = fitted.best
    return {
        "epochs": len(fitted.history),
        "best_epoch": best["epoch"],
        **{
            f"best_{name}": best[name]
            for name in ("val_loss", "val_dice", "val_iou", "val_accuracy")
        },
        "network_parameters": fitted.network.count_params(),
        "onnx_max_difference": difference,
    }
