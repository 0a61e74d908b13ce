"""An S3 store over HTTP, for one test."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import free_port

KEY, SECRET = "tester", "open-sesame"


@contextmanager
def s3_store(folder: Path, *options: str, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve the folders below `folder` as buckets; yields the endpoint's URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    scheme = "https" if "--cert" in options else "http"
    program = Path(sys.executable).with_name("rclone")
    command = [str(program), "serve", "s3", str(folder), "--addr", f"{address}:{port}"]
    command += ["--auth-key", f"{KEY},{SECRET}", "--vfs-cache-mode", "off"]
    command += ["--config", "/dev/null", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await(f"{scheme}://{address}:{port}")
            yield f"{scheme}://{address}:{port}"
        finally:
            server.kill()


def _await(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(url, trust_env=False, verify=False)  # noqa: S501 - whoever it is
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{url} does not answer")
