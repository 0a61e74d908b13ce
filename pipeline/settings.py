"""Where things are on this machine: the only place of the package that reads the environment.

What a run computes is in params.yaml; nothing here may change a result.
"""

from __future__ import annotations

import errno
import getpass
import logging
import os
import re
import shlex
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import ParamsError


def _text(name: str, default: str) -> str:
    return os.environ.get(name) or default


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _port(name: str, default: int) -> int:
    value = _text(name, str(default))
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise ParamsError(f"{name}={value}: not a port; set it to a number from 1 to 65535")
    return int(value)


def _address(name: str, default: str) -> str:
    value = _text(name, default)
    if value.startswith(("http:", "https:")):
        try:
            _ = urlsplit(value).port  # it is looked at only here
        except ValueError as error:
            shown = re.sub("//[^/]*@", "//", value)
            raise ParamsError(f"{name}={shown}: not an address ({error}); correct it") from None
    return value


@dataclass(frozen=True)
class Settings:
    """One value per environment variable; `LUNGSEG_…` unless another product owns the name."""

    repo: str = field(default_factory=lambda: _text("LUNGSEG_REPO", str(Path.cwd())))
    """Folder or git URL of the project whose revisions are run."""
    home: Path = field(
        default_factory=lambda: Path(_text("LUNGSEG_HOME", ".lungseg")).absolute(),
    )
    """Workspaces, logs and the state of the local services."""
    mlflow_port: int = field(default_factory=lambda: _port("LUNGSEG_MLFLOW_PORT", 5000))
    airflow_port: int = field(default_factory=lambda: _port("LUNGSEG_AIRFLOW_PORT", 8080))
    experiment: str = field(
        default_factory=lambda: _text("LUNGSEG_EXPERIMENT", "lung-segmentation")
    )
    model_name: str = field(default_factory=lambda: _text("LUNGSEG_MODEL", "lung-segmentation"))
    local: bool = False
    """Without services: MLflow's store is a file below `home` unless MLFLOW_TRACKING_URI is set."""
    airflow_user: str = field(default_factory=lambda: _text("LUNGSEG_AIRFLOW_USER", "admin"))

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: MLFLOW_TRACKING_URI, else the local server's or store's.

        Raises ParamsError for one that is no address, as the next.
        """
        server = f"http://127.0.0.1:{self.mlflow_port}"
        store = f"sqlite:///{self.home}/local/mlflow.db"
        return _address("MLFLOW_TRACKING_URI", store if self.local else server)

    @property
    def tracking_login(self) -> tuple[str, str] | None:
        """MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; None for a server without."""
        user = os.environ.get("MLFLOW_TRACKING_USERNAME")
        return (user, _text("MLFLOW_TRACKING_PASSWORD", "")) if user else None

    @property
    def artifact_location(self) -> str | None:
        """Where a store without a server keeps artifacts; None leaves it to the server."""
        return str(self.home / "local" / "artifacts") if "sqlite:" in self.tracking_uri else None

    @property
    def airflow_url(self) -> str:
        """Airflow's address: LUNGSEG_AIRFLOW_URL, else the local server's."""
        return _address("LUNGSEG_AIRFLOW_URL", f"http://127.0.0.1:{self.airflow_port}")

    @property
    def airflow_password(self) -> str | None:
        """LUNGSEG_AIRFLOW_PASSWORD; None means the one the local Airflow generated."""
        return os.environ.get("LUNGSEG_AIRFLOW_PASSWORD")

    @property
    def remote(self) -> str | None:
        """LUNGSEG_REMOTE, the URL of this deployment's DVC remote; None means the committed one."""
        return os.environ.get("LUNGSEG_REMOTE") or None

    @property
    def remote_endpoint(self) -> str | None:
        """LUNGSEG_REMOTE_ENDPOINT, the address of an S3 store that is not Amazon's."""
        return os.environ.get("LUNGSEG_REMOTE_ENDPOINT") or None

    @property
    def signing_key(self) -> Path | None:
        """LUNGSEG_SIGNING_KEY, a key that a team shares; None means the one of this host."""
        return _path("LUNGSEG_SIGNING_KEY")

    @property
    def trusted_keys(self) -> Path | None:
        """LUNGSEG_TRUSTED_KEYS, a file of public keys that are believed besides this host's."""
        return _path("LUNGSEG_TRUSTED_KEYS")

    @property
    def broker_url(self) -> str | None:
        """AIRFLOW__CELERY__BROKER_URL, where Celery's workers take their tasks; None: no Celery."""
        return airflow_option("celery", "broker_url")

    @property
    def airflow_database(self) -> str | None:
        """AIRFLOW__DATABASE__SQL_ALCHEMY_CONN; None where Airflow's database is none of ours."""
        return airflow_option("database", "sql_alchemy_conn")

    @property
    def mlflow_database(self) -> str | None:
        """MLFLOW_BACKEND_STORE_URI, of a server on this host; None means the local one's."""
        return os.environ.get("MLFLOW_BACKEND_STORE_URI") or None

    @property
    def mlflow_auth(self) -> Path | None:
        """MLFLOW_AUTH_CONFIG_PATH, of a server on this host that asks for a log-in."""
        return _path("MLFLOW_AUTH_CONFIG_PATH")

    @property
    def mlflow_artifacts(self) -> str | None:
        """MLFLOW_ARTIFACTS_DESTINATION, of a server on this host; None means the local one's."""
        return os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or None

    @property
    def mlflow_endpoint(self) -> str | None:
        """MLFLOW_S3_ENDPOINT_URL, of the S3 store that holds MLflow's artifacts."""
        return os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None

    @property
    def execution_api(self) -> str | None:
        """AIRFLOW__CORE__EXECUTION_API_SERVER_URL, where the tasks of a worker report."""
        return airflow_option("core", "execution_api_server_url")

    @property
    def checkpoints(self) -> Path:
        """Where killed trainings resume; the same folder for every run of this host."""
        return self.home / "checkpoints"

    @property
    def finished_training(self) -> Path | None:
        """LUNGSEG_FINISHED_TRAINING: where a training leaves the key of its checkpoints.

        It keeps them then, for its result to be in caches and stores first; None: it does not.
        """
        return _path("LUNGSEG_FINISHED_TRAINING")

    @property
    def part(self) -> str | None:
        """LUNGSEG_PART, such as 2/4: the part to do of a stage that has `parts_of`; None: all."""
        return os.environ.get("LUNGSEG_PART") or None

    def parts_of(self, stage: str) -> Path | None:
        """LUNGSEG_PARTS if it is the folder of the parts of this stage, whose name it has.

        DVC runs the stages before that one with the same environment, where no cache has their
        results; they have no parts then.
        """
        folder = _path("LUNGSEG_PARTS")
        return folder if folder and folder.name == stage else None

    @property
    def live_run(self) -> str | None:
        """The MLflow run that a training logs its epochs into; None when run by hand."""
        return os.environ.get("MLFLOW_RUN_ID")


