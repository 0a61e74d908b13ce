"""What a host itself needs: a clock that is right, room on its disk, a GPU that is seen, uv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from pipeline.deployment.links import NotLookedAt, Site
from pipeline.errors import DeploymentError
from pipeline.git_command import without_login
from pipeline.services.gpu_cards import listed_cards
from pipeline.settings import child_environment
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.environments import find_uv

MOST_SKEW = 60.0
"""Seconds that clocks may differ: signed requests to S3 are refused from 900 on."""
LEAST_FREE = 5 * 2**30
"""Bytes: what an environment and the results of one run take."""
ENGINE_PATIENCE_S = 180
"""Seconds that engines may take to find their GPUs."""
DEVICES = """
from importlib.util import find_spec
if find_spec("tensorflow"):
    import tensorflow
    print("tensorflow", len(tensorflow.config.list_physical_devices("GPU")))
if find_spec("jax"):
    import jax
    print("jax", sum(device.platform == "gpu" for device in jax.devices()))
"""
"""A program that says of each engine that is installed here how many GPUs it sees."""


def look_at_clock(site: Site) -> str:
    """This host's clock agrees with those of the servers, by the date that they answer with."""
    skews = {without_login(url): skew for url in _servers(site) if (skew := _skew(url)) is not None}
    if not skews:
        raise NotLookedAt("no server answers with a date over HTTP")
    wrong = [
        f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} {url}"
        for url, skew in skews.items()
        if abs(skew) > MOST_SKEW
    ]
    if wrong:
        raise DeploymentError(
            f"this host's clock is {' and '.join(wrong)}, so signed requests and tokens will be "
            "refused; run a time service (chrony, ntpd) on both"
        )
    return f"within {max(map(abs, skews.values())):.0f} s of {', '.join(skews)}"


def _servers(site: Site) -> list[str]:
    settings = site.settings
    store = settings.remote_endpoint
    if store is None and (settings.remote or "").startswith("s3://"):
        store = "https://s3.amazonaws.com"
    found = [settings.tracking_uri, settings.airflow_url, store or ""]
    return [url for url in dict.fromkeys(found) if url.startswith(("http://", "https://"))]


def _skew(url: str) -> float | None:
    """Seconds that the server's clock is ahead of this one; None when it tells no date.

    Whom the certificate is from does not matter for that; the other links look at it.
    """
    begun = time.time()
    try:
        response = httpx.get(url, timeout=10, verify=False)  # noqa: S501 - nothing is sent
        date = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return None
    return date + 0.5 - (begun + time.time()) / 2  # a date has whole seconds


def look_at_disk(site: Site) -> str:
    """The home and DVC's cache can be written, and have room."""
    told = []
    for folder in dict.fromkeys([site.settings.home, shared_cache(site.settings)]):
        free = shutil.disk_usage(_existing(folder)).free
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                file.write(os.urandom(2**20))
                file.flush()
        except OSError as error:
            raise DeploymentError(
                f"{folder}: cannot be written ({error.strerror}); make room (`lungseg clean`), or "
                "give it to this user"
            ) from None
        if free < LEAST_FREE:
            raise DeploymentError(
                f"{folder}: {free / 2**30:.1f} GiB free, expected {LEAST_FREE / 2**30:.0f} or "
                "more; `lungseg clean` makes room"
            )
        told.append(f"{folder}: {free / 2**30:.0f} GiB free")
    return ", ".join(told)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def look_at_gpu(site: Site) -> str:
    """An engine that trains sees the GPUs that the driver lists."""
    cards = listed_cards()
    if not cards and site.role != "gpu":
        raise NotLookedAt("nvidia-smi lists no GPU here: trainings use the CPU")
    try:
        done = subprocess.run(
            [sys.executable, "-c", DEVICES],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=ENGINE_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise DeploymentError(
            f"the engines that train gave no answer about their GPUs in {ENGINE_PATIENCE_S} s; "
            "look at the driver, or start this host again"
        ) from None
    found = re.findall(r"^(tensorflow|jax) (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DeploymentError(f"the engines that train cannot be asked for their GPUs: {last}")
    if not cards and not any(int(seen) for _, seen in found):
        raise DeploymentError(
            "no GPU: nvidia-smi lists none; install the driver, or give the container the device"
        )
    if not any(int(seen) for _, seen in found):
        engines = " and ".join(engine for engine, _ in found)
        raise DeploymentError(
            f"nvidia-smi lists {cards} GPUs, and {engines} sees none, so trainings would use the "
            "CPU; install lungseg[gpu] or lungseg[gpu-jax], or the CUDA build of the engine"
        )
    return ", ".join(f"{engine} sees {seen} GPUs" for engine, seen in found)


def look_at_uv(site: Site) -> str:
    """Environments for revisions with another uv.lock can be made."""
    found = find_uv()
    try:
        done = subprocess.run(
            [found, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DeploymentError(f"{found}: {error}; install uv again") from None
    return f"{done.stdout.strip()} at {found}"
