"""Everything that can go wrong for a reason a person can mend.

    LungsegError                exit code 1: one line, no traceback
    ├── ParamsError             params.yaml or an override
    ├── DatasetError            the dataset folder, an import, an archive
    │   └── UnreadableError     one radiograph or mask; carries a reason code
    ├── StageError              a stage refuses its input
    ├── WorkspaceError          git, DVC or the checkout a run works in
    ├── ReleaseError            the registry, a gate's evidence, a rollback
    │   └── OvertakenError      exit code 75: another promotion came first; worth a retry
    ├── SearchError             a search without a result
    ├── DeploymentError         a host, a service or a backup is not as it must be
    ├── ServiceError            exit code 75: a service does not answer; worth a retry
    │   └── RefusedError        exit code 1: it answers and refuses: a log-in, a certificate
    └── CrashedError            exit code 70: a child died without a reason; worth a retry

A message states what was found, what was expected and what to do, and names the file or key.
"""

from __future__ import annotations

from typing import Self


class LungsegError(Exception):
    """A problem that a person can mend; shown as one line."""

    exit_code = 1


class ParamsError(LungsegError):
    """A key or value of params.yaml, or of an override, is not acceptable."""


class DatasetError(LungsegError):
    """The dataset folder, or a delivery to it, is not as it must be."""


class UnreadableError(DatasetError):
    """One file is not a usable radiograph or mask; `reason` is its code in quarantine.csv."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        """How a worker's error reaches the process that waits for it."""
        return type(self), (self.reason, str(self))


class StageError(LungsegError):
    """A stage refuses its input and leaves no output."""


class WorkspaceError(LungsegError):
    """The checkout of a run cannot be made or reproduced."""


class ReleaseError(LungsegError):
    """The model registry or the evidence for a release is not as it must be."""


class OvertakenError(ReleaseError):
    """Another promotion or rollback wrote to the log of releases at the same time."""

    exit_code = 75


class SearchError(LungsegError):
    """No trial of a search succeeded."""


class DeploymentError(LungsegError):
    """A host, a service or a backup of the deployment is not as it must be."""


class ServiceError(LungsegError):
    """MLflow or Airflow does not answer, or cannot be started."""

    exit_code = 75


class RefusedError(ServiceError):
    """A service answers and refuses: a log-in, or this host does not trust its certificate."""

    exit_code = 1


class CrashedError(LungsegError):
    """A stage's process died without giving a reason: killed, out of memory, a defect."""

    exit_code = 70
