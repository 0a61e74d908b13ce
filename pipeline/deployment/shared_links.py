"""What hosts share results through: the git repository, the DVC remote, MLflow; their versions."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from pipeline.deployment.links import NotLookedAt, Site
from pipeline.errors import DeploymentError
from pipeline.git_command import without_login
from pipeline.remote_store import open_store
from pipeline.tracking.client import connect
from pipeline.tracking.hosts import leave_line, read_lines, this_host

ARTIFACT = "probe.txt"


def look_at_repository(site: Site) -> str:
    """HEAD of LUNGSEG_REPO can be checked out, and is a project of this kind."""
    repo = without_login(site.settings.repo)
    missing = [name for name in ("dvc.yaml", "uv.lock") if not (site.project / name).is_file()]
    if missing:
        raise DeploymentError(
            f"{repo}: HEAD has no {' and no '.join(missing)}; set LUNGSEG_REPO to the project"
        )
    return f"HEAD of {repo} can be checked out"


def look_at_store(site: Site) -> str:
    """The DVC remote takes, gives back and removes a file."""
    store = open_store(site.project)
    if store is None:
        raise NotLookedAt(
            "no DVC remote outside of the repository, so hosts share no results; LUNGSEG_REMOTE "
            "names one"
        )
    store.probe()
    return f"{store.url} can be written and read"


def look_at_mlflow(site: Site) -> str:
    """MLflow lets this host in, has the experiment, and keeps an artifact."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    settings = site.settings
    with connect(settings) as client, tempfile.TemporaryDirectory() as temporary:
        experiment = _experiment(site, client.get_experiment_by_name(settings.experiment))
        written = Path(temporary, ARTIFACT)
        written.write_text(uuid.uuid4().hex, encoding="utf-8")
        run = client.create_run(experiment, run_name="lungseg deploy check")
        try:
            artifacts = get_artifact_repository(
                run.info.artifact_uri, tracking_uri=settings.tracking_uri
            )
            artifacts.log_artifact(str(written))
            read = Path(artifacts.download_artifacts(ARTIFACT, tempfile.mkdtemp(dir=temporary)))
            same = read.read_bytes() == written.read_bytes()
            artifacts.delete_artifacts(ARTIFACT)
        finally:
            client.delete_run(run.info.run_id)
    if not same:
        raise DeploymentError(
            f"MLflow at {without_login(settings.tracking_uri)}: gives back other bytes than were "
            "written; repair its artifact store"
        )
    return f"{without_login(settings.tracking_uri)} can be written and read"


def _experiment(site: Site, experiment: object) -> str:
    if experiment is None:
        raise DeploymentError(
            f"MLflow at {without_login(site.settings.tracking_uri)}: has no experiment "
            f"{site.settings.experiment!r}; `lungseg deploy init` makes it"
        )
    return str(experiment.experiment_id)  # type: ignore[attr-defined]


def look_at_versions(site: Site) -> str:
    """Every host seen lately runs the version and the code that this one does."""
    mine = this_host(site.role)
    with connect(site.settings) as client:
        experiment = _experiment(site, client.get_experiment_by_name(site.settings.experiment))
        leave_line(client, experiment, mine)
        lines = [line for line in read_lines(client, experiment) if line.host != mine.host]
    differing = [
        f"{line.host} ({line.role}, seen {line.seen[:16]}) has {what}"
        for line in lines
        if (what := mine.differs(line))
    ]
    if differing:
        raise DeploymentError(
            f"{'; '.join(differing)}; deploy one version to all hosts, then look again on each"
        )
    return f"lungseg {mine.version}, code {mine.code[:10]}, as on {len(lines)} other hosts"