def airflow_option(section: str, key: str) -> str | None:
    """An option of Airflow that the environment gives, as a value or by a command (`…_CMD`).

    Raises ParamsError when the command fails.
    """
    name = f"AIRFLOW__{section}__{key}".upper()
    command = os.environ.get(f"{name}_CMD")
    if os.environ.get(name) or not command:
        return os.environ.get(name) or None
    try:
        done = subprocess.run(
            shlex.split(command), capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ParamsError(f"{name}_CMD={command}: {reason}; expected a command") from None
    return done.stdout.strip() or None


def account_name() -> str:
    """The name of this account; empty when it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def private_home(settings: Settings) -> None:
    """Make the home; it, and what this process and its children write from now on, is the user's.

    For the verbs that write there. One that also writes folders of the user's own calls
    `make_home`, and leaves the umask as it is.
    """
    os.umask(0o077)
    make_home(settings)


def make_home(settings: Settings) -> None:
    """Make the home unless there is one, and let nobody but the user into it.

    Raises ParamsError when it cannot be made, or is not the user's to close.
    """
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = home.stat().st_mode
        if mode & 0o077:
            if mode & stat.S_ISVTX:  # like /tmp, which root would close to everybody else
                raise PermissionError(errno.EPERM, "a folder that users share")
            home.chmod(0o700)
    except OSError as error:
        raise ParamsError(
            f"LUNGSEG_HOME={home}: {error.strerror}; set it to a folder that is yours alone"
        ) from None


def error_file() -> Path | None:
    """Where a stage leaves its refusal; no Settings needed, for they may be what is wrong."""
    path = os.environ.get("LUNGSEG_ERROR_FILE")
    return Path(path) if path else None


SECRETS = (
    "LUNGSEG_AIRFLOW_PASSWORD",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_USERNAME",
)
"""Variables whose value may be given by a file, which `<name>_FILE` names."""


def read_secret_files() -> None:
    """Set each of SECRETS that a file gives; raises ParamsError when it cannot be read.

    Containers get their secrets as files, for an environment is shown to whoever may look at one.
    """
    for name in SECRETS:
        path = os.environ.get(f"{name}_FILE")
        if path and not os.environ.get(name):
            try:
                os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                raise ParamsError(
                    f"{name}_FILE={path}: {reason}; expected a file that holds {name}"
                ) from None


LIBRARIES = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # by default a dead server is asked for minutes
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it would ask the network at import
    "SM_FRAMEWORK": "tf.keras",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Environment that keeps libraries quiet, quick to give up, and off the network."""


def keep_docstrings() -> None:
    """Begin this process again without PYTHONOPTIMIZE=2, under which libraries do not load.

    It removes the docstrings, of which they make others. Raises ParamsError for `python -OO`.
    """
    if sys.flags.optimize < 2:
        return
    if not os.environ.pop("PYTHONOPTIMIZE", None):
        raise ParamsError(
            "python -OO: removes the docstrings, which Great Expectations needs; leave one O out"
        )
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  (no shell is wanted)


def quiet_libraries() -> None:
    """Set LIBRARIES in this process where the user did not set them; before importing any.

    And let none tell of each attempt to reach a server.
    """
    for name, value in LIBRARIES.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def engines_are_quiet() -> bool:
    """Whether the user did not ask to see what TensorFlow says of itself."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == LIBRARIES["TF_CPP_MIN_LOG_LEVEL"]


def child_environment(**extra: str) -> dict[str, str]:
    """Return this process' environment with its Python's folder first on PATH, plus `extra`."""
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return {**LIBRARIES, **os.environ, "PATH": path, **extra}
