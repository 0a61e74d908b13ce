"""Which code each host of a deployment runs: one tag of the MLflow experiment per host.

MLflow is what every host reaches, and each host writes a tag of its own, so none waits for another.
A task leaves the line when it makes a workspace, `lungseg deploy check` each time.
"""

from __future__ import annotations

import importlib.metadata
import json
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.files import sha256_file, sha256_files
from pipeline.fingerprints import ROOT

if TYPE_CHECKING:
    from mlflow import MlflowClient

HOST_TAG = "lungseg.host."
KEPT = timedelta(days=7)
"""After which a host that was not seen again is forgotten."""


@dataclass(frozen=True)
class HostLine:
    """What a host says of itself."""

    host: str
    role: str
    """`all`, `control`, `worker`, `gpu`, `client`; `task` when a task left it."""
    version: str
    """Of lungseg."""
    code: str
    """SHA-256 over the modules of the package."""
    lock: str
    """SHA-256 of the deployed uv.lock; empty where the package alone is installed."""
    seen: str
    """When, ISO 8601 in UTC."""

    @property
    def recent(self) -> bool:
        """Whether the host was seen within KEPT."""
        return datetime.now(UTC) - datetime.fromisoformat(self.seen) < KEPT

    def differs(self, other: HostLine) -> str:
        """What of the other host's is another version, in words; empty when nothing is."""
        if self.version != other.version:
            return f"lungseg {other.version}, here {self.version}"
        if self.code != other.code:
            return f"other code of the package ({other.code[:10]}, here {self.code[:10]})"
        if self.lock and other.lock and self.lock != other.lock:
            return f"another uv.lock ({other.lock[:10]}, here {self.lock[:10]})"
        return ""


def this_host(role: str) -> HostLine:
    """The line of this host now."""
    package = {
        path.relative_to(ROOT).as_posix(): path for path in (ROOT / "pipeline").rglob("*.py")
    }
    lock = ROOT / "uv.lock"
    try:
        version = importlib.metadata.version("lungseg")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return HostLine(
        host=socket.gethostname(),
        role=role,
        version=version,
        code=sha256_files(package),
        lock=sha256_file(lock) if lock.is_file() else "",
        seen=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def leave_line(client: MlflowClient, experiment_id: str, line: HostLine) -> None:
    """Write the host's line, in the place of its former one."""
    tag = f"{HOST_TAG}{line.host}"
    client.set_experiment_tag(experiment_id, tag, json.dumps(asdict(line)))


def read_lines(client: MlflowClient, experiment_id: str) -> list[HostLine]:
    """The lines of the hosts seen within KEPT; older ones, and what is no line, are removed."""
    tags = client.get_experiment(experiment_id).tags
    found = []
    for tag in sorted(tag for tag in tags if tag.startswith(HOST_TAG)):
        try:
            line = HostLine(**json.loads(tags[tag]))
            recent = line.recent
        except (TypeError, ValueError):
            recent = False
        if recent:
            found.append(line)
        else:
            client.delete_experiment_tag(experiment_id, tag)
    return found
