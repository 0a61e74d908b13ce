"""The graph of stages, as dvc.yaml writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ParamsError
from pipeline.params_file import problems, read_yaml


class Shown(BaseModel):
    """What of a stage's outputs its MLflow run shows: `meta.mlflow` of the stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifacts: tuple[str, ...] = ()
    """Files and folders that are uploaded."""
    curves: str | None = None
    """The history.csv whose rows become metrics by epoch."""
    metrics: dict[str, str] = Field(default_factory=dict)
    """Prefix of the metrics' names -> JSON file of numbers."""
    model: str | None = None
    """The folder whose network becomes the run's model."""


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mlflow: Shown = Shown()
    parts: bool = False


class StageDefinition(BaseModel):
    """A stage of dvc.yaml, as far as this project reads it; paths are relative to the project."""

    model_config = ConfigDict(frozen=True)  # DVC checks the rest of what it may hold

    cmd: str
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    outs: tuple[str | dict[str, Any], ...] = ()
    metrics: tuple[str | dict[str, Any], ...] = ()
    plots: tuple[str | dict[str, Any], ...] = ()
    meta: _Meta = _Meta()

    @property
    def outputs(self) -> list[Path]:
        """The paths that the stage writes."""
        entries = (*self.outs, *self.metrics, *self.plots)
        return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]

    @property
    def code(self) -> list[Path]:
        """The project's own files that the stage runs."""
        return [Path(dep) for dep in self.deps if dep.startswith("pipeline/")]

    @property
    def in_parts(self) -> bool:
        """Whether several hosts can do a part of it each."""
        return self.meta.parts

    @property
    def shown(self) -> Shown:
        """What its MLflow run shows of it."""
        return self.meta.mlflow


def stage_definitions(folder: Path) -> dict[str, StageDefinition]:
    """The stages of the project in `folder` by name, in the order data flows.

    Raises ParamsError for a dvc.yaml that does not read as one of this project.
    """
    path = folder / "dvc.yaml"
    try:
        stages = read_yaml(path)["stages"]
        return {name: StageDefinition.model_validate(stage) for name, stage in stages.items()}
    except (KeyError, AttributeError):
        raise ParamsError(f"{path}: holds no stages, expected the section `stages`") from None
    except ValidationError as error:
        raise ParamsError(f"{path}: {problems(error)}") from None


def stage_names(folder: Path) -> list[str]:
    """The stages of the project in `folder`, in the order data flows."""
    return list(stage_definitions(folder))


def stage_definition(folder: Path, name: str) -> StageDefinition:
    """What dvc.yaml says of the stage; raises ParamsError for an unknown one."""
    stages = stage_definitions(folder)
    if name not in stages:
        raise ParamsError(f"stage {name!r}: not in dvc.yaml, expected one of {', '.join(stages)}")
    return stages[name]
