"""The run record, which MLflow keeps: what was asked, what each stage produced, and the model.

MLflow's client takes seconds to import, so it is imported where a record is really touched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError
from pipeline.files import read_json
from pipeline.git_command import without_login
from pipeline.inference.model_files import model_sha256
from pipeline.inference.packaging import log_model
from pipeline.inference.released import MODEL_SHA256
from pipeline.model.training_history import HISTORY, history_rows
from pipeline.params_file import flatten, read_yaml
from pipeline.settings import Settings
from pipeline.stage_graph import Shown
from pipeline.tracking.live import epoch_metrics
from pipeline.tracking.metric_names import name_metrics
from pipeline.tracking.rest import run_page

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

RUN_TAG = "lungseg.run_id"
REVISION_TAG = "mlflow.source.git.commit"
STAGE_TAG = "lungseg.stage."

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""Of the experiment: that it is one of training and not of agents, for MLflow's pages."""
MOST_METRICS = 1000
"""That MLflow takes at once."""
LONGEST_NAME = 250
"""Characters of a run's name that MLflow's database holds; PostgreSQL refuses more."""


@dataclass(frozen=True)
class RunRecord:
    """The MLflow run of one run of the pipeline."""

    settings: Settings
    client: MlflowClient
    run: Run

    @property
    def run_id(self) -> str:
        """MLflow's own id of the run."""
        return str(self.run.info.run_id)

    @property
    def url(self) -> str:
        """Where a person sees the run."""
        return self.page()

    def page(self, artifact: str = "") -> str:
        """Where a person sees an artifact of the run; by default the run."""
        uri, experiment = self.settings.tracking_uri, self.run.info.experiment_id
        return run_page(uri, experiment, self.run_id, artifact)

    def recorded(self) -> dict[str, str]:
        """Return the stages recorded so far, and whether each ran or was cached."""
        tags = self.client.get_run(self.run_id).data.tags
        return {
            name.removeprefix(STAGE_TAG): status
            for name, status in tags.items()
            if name.startswith(STAGE_TAG)
        }

    @property
    def is_whole(self) -> bool:
        """Whether it holds all that it begins with; whoever made it may have died before."""
        return bool(self.run.inputs.dataset_inputs)

    def log_project(self, folder: Path) -> None:
        """Log the parameters, the code's files and the dataset of the project in `folder`.

        Doing it again is harmless. The dataset comes last: with it the record `is_whole`.
        """
        from mlflow.entities import Param

        params = flatten(read_yaml(folder / "params.yaml"))
        entries = [Param(key, str(value)) for key, value in params.items()]
        self.client.log_batch(self.run_id, params=entries)
        for name in ("params.yaml", "dvc.yaml", "data.dvc", "uv.lock"):
            self.log_artifact(folder / name, "code")
        _log_dataset(self.client, self.run, folder)

    def log_stage(self, name: str, shown: Shown, folder: Path, status: str) -> None:
        """Log what `shown` names below the project's `folder`; doing it again is harmless.

        The outputs of the stage must lie there.
        """
        if shown.curves:
            self._log_curves(folder / shown.curves)
        model_id = self._log_model(folder, folder / shown.model) if shown.model else None
        for prefix, path in shown.metrics.items():
            self._log_metrics(name_metrics(read_json(folder / path), prefix), model_id=model_id)
        for path in shown.artifacts:
            self.log_artifact(folder / path, name)
        self.client.set_tag(self.run_id, f"{STAGE_TAG}{name}", status)

    def log_artifact(self, path: Path, folder: str) -> None:
        """Upload a file to `<folder>/`, or a folder's content to `<folder>/<its name>/`."""
        if path.is_dir():
            target = folder if path.name == folder else f"{folder}/{path.name}"
            self.client.log_artifacts(self.run_id, str(path), target)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)
        if self.settings.artifact_location:  # copies here keep the bits that DVC gives: for all
            for copy in Path(self.settings.artifact_location, self.run_id).rglob("*"):
                if copy.is_file():
                    copy.chmod(0o600)

    def _log_model(self, project: Path, network: Path) -> str:
        model = find_model(self.client, self.run)
        # A training that is not deterministic and was done twice has given two networks.
        if model and model.params.get(MODEL_SHA256) == model_sha256(network):
            return str(model.model_id)
        for rest in _unfinished(self.client, self.run):
            self.client.finalize_logged_model(rest.model_id, "FAILED")
        return log_model(self.client, self.run, network, project)

    def _log_metrics(
        self, metrics: Mapping[str, float], step: int = 0, model_id: str | None = None
    ) -> None:
        """Log numbers of the run and, with `model_id`, of its model too."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [
            Metric(key, value, now, step, model_id=model_id, run_id=self.run_id)
            for key, value in metrics.items()
        ]
        for first in range(0, len(entries), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=entries[first : first + MOST_METRICS])

    def _log_curves(self, history: Path) -> None:
        """Fill in the epochs that were not logged live: all of a training from the cache."""
        live = {point.step for point in self.client.get_metric_history(self.run_id, "val_loss")}
        for row in history_rows(HISTORY.read(history)):
            if int(row["epoch"]) not in live:
                self._log_metrics(epoch_metrics(row), int(row["epoch"]))


def find_model(client: MlflowClient, run: Run) -> LoggedModel | None:
    """Return the newest logged model of a run, or None; only one whose upload ended counts."""
    whole = _models(client, run, "READY")
    return whole[0] if whole else None


def _unfinished(client: MlflowClient, run: Run) -> list[LoggedModel]:
    """The logged models of a run whose upload was interrupted."""
    return _models(client, run, "PENDING")


def _models(client: MlflowClient, run: Run, status: str) -> list[LoggedModel]:
    models = client.search_logged_models(
        [run.info.experiment_id],
        filter_string=f"source_run_id = '{run.info.run_id}'",
    )
    return [model for model in models if str(model.status) == status]


def find_record(settings: Settings, client: MlflowClient, run_id: str) -> RunRecord | None:
    """Return the record of a run, by the pipeline's or MLflow's run id, or None."""
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        return None
    for query in (f"tags.`{RUN_TAG}` = '{run_id}'", f"attributes.run_id = '{run_id}'"):
        runs = client.search_runs([experiment.experiment_id], query, max_results=1)
        if runs:
            return RunRecord(settings, client, runs[0])
    return None


def open_record(settings: Settings, client: MlflowClient, run_id: str) -> RunRecord:
    """Return the record of a run; raises ReleaseError when there is none."""
    record = find_record(settings, client, run_id)
    if record is None:
        raise ReleaseError(
            f"run {run_id!r}: not in experiment {settings.experiment!r} of "
            f"{without_login(settings.tracking_uri)}",
        )
    return record


def create_record(
    settings: Settings, client: MlflowClient, folder: Path, title: str, tags: Mapping[str, str]
) -> RunRecord:
    """Start the MLflow run of the project checked out in `folder`.

    It holds the parameters, the dataset with DVC's md5, and the `tags`.
    """
    run = client.create_run(
        ensure_experiment(settings, client), run_name=title[:LONGEST_NAME], tags=dict(tags)
    )
    record = RunRecord(settings, client, run)
    record.log_project(folder)
    return record


def ensure_experiment(settings: Settings, client: MlflowClient) -> str:
    """The id of the experiment of the run records, which is made unless there is one."""
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        name, location, tags = settings.experiment, settings.artifact_location, {KIND_TAG: KIND}
        return str(client.create_experiment(name, location, tags))
    if KIND_TAG not in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, KIND_TAG, KIND)
    return str(experiment.experiment_id)


def latest_lock(settings: Settings, client: MlflowClient, folder: Path) -> Path | None:
    """Download the newest run's dvc.lock, a start for workspaces whose revision has none."""
    experiment = client.get_experiment_by_name(settings.experiment)
    query = "attributes.status = 'FINISHED'"
    runs = (
        client.search_runs([experiment.experiment_id], query, max_results=1) if experiment else []
    )
    names = [file.path for file in client.list_artifacts(runs[0].info.run_id)] if runs else []
    if "dvc.lock" not in names:
        return None
    return Path(client.download_artifacts(runs[0].info.run_id, "dvc.lock", str(folder)))


