from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.deployment import shared_links
from pipeline.deployment.links import NotLookedAt, Site
from pipeline.deployment.shared_links import (
    look_at_mlflow,
    look_at_repository,
    look_at_store,
    look_at_versions,
)
from pipeline.errors import DeploymentError, LungsegError, RefusedError, ServiceError
from pipeline.settings import Settings
from pipeline.tracking import hosts
from pipeline.tracking.client import connect
from pipeline.tracking.hosts import leave_line, read_lines, this_host
from tests.conftest import git
from tests.servers import http_server, make_certificate
from tests.stores import KEY, SECRET, s3_store

UNAUTHORISED = "You are not authenticated. Please see https://www.mlflow.org/docs"
"""What MLflow's basic-auth says to who gives no password or a wrong one."""


def test_repository_is_named_with_what_it_lacks(settings: Settings) -> None:
    url = Path(settings.repo).as_uri()
    with_login = replace(settings, repo=url.replace("//", "//ci:secret@"))
    with Site(with_login) as site:
        assert look_at_repository(site) == f"HEAD of {url} can be checked out"

    git(Path(settings.repo), "rm", "--quiet", "dvc.yaml")
    git(Path(settings.repo), "commit", "--quiet", "--message=second")
    with (
        Site(with_login) as site,
        pytest.raises(DeploymentError, match=rf"^{url}: HEAD has no dvc\.yaml; set LUNG"),
    ):
        look_at_repository(site)


def test_git_server_that_is_away_is_worth_a_retry(settings: Settings) -> None:
    away = replace(settings, repo="http://127.0.0.1:9/project.git")

    with Site(away) as site, pytest.raises(ServiceError, match=r"git clone: the server does not"):
        look_at_repository(site)


def test_git_server_whose_certificate_is_not_trusted_is_named_so(
    settings: Settings, tmp_path: Path
) -> None:
    with http_server(certificate=make_certificate(tmp_path)) as url:
        site = Site(replace(settings, repo=f"{url}/project.git"))

        with site, pytest.raises(RefusedError, match=r"certificate.*GIT_SSL_CAINFO"):
            look_at_repository(site)


def test_without_a_remote_there_is_no_store_to_look_at(settings: Settings) -> None:
    with Site(settings) as site, pytest.raises(NotLookedAt, match=r"LUNGSEG_REMOTE names one"):
        look_at_store(site)


@pytest.mark.slow  # a real S3 store, and boto3's tries
@pytest.mark.parametrize(
    ("secret", "bucket", "tls", "said"),
    [
        (SECRET, "here", False, "ok"),
        ("wrong", "here", False, "the store refuses: .*[Ss]ignature.*; mend"),
        (SECRET, "nowhere", False, "the store refuses: .*(bucket does not|NoSuchBucket).*; mend"),
        (SECRET, "here", True, "certificate is not trusted; .*AWS_CA_BUNDLE"),
    ],
)
def test_store_is_written_and_read_or_its_fault_named(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
    bucket: str,
    tls: bool,
    said: str,
) -> None:
    (tmp_path / "s3/here").mkdir(parents=True)
    pem, key = make_certificate(tmp_path)
    options = ["--cert", str(pem), "--key", str(key)] if tls else []
    with s3_store(tmp_path / "s3", *options) as url:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        monkeypatch.setenv("LUNGSEG_REMOTE", f"s3://{bucket}/results")
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", url)
        with Site(settings) as site:
            if said == "ok":
                assert look_at_store(site) == f"s3://{bucket}/results can be written and read"
            else:
                with pytest.raises(LungsegError, match=f"s3://{bucket}.*{said}") as error:
                    look_at_store(site)
                assert error.value.exit_code == 1


def test_mlflow_without_the_experiment_says_what_makes_it(settings: Settings) -> None:
    with (
        Site(settings) as site,
        pytest.raises(DeploymentError, match=r"no exper.*deploy init"),
    ):
        look_at_mlflow(site)


def test_mlflow_is_written_and_read_and_nothing_stays(settings: Settings) -> None:
    with connect(settings) as client:
        experiment = client.create_experiment(settings.experiment, settings.artifact_location)

    with Site(settings) as site:
        assert look_at_mlflow(site).endswith("can be written and read")

    with connect(settings) as client:
        assert client.search_runs([experiment]) == []
    left = [path for path in Path(settings.artifact_location or "").rglob("*") if path.is_file()]
    assert left == []


