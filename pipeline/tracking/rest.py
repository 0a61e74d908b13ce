"""An MLflow server through its REST API, where importing MLflow's client would take too long.

Its import takes seconds; what is shown of a run while it goes on, and fetching one model, do not
need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import httpx

from pipeline.errors import ReleaseError
from pipeline.git_command import without_login

API = "api/2.0/mlflow"
ARTIFACTS = "api/2.0/mlflow-artifacts/artifacts"
SCHEME = "mlflow-artifacts:/"
"""Of files that the server itself hands out."""
PROGRESS_TAG = "lungseg.progress"
"""Of a run: what its training said of itself last."""


def run_page(uri: str, experiment: str, run: str, artifact: str = "") -> str:
    """Address of a run, or of an artifact of it, in the pages of the server at `uri`.

    They show either models or agents. Which of them is kept in the browser, agents at first, unless
    the address says it. It names no login.
    """
    inner = f"/artifacts/{artifact}" if artifact else ""
    page = f"#/experiments/{experiment}/runs/{run}{inner}?workflowType=machine_learning"
    return f"{without_login(uri)}/{page}"


@dataclass(frozen=True)
class Progress:
    """Of a training: what it last said of itself, and the Dice of its last validation."""

    said: str | None
    epoch: int | None
    """The last that was validated, counted from 1."""
    dice: float | None

    def __str__(self) -> str:
        parts = [self.said] if self.said else []
        if self.dice is not None:
            parts.append(f"validation Dice {self.dice:.3f} after epoch {self.epoch}")
        return "; ".join(parts)


class MlflowServer:
    """A tracking server; what it does not answer is None, for there is another way or none needed.

    `login` is the user and password of a server that asks for them.
    """

    def __init__(
        self,
        uri: str,
        transport: httpx.BaseTransport | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.uri = uri.rstrip("/")
        tls = self.uri.startswith("https:")  # reading the certificates takes longer than an answer
        self._client = httpx.Client(verify=tls, timeout=5, transport=transport, auth=login)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _get(self, where: str, **params: str) -> httpx.Response | None:
        try:
            response = self._client.get(f"{self.uri}/{where}", params=params)
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            return None
        return response if response.is_success else None

    def _ask(self, path: str, **params: str) -> dict[str, Any]:
        """The answer to a question; empty when there is none."""
        return self._content(f"{API}/{path}", **params) or {}

    def _content(self, where: str, **params: str) -> dict[str, Any] | None:
        response = self._get(where, **params)
        try:
            content = response.json() if response else None
        except ValueError:  # a log-in page, say
            return None
        return content if isinstance(content, dict) else None

    def run(self, run: str) -> dict[str, Any] | None:
        """Info and data of an MLflow run."""
        return self._ask("runs/get", run_id=run).get("run")

    def progress(self, run: str) -> Progress | None:
        """How far the training of this run is; None before it began."""
        data = (self.run(run) or {}).get("data", {})
        tags = {entry["key"]: str(entry["value"]) for entry in data.get("tags", [])}
        dice = {entry["key"]: entry for entry in data.get("metrics", [])}.get("val_dice")
        said = tags.get(PROGRESS_TAG)
        if dice:
            return Progress(said, int(dice["step"]), float(dice["value"]))
        return Progress(said, None, None) if said else None

    def page(self, run: str, artifact: str = "") -> str | None:
        """Address of the run, or of an artifact of it, in MLflow's pages."""
        found = self.run(run)
        if found is None:
            return None
        return run_page(self.uri, found["info"]["experiment_id"], run, artifact)

    def fetch_model(
        self, name: str, alias: str | None, number: str | None, folder: Path
    ) -> tuple[str, Mapping[str, str], Path] | None:
        """Number, tags and downloaded folder of a version of a registered model.

        By its alias or else its number. None when the server does not know it, or does not itself
        hand its files out. Raises ReleaseError for a file that would lie outside of the folder.
        """
        if not self.uri.startswith(("http://", "https://")):
            return None
        if alias:
            found = self._ask("registered-models/alias", name=name, alias=alias)
        else:
            found = self._ask("model-versions/get", name=name, version=str(number))
        version = found.get("model_version", {})
        model_id = str(version.get("source", "")).removeprefix("models:/")
        info = self._ask(f"logged-models/{model_id}").get("model", {}).get("info", {})
        location = str(info.get("artifact_uri", ""))
        if not model_id or not location.startswith(SCHEME):
            return None
        target = folder / model_id
        root = location.removeprefix(SCHEME).strip("/")
        paths = self._files(root)
        if paths is None or not all(
            self._download(f"{root}/{path}", target / _inside(path)) for path in paths
        ):
            return None
        tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
        return str(version["version"]), tags, target

    def _files(self, root: str, below: str = "") -> list[str] | None:
        """The paths of all files below a folder of the server, relative to `root`.

        None when a listing does not come: fewer files would look like a changed model.
        """
        listing = self._content(ARTIFACTS, path=f"{root}/{below}".rstrip("/"))
        if listing is None:
            return None
        found: list[str] = []
        for entry in listing.get("files", []):
            name = f"{below}/{entry['path']}".lstrip("/")
            inner = self._files(root, name) if entry["is_dir"] else [name]
            if inner is None:
                return None
            found += inner
        return found

    def _download(self, path: str, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                self._client.stream(
                    "GET", f"{self.uri}/{ARTIFACTS}/{path}", timeout=60
                ) as response,
                target.open("wb") as file,
            ):
                for part in response.iter_bytes():
                    file.write(part)
        except httpx.TransportError:
            return False
        return response.is_success


def _inside(path: str) -> PurePosixPath:
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts:
        raise ReleaseError(f"the model holds a file {path!r}, expected paths inside of its folder")
    return inside
