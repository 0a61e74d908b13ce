from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from pipeline.params import Params
from pipeline.params_file import load_params
from pipeline.settings import Settings, quiet_libraries
from pipeline.tracking.client import connect
from tests.browser import browser as browser

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROJECT = Path(__file__).parents[1]

quiet_libraries()

# A deployment's settings in the shell of whoever runs the tests are not the tests' own.
OF_TESTS = {
    "LUNGSEG_REAL_DATA",
    "LUNGSEG_TEST_CLUSTER",
    "LUNGSEG_MLFLOW_PORT",
    "LUNGSEG_AIRFLOW_PORT",
}
for _name in [*os.environ]:
    if _name.startswith(("LUNGSEG_", "MLFLOW_TRACKING_")) and _name not in OF_TESTS:
        del os.environ[_name]

# How long an example takes says more about the machine's load than about the code.
settings.register_profile("thorough", deadline=None, max_examples=50)
settings.register_profile("quick", deadline=None, max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """`--hypothesis-profile=quick`, as `make check` says, is for what every commit must pass."""
    settings.load_profile(config.getoption("--hypothesis-profile") or "thorough")


LONGEST = (
    "tests/test_main_job.py",
    "tests/cluster/test_cluster.py",
    "tests/model/test_jax_engine.py",
    "tests/release/test_promotion.py",
    "tests/stages/test_train.py",
    "tests/model/test_training.py",
    "tests/search/test_local_search.py",
    "tests/dags/test_approval.py",
    "tests/stages/test_faults.py",
    "tests/workspace/test_reproduce.py",
    "tests/release/test_fetching.py",
    "tests/workspace/test_pushing.py",
    "tests/dataset/delivery/test_import_command.py",
    "tests/test_heart.py",
    "tests/stages/test_split.py",
)
"""Files that begin first, because a file that begins last keeps the other worker waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(PROJECT).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@contextmanager
def kept_environment() -> Iterator[None]:
    """Undo what happens to the environment within, the umask included."""
    before = dict(os.environ)
    umask = os.umask(0o022)
    os.umask(umask)
    try:
        yield
    finally:
        os.umask(umask)
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True, scope="module")
def _environment_of_the_module() -> Iterator[None]:
    """What the fixtures of one module leave behind does not reach the next one."""
    with kept_environment():
        yield


@pytest.fixture(autouse=True)
def _environment_of_its_own() -> Iterator[None]:
    """MLflow's client puts its tracking URI into the environment, where others would read it."""
    with kept_environment():
        yield


@pytest.fixture(scope="session")
def params() -> Params:
    """Those of the project, with the engine that Keras computes with in these tests."""
    params = load_params(PROJECT / "params.yaml")
    engine = os.environ.get("KERAS_BACKEND", params.train.engine)
    return params.model_copy(update={"train": params.train.model_copy(update={"engine": engine})})


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("LUNGSEG_REAL_DATA")
    if not folder:
        pytest.skip("LUNGSEG_REAL_DATA is not set: no real radiographs here")
    return Path(folder)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, to be copied; making its tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with kept_environment():
        MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def give_store(settings: Settings, store: Path) -> None:
    """Let the settings' MLflow, without a server, begin with a copy of the empty store."""
    (settings.home / "local").mkdir(parents=True)
    shutil.copy(store, settings.home / "local/mlflow.db")


@pytest.fixture
def client(settings: Settings) -> Iterator[MlflowClient]:
    """MLflow's client in the store of the module's own `settings`."""
    with connect(settings) as connected:
        yield connected


def draw_pair(seed: int, size: int = 64) -> tuple[Image.Image, Image.Image]:
    """A bright field with two dark ellipses, and the ellipses as an RGB mask."""
    random = np.random.default_rng(seed)
    mask = Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    for centre in (0.3, 0.7):
        x, y = size * (centre + random.uniform(-0.03, 0.03)), size * random.uniform(0.45, 0.55)
        width, height = size * random.uniform(0.1, 0.15), size * random.uniform(0.22, 0.3)
        pen.ellipse((x - width, y - height, x + width, y + height), fill=255)
    lung = np.asarray(mask) > 0
    pixels = np.where(lung, 70, 180) + random.normal(0, 8, (size, size))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image, mask.convert("RGB")


def write_dataset(root: Path, classes: Mapping[str, int], size: int = 64, seed: int = 0) -> None:
    """Write pairs in the layout of the database; no two pairs are alike."""
    for offset, (name, count) in enumerate(classes.items()):
        for folder in ("images", "masks"):
            (root / name / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            image, mask = draw_pair(seed + 1000 * offset + number, size)
            image.save(root / name / "images" / f"{name}-{number}.png")
            mask.save(root / name / "masks" / f"{name}-{number}.png")


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Make `<tmp>/data` with so many pairs of each class; returns `<tmp>`."""

    def make(**classes: int) -> Path:
        write_dataset(tmp_path / "data", classes or {"Normal": 12, "COVID": 12})
        return tmp_path

    return make


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def mode_of(path: Path) -> int:
    """Who may do what with it: the permission bits."""
    return path.stat().st_mode & 0o777


def open_to_others(folder: Path) -> list[str]:
    """What lies in `folder`, itself included, and has a bit for other users than its owner.

    Links are not looked at: a file that is also in DVC's cache, in git's objects or among uv's
    packages has the bits that it has there.
    """
    files = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    own = [path for path in files if path.is_dir() or path.stat().st_nlink == 1]
    return sorted(str(path) for path in own if mode_of(path) & 0o077)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of `size` below `folder`; skips where that is not allowed."""
    small = folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield small
    finally:
        subprocess.run(["umount", str(small)], check=True)