def _log_dataset(client: MlflowClient, run: Run, folder: Path) -> None:
    """Name the dataset as the run's input, with DVC's md5 as its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    output = read_yaml(folder / "data.dvc")["outs"][0]
    dataset = Dataset(
        name="radiographs",
        digest=output["md5"],
        source_type="dvc",
        source=f'{{"path": "{output["path"]}", "size": {output["size"]}}}',
        profile=f'{{"files": {output["nfiles"]}}}',
    )
    tag = InputTag("mlflow.data.context", "training")
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [tag])])


def download(record: RunRecord, path: str, folder: Path) -> Path:
    """Download an artifact of the run; raises ReleaseError when there is none of this path."""
    found = find_artifact(record.client, record.run_id, path, folder)
    if found is None:
        raise ReleaseError(f"run {record.run_id}: has no artifact {path}; start a new run")
    return found


def find_artifact(
    client: MlflowClient, run_id: str, path: str, folder: Path, without: str = ""
) -> Path | None:
    """Download an artifact of an MLflow run, a file or a folder; None when there is none.

    What a folder holds as `without` is left where it is.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        uri = client.get_run(run_id).info.artifact_uri
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # there is no such run
        raise
    # Not by the client, which looks for the models of the run with every file.
    stored = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    parent = path.rpartition("/")[0]
    if path not in [file.path for file in stored.list_artifacts(parent or None)]:
        return None
    if not without:
        return Path(stored.download_artifacts(path, str(folder)))
    (folder / path).mkdir(parents=True)
    for file in stored.list_artifacts(path):
        if file.path != f"{path}/{without}":
            stored.download_artifacts(file.path, str(folder))
    return folder / path
