"""What README.md tells a consumer of a released model to type, taken from there and done."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image

from pipeline.cli.app import app, main
from pipeline.inference.model_files import MODEL_FILES
from pipeline.inference.predictor import Predictor
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.conftest import PROJECT, give_store, kept_environment
from tests.radiograph.containers import dicom, dicom_bytes
from tests.release.conftest import deploy
from tests.release.runs import NETWORK, make_run, network, release

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [
    line.partition("#")[0].strip()
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
]
LUNGSEG = [
    *(line for line in LINES if line.startswith("lungseg ")),
    *re.findall(r"`(lungseg [a-z][^`]*)`", README),
]
CONSUMING = [
    line for line in LUNGSEG if re.match(r"lungseg (predict .*--out|releases|rollback)", line)
]
ADDRESS = "http://127.0.0.1:5000"

GREY = np.random.default_rng(5).integers(0, 256, (80, 100), np.uint8)
GREY[0, :2] = 0, 255  # all shades are used, so 16 bits are read as 8


def as_png(path: Path) -> None:
    Image.fromarray(GREY).save(path, "PNG")


def as_png_of_16_bits(path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path, "PNG")


def as_dicom(path: Path) -> None:
    path.write_bytes(dicom_bytes(dicom(GREY)))


Write = Callable[[Path], None]
KINDS: dict[str, Write] = {"a.png": as_png, "b.png": as_png_of_16_bits, "c.dcm": as_dicom}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Settings:
    """A store with two releases, the second of which is the champion."""
    folder = tmp_path_factory.mktemp("released")
    deploy(folder / "deployed")
    settings = Settings(repo=str(folder / "deployed"), home=folder / "home", local=True)
    give_store(settings, store)
    with kept_environment(), pytest.MonkeyPatch.context() as patch, connect(settings) as client:
        patch.setattr("pipeline.release.gate.log_comparison", lambda *_: None)
        for name in (b"first", b"second"):
            run = make_run(settings, client, folder / name.decode(), model=network(name))
            assert release(run).version
    return settings


@pytest.fixture
def expected(tmp_path: Path) -> NDArray[np.float32]:
    """The probabilities of lung in GREY."""
    for name in MODEL_FILES:
        (tmp_path / name).write_bytes(NETWORK[name])
    (lung,) = Predictor(tmp_path / "model.onnx").predict([GREY])
    return lung


def threshold(client: MlflowClient, name: str) -> float:
    """As README.md says where it is."""
    return float(client.get_model_version_by_alias(name, "champion").tags["threshold"])


@pytest.mark.parametrize("name", KINDS)
def test_the_python_snippet_finds_the_lung_in_every_kind_of_file(
    name: str,
    released: Settings,
    expected: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [snippet] = [text for kind, text in BLOCKS if kind == "python"]
    [file] = re.findall(r'"(radiograph\.\w+)"', snippet)
    assert ADDRESS in snippet
    KINDS[name](tmp_path / name)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}

    exec(snippet.replace(ADDRESS, released.tracking_uri).replace(file, name), made)  # noqa: S102  (our README's)

    assert made["radiographs"].dtype == np.uint8
    np.testing.assert_array_equal(made["radiographs"], GREY[None])
    assert made["probabilities"].dtype == np.float32
    np.testing.assert_allclose(made["probabilities"], expected[None], atol=1e-4)


def test_the_commands_of_a_consumer_do_what_they_say(
    released: Settings,
    expected: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "radiographs").mkdir()
    for name, write in KINDS.items():
        write(tmp_path / "radiographs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUNGSEG_HOME", str(released.home))
    monkeypatch.setenv("LUNGSEG_REPO", released.repo)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", released.tracking_uri)
    told = {}

    for line in CONSUMING:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, line
        told[line] = capsys.readouterr().out

    masks = [np.asarray(Image.open(tmp_path / f"masks/{name}.png")) for name in "abc"]
    with connect(released) as client:
        lung = expected >= threshold(client, released.model_name)
    for mask in masks:
        np.testing.assert_array_equal(mask, 255 * lung)
    assert told["lungseg predict radiographs/ --out masks/"].startswith("3 masks in masks")
    assert "as they were released" in told["lungseg releases verify"]
    assert "champion is version 1, was 2" in told["lungseg rollback"]


@pytest.mark.parametrize("line", LUNGSEG)
def test_every_command_that_the_readme_names_is_one(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {name for one in command.params for name in one.opts}
    used = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}

    assert used <= options


def test_every_target_and_file_that_the_readme_names_is_there() -> None:
    makefile = (PROJECT / "Makefile").read_text()

    targets = {words[1] for words in map(str.split, LINES) if words[:1] == ["make"]}
    assert targets >= {"retrain", "test"}
    assert [one for one in targets if not re.search(rf"^{one}:", makefile, re.MULTILINE)] == []
    files = re.findall(r"presets/\w+\.yaml", README)
    assert files
    assert [name for name in files if not (PROJECT / name).is_file()] == []