def test_mlflow_is_named_without_its_login(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(settings) as client:
        monkeypatch.setattr(shared_links, "connect", lambda _: nullcontext(client))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")
        site = Site(settings)

        with pytest.raises(DeploymentError, match=r"^MLflow at https://mlflow\.example: has no ex"):
            look_at_mlflow(site)
        client.create_experiment(settings.experiment, str(settings.home / "artifacts"))
        assert look_at_mlflow(site) == "https://mlflow.example can be written and read"


def test_mlflow_that_gives_back_other_bytes_is_named_without_its_login(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def store_other(store: LocalArtifactRepository, file: str) -> None:
        Path(store.artifact_dir).mkdir(parents=True)
        Path(store.artifact_dir, Path(file).name).write_text("other")

    monkeypatch.setattr(LocalArtifactRepository, "log_artifact", store_other)
    with connect(settings) as client:
        client.create_experiment(settings.experiment, str(settings.home / "artifacts"))
        monkeypatch.setattr(shared_links, "connect", lambda _: nullcontext(client))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")

        with pytest.raises(
            DeploymentError, match=r"^MLflow at https://mlflow\.example: gives back"
        ):
            look_at_mlflow(Site(settings))


def test_nothing_stays_in_mlflow_whose_artifact_store_cannot_be_opened(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ServiceError("away")

    monkeypatch.setattr(
        "mlflow.store.artifact.artifact_repository_registry.get_artifact_repository", fail
    )
    with connect(settings) as client:
        experiment = client.create_experiment(settings.experiment, settings.artifact_location)

    with Site(settings) as site, pytest.raises(ServiceError, match="away"):
        look_at_mlflow(site)

    with connect(settings) as client:
        assert client.search_runs([experiment]) == []


def test_mlflow_that_refuses_the_password_is_no_silence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_server(lambda *_: (401, UNAUTHORISED)) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)

        with Site(settings) as site, pytest.raises(RefusedError, match=r"MLFLOW_TRACKING_PASSWORD"):
            look_at_mlflow(site)


def test_mlflow_whose_certificate_is_not_trusted_is_named_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with http_server(certificate=make_certificate(tmp_path)) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)

        with Site(settings) as site, pytest.raises(RefusedError, match=r"trusted.*REQUESTS_CA_BUN"):
            look_at_mlflow(site)


def test_host_with_other_code_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(settings) as client:
        experiment = client.create_experiment(settings.experiment, settings.artifact_location)
        leave_line(client, experiment, replace(this_host("worker"), host="same"))
        with Site(settings, "gpu") as site:
            assert "as on 1 other hosts" in look_at_versions(site)

        changed = tmp_path / "deployed/pipeline"
        shutil.copytree(hosts.ROOT / "pipeline", changed, ignore=lambda *_: {"__pycache__"})
        (changed / "errors.py").write_text("# changed")
        with monkeypatch.context() as patch:
            patch.setattr(hosts, "ROOT", tmp_path / "deployed")
            leave_line(client, experiment, replace(this_host("gpu"), host="other"))

    with Site(settings) as site, pytest.raises(DeploymentError, match=r"^other \(gpu, .*other cod"):
        look_at_versions(site)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "0.0.1"}, "lungseg 0.0.1, here"),
        ({"code": "f" * 64}, r"other code of the package \(ffffffffff"),
        ({"lock": "f" * 64}, r"another uv\.lock \(ffffffffff"),
        ({"lock": ""}, "^$"),
    ],
)
def test_differences_of_two_hosts(change: dict[str, str], said: str) -> None:
    mine = this_host("worker")

    assert re.search(said, mine.differs(replace(mine, **change)))


def test_hosts_that_were_not_seen_for_long_are_forgotten(settings: Settings) -> None:
    with connect(settings) as client:
        experiment = client.create_experiment(settings.experiment)
        old = replace(this_host("gpu"), host="old", seen="2020-01-01T00:00:00+00:00")
        leave_line(client, experiment, old)
        leave_line(client, experiment, this_host("gpu"))
        client.set_experiment_tag(experiment, f"{hosts.HOST_TAG}odd", "no line")

        assert [line.host for line in read_lines(client, experiment)] == [this_host("").host]
        assert len(client.get_experiment(experiment).tags) == 1
