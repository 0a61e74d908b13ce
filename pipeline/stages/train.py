"""Train the U-Net++ on the shards of the augment stage."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import atomic_folder, atomic_path
from pipeline.fingerprints import code_files
from pipeline.model.checkpoint import checkpoint_key, hold_checkpoints
from pipeline.model.engine import (
    GPU_EXTRAS,
    TrainingEnvironment,
    choose_engine,
    training_environment,
    translated_errors,
)
from pipeline.model.export_process import export_saved
from pipeline.model.heartbeat import told_meanwhile
from pipeline.model.keras_file import save_network
from pipeline.model.shards import AUGMENT_SUMMARY_FILE, find_shards
from pipeline.model.training_history import (
    HISTORY,
    HISTORY_FILE,
    TRAIN_SUMMARY_FILE,
    TRAINED,
    TrainSummary,
    history_table,
)
from pipeline.params import Params, TrainParams
from pipeline.remote_store import open_store
from pipeline.services.gpu_cards import listed_cards
from pipeline.settings import Settings
from pipeline.tracking.live import live_run

if TYPE_CHECKING:
    import keras

    from pipeline.model.training import Fitted

log = logging.getLogger(__name__)


def run(params: Params, root: Path) -> str:
    """Write artifacts/train: model.keras, model.onnx, history.csv and train.json.

    A killed training resumes where it was minutes before, with the result that it would have had.
    Of several processes that train together only the first one writes. Raises StageError when the
    shards are missing, the engine is not installed, the loss is no longer a number, a checkpoint
    cannot be written or the exported network answers otherwise than the trained one, ParamsError
    when network and image size do not suit each other, ServiceError when the weights of an encoder
    cannot be fetched, CrashedError when memory is full or other processes do not come.
    """
    shards = root / AUGMENT_SUMMARY_FILE.parent
    train, val = find_shards(shards, "train"), find_shards(shards, "val")
    log.info(
        "%d radiographs to train on, %d to validate; loading the engine",
        *(train.records, val.records),
    )
    train = train.drawn_by(params.augment.workers)  # not in dvc.yaml: it changes no result
    settings = Settings()
    choose_engine(params.train, settings.home)

    from pipeline.model.export import check_export
    from pipeline.model.processes import (
        check_same_training,
        join_processes,
        leave_processes,
        looking_on,
        process_number,
        tell_checkpoints,
        told_checkpoints,
    )
    from pipeline.model.training import fit

    with told_meanwhile("preparing: meeting other processes, if any, and reading all shards"):
        join_processes(params.train)
        inputs = [*train.paths, *val.paths, root / AUGMENT_SUMMARY_FILE]
        environment = training_environment(drawing=train.fresh is not None)
        warn_of_idle_cards(environment)
        key = training_key(params.train, inputs, environment)
        check_same_training(key)
    if process_number():
        with told_checkpoints() as told:
            fit(params.train, train, val, told, looking_on(None))
        leave_processes()
        return f"train: process {process_number()} has trained along; process 0 writes"
    live = live_run()
    if live:
        live.log_gpus(len(environment.devices))
    with hold_checkpoints(settings.checkpoints, key, open_store(root)) as checkpoints:
        tell_checkpoints(checkpoints)
        fitted = fit(params.train, train, val, checkpoints, looking_on(live))
        leave_processes()
        with atomic_folder(root / TRAINED) as folder:
            with told_meanwhile("writing and checking the network"), translated_errors():
                _save(params.train, fitted.network, folder, train.conventions)
                difference = check_export(fitted.network, folder / "model.onnx", val)
            HISTORY.write(folder / HISTORY_FILE.name, history_table(fitted.history))
            _summary(fitted, difference).write(folder / TRAIN_SUMMARY_FILE.name)
        if settings.finished_training is None:
            checkpoints.clear()
        else:  # a task lets go of them once nothing can be lost any more
            with atomic_path(settings.finished_training) as partial:
                partial.write_text(key, encoding="utf-8")
    best = fitted.best
    return (
        f"train: {len(fitted.history)} epochs, best {best['epoch']} with validation Dice "
        f"{best['val_dice']:.4f}, accuracy {best['val_accuracy']:.4f}"
    )


def warn_of_idle_cards(environment: TrainingEnvironment) -> None:
    """Warn of GPUs that the engine does not see, unless the shell says to leave them alone."""
    meant = {"CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"} & os.environ.keys()
    if environment.devices or meant or not (cards := listed_cards()):
        return
    log.warning(
        "found %d GPUs that %s %s does not see, so the CPU trains; install it for them "
        "(`make setup EXTRA=%s`), or say that the CPU is meant (CUDA_VISIBLE_DEVICES=)",
        *(cards, environment.engine, environment.engine_version),
        GPU_EXTRAS[environment.engine],
    )


def training_key(params: TrainParams, inputs: list[Path], environment: TrainingEnvironment) -> str:
    """A hash of all that the result depends on.

    The number of epochs and the patience are part of it: with fewer, an undisturbed training
    might have stopped before the checkpoint.
    """
    files = {path.name: path for path in inputs} | code_files("train")
    return checkpoint_key(files, {"params": params.model_dump(), **asdict(environment)})


def _save(
    params: TrainParams, network: keras.Model, folder: Path, conventions: Sequence[str]
) -> None:
    """Write model.keras and model.onnx."""
    from pipeline.model.export import export_network

    save_network(network, folder / "model.keras")
    if params.engine == "tensorflow":
        export_network(network, folder / "model.onnx", conventions)
    else:
        export_saved(folder / "model.keras", folder / "model.onnx", conventions)


def _summary(fitted: Fitted, difference: float) -> TrainSummary:
    best = fitted.best
    return TrainSummary(
        epochs=len(fitted.history),
        best_epoch=int(best["epoch"]),
        best_val_loss=best["val_loss"],
        best_val_dice=best["val_dice"],
        best_val_iou=best["val_iou"],
        best_val_accuracy=best["val_accuracy"],
        network_parameters=fitted.network.count_params(),
        onnx_max_difference=difference,
    )
