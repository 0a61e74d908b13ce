"""The parameters of the best trial as a file that `--params` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import SearchError
from pipeline.files import atomic_path
from pipeline.params_file import as_sections
from pipeline.search.outcomes import Trial
from pipeline.search.space import Search, assignments
from pipeline.tracking.run_record import REVISION_TAG, RUN_TAG, RunRecord


def preset_text(parent: RunRecord, search: Search, overrides: Iterable[str], best: Trial) -> str:
    """What differs from params.yaml in the best trial: what the search was given, and its values.

    The header says where it comes from; nothing in it is a date of writing.
    """
    run = parent.client.get_run(parent.run_id)
    datasets = [one.dataset.digest for one in run.inputs.dataset_inputs]
    seed = f", seed {search.seed}" if search.method == "tpe" else ""
    lines = [
        f"# The best of {search.count} trials ({search.method}{seed}): trial {best.number}, "
        f"{search.goal} {best.goal:.4f} on the validation split.",
        f"# Search {run.data.tags[RUN_TAG]}, revision {run.data.tags[REVISION_TAG]}, "
        f"dataset md5 {', '.join(datasets)}.",
        '# Train with it: make retrain ARGS="--params presets/best.yaml"',
    ]
    sections = as_sections((*overrides, *assignments(best.values)))
    for section, values in sections.items():
        lines.append(f"{section}:")
        lines += [f"  {key}: {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def refuse_place(path: Path) -> None:
    """Raise SearchError where no preset can be written; a search takes hours till then."""
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        problem = "is a folder"
    elif not there.is_dir():
        problem = f"{there} is no folder"
    elif not os.access(there, os.W_OK):
        problem = f"{there} cannot be written to"
    else:
        return
    raise SearchError(f"{path}: {problem}, expected a place for a file; name another with --out")


def write_preset(path: Path, text: str) -> None:
    """Write the preset, making its folder if need be."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
