"""A repository of the project with a small synthetic dataset of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from pipeline.dataset.layout import METADATA_SUFFIX, class_folders
from pipeline.dataset.synthetic.phantom import write_dataset
from pipeline.dataset.validation.whole import inspect_dataset
from pipeline.params_file import load_params, override
from pipeline.settings import child_environment
from pipeline.stages.split import assign_splits
from tests.conftest import PROJECT, git

QUICK = {
    "augment.image_size": 64,
    "augment.copies": 0,
    "train.filters": "[4, 8, 16]",
    "train.epochs": 3,
    "evaluate.robustness_cases": 2,
    "report.cases": 2,
    "gate.min_accuracy": 0.2,
    "gate.min_dice": 0.05,
    "gate.min_worst_class_dice": 0.01,
    "gate.min_report_cases": 3,
    "gate.max_failures": 1.0,
    "gate.max_hd95": 1000,
    "gate.max_ece": 1.0,
    "gate.max_drop": 1.0,
    "gate.max_drift": 1.0,
}
"""Parameters of a run that is over soon, and of a gate that lets its model pass."""
ODD = {"Lung_Opacity": "covid", "Viral Pneumonia": "Пневмония (new) #1: + = , & 50% '?"}
"""What classes of a project are called instead: names that differ by case only, or are odd."""


def make_project(folder: Path, overrides: Iterable[str] = (), pairs: int = 0) -> None:
    """Commit the project as it lies here, with 18 pairs of each class, to a repository.

    Or with so many `pairs` in all. Two of its four classes have ODD names. `overrides` are
    `section.key=value` changes of its params.yaml.
    """
    for name in git(PROJECT, "ls-files").splitlines():
        if not name.startswith(("samples/", "data.dvc")) and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    override(folder / "params.yaml", overrides)
    write_dataset(folder / "data", pairs or 100, seed=7)
    for name, odd in ODD.items():
        (folder / "data" / name).rename(folder / "data" / odd)
        sheet = folder / f"data/{name}{METADATA_SUFFIX}"
        sheet.rename(sheet.with_name(f"{odd}{METADATA_SUFFIX}"))
    if not pairs:
        thin_out(folder / "data", {"train": 12, "val": 3, "test": 3})
    git(folder, "init", "--quiet", "--initial-branch=main")
    environment = child_environment(LUNGSEG_REPO=str(folder))
    subprocess.run(["dvc", "add", "--quiet", "data"], cwd=folder, env=environment, check=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")


def thin_out(data: Path, wanted: dict[str, int]) -> None:
    """Keep so many pairs of each class in each split: small sets do not always have all splits."""
    manifest, _, _ = inspect_dataset(data)
    rows, _ = assign_splits(manifest, load_params(PROJECT / "params.yaml").split)
    left = {folder.name: dict(wanted) for folder in class_folders(data)}
    for row in rows.to_dict("records"):
        left[row["class_name"]][row["split"]] -= 1
        if left[row["class_name"]][row["split"]] < 0:
            (data / row["image_path"]).unlink()
            (data / row["mask_path"]).unlink()
    assert max(count for splits in left.values() for count in splits.values()) <= 0
