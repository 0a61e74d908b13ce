"""What a deployment needs before its first run: database, pools, bucket, experiment.

Nothing that is there already is changed, so it may be called at any time. Where Airflow's database
is given, migration and pools go straight to it, which needs no API server yet; else the pools are
made through Airflow's REST API.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import DeploymentError, RefusedError, ServiceError
from pipeline.library_errors import distrusts
from pipeline.services.airflow import log_in, pool_sizes
from pipeline.services.airflow_home import program
from pipeline.settings import Settings, child_environment
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import ensure_experiment


def initialise(settings: Settings, gpus: int) -> Iterator[str]:
    """Make what is missing; yields a line for each thing: made, or was there.

    `gpus` is how many trainings run at once. Raises ServiceError for a service that does not
    answer, RefusedError for one that refuses, DeploymentError when Airflow's command fails.
    """
    if settings.airflow_database:
        _airflow("db", "migrate")
        yield "Airflow's database: has the tables of this version"
        pools = _pools_of_the_database(gpus)
    else:
        pools = _pools_of_the_server(settings, gpus)
    for name, slots, made in pools:
        yield f"pool {name}: {_made(made)}, {slots} slots"
    if (settings.remote or "").startswith("s3://"):
        bucket, made = _ensure_bucket(settings)
        yield f"bucket {bucket}: {_made(made)}"
    with connect(settings, create=True) as client:
        before = client.get_experiment_by_name(settings.experiment)
        ensure_experiment(settings, client)
    yield f"experiment {settings.experiment}: {_made(before is None)}"


def _made(made: bool) -> str:
    return "made" if made else "was there"


def _pools_of_the_database(gpus: int) -> Iterator[tuple[str, int, bool]]:
    listing = _airflow("pools", "list", "--output", "json")
    there = {row["pool"]: int(row["slots"]) for row in _last_json(listing)}
    for name, (slots, description) in pool_sizes(gpus).items():
        if name not in there:
            _airflow("pools", "set", name, str(slots), description)
        yield name, there.get(name, slots), name not in there


def _pools_of_the_server(settings: Settings, gpus: int) -> Iterator[tuple[str, int, bool]]:
    with log_in(settings) as airflow:
        for name, (slots, description) in pool_sizes(gpus).items():
            made = airflow.ensure_pool(name, slots, description)
            yield name, airflow.pools()[name], made


def _airflow(*arguments: str) -> str:
    """The output of Airflow's command, which works on the database that its settings name."""
    try:
        done = subprocess.run(
            [program("airflow"), *arguments],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise DeploymentError(
            f"{program('airflow')}: {error.strerror}; call this where Airflow is installed"
        ) from None
    if done.returncode:
        raise DeploymentError(
            f"airflow {' '.join(arguments[:2])}: {_telling_line(done.stderr + done.stdout)}; see "
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        )
    return done.stdout


def _telling_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it wrote nothing"])[-1][:300]


def _last_json(text: str) -> Sequence[dict[str, Any]]:
    """The list that the command printed, after what plugins may have said."""
    try:
        rows: list[dict[str, Any]] = json.loads(text[text.index("[{") :])
    except ValueError:
        raise DeploymentError(
            f"airflow pools list: {text[:200]!r}, expected a list in JSON"
        ) from None
    return rows


def _ensure_bucket(settings: Settings) -> tuple[str, bool]:
    """The bucket of the DVC remote, and whether it had to be made."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = urlsplit(settings.remote or "").netloc
    where = f"{settings.remote_endpoint or 's3'}, bucket {bucket}"
    try:
        client = boto3.Session().client("s3", endpoint_url=settings.remote_endpoint)
        try:
            client.head_bucket(Bucket=bucket)
            return bucket, False
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        region = client.meta.region_name
        place = {"LocationConstraint": region}
        here = {} if region in (None, "us-east-1") else {"CreateBucketConfiguration": place}
        client.create_bucket(Bucket=bucket, **here)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise ServiceError(f"{where}: {error}; it is worth another try") from None
        raise RefusedError(f"{where}: {error}; mend the credentials of the store") from None
    except BotoCoreError as error:
        if distrusts(error):
            raise RefusedError(
                f"{where}: the certificate is not trusted; name the authority that signed it by "
                "AWS_CA_BUNDLE"
            ) from None
        raise ServiceError(f"{where}: {error}; start the store, or set LUNGSEG_REMOTE") from None
    return bucket, True
