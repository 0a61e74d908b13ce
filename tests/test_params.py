from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ParamsError
from pipeline.params_file import (
    as_sections,
    check_override,
    check_params,
    flatten,
    load_params,
    override,
    read_assignments,
    read_yaml,
)

SHIPPED = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "params.yaml"
    target.write_bytes(SHIPPED.read_bytes())
    return target


def refusal(path: Path, **changes: Any) -> str:
    """What load_params says of the shipped parameters with `section__key` set to a value."""
    content = read_yaml(SHIPPED)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        content[section][key] = value
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_parameters_are_sound() -> None:
    params = load_params(SHIPPED)

    assert params.validate_.max_quarantined == 0.05
    assert params.train.filters == [8, 16, 32, 64]
    assert isinstance(params.augment.transforms[0].p, float)


def test_parameters_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load_params(SHIPPED).train, "epochs", 3)  # noqa: B010 - mypy refuses it too


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("train__epoch", 3, "train.epoch: unknown key, remove it or correct its name"),
        ("train__epochs", "8", "train.epochs: found '8'; input should be a valid integer"),
        ("train__epochs", 8.5, "train.epochs: found 8.5"),
        ("train__epochs", True, "train.epochs: found True"),
        ("train__epochs", 0, "train.epochs: found 0; input should be greater than or equal to 1"),
        ("train__epochs", 10000, "train.epochs: found 10000; input should be less than or equal"),
        ("train__epochs", None, "train.epochs: found None"),
        ("train__deterministic", 1, "train.deterministic: found 1"),
        ("train__learning_rate", -0.1, "train.learning_rate: found -0.1"),
        ("train__learning_rate", 0, "train.learning_rate: found 0"),
        ("train__learning_rate", float("nan"), "train.learning_rate: found nan"),
        ("train__learning_rate", float("inf"), "train.learning_rate: found inf"),
        ("train__loss", "dice", "train.loss: found 'dice'"),
        ("train__encoder", 34, "train.encoder: found 34"),
        ("train__encoder_weights", "noisy", "train.encoder_weights: found 'noisy'"),
        ("train__encoder_weights", "imagenet", "encoder_weights: imagenet are of an encoder"),
        ("train__filters", [8], "train.filters: found [8]"),
        ("train__filters", [8, 0], "train.filters.1: found 0"),
        ("train__filters", 8, "train.filters: found 8"),
        ("train__warmup_epochs", 5, "warmup_epochs must be below epochs"),
        ("train__weight_averaging", 1.0, "train.weight_averaging: found 1.0"),
        ("train__xla", True, "xla and deterministic exclude each other; set one to false"),
        ("train__engine", "torch", "train.engine: found 'torch'"),
        ("augment__copies", 51, "augment.copies: found 51"),
        ("augment__transforms", [], "copies without transforms are all alike"),
        ("augment__transforms", {"name": "Rotate"}, "augment.transforms: found {'name': 'Rotate'}"),
        ("augment__image_size", 16, "augment.image_size: found 16"),
        ("augment__seed", -1, "augment.seed: found -1"),
        ("evaluate__threshold", 1.0, "evaluate.threshold: found 1.0"),
        ("evaluate__threshold", float("nan"), "evaluate.threshold: found nan"),
        ("gate__min_dice", 1.1, "gate.min_dice: found 1.1"),
        ("split__val", 0.0, "val and test must be above 0 and leave something to train on"),
        ("split__test", 0.9, "val and test must be above 0 and leave something to train on"),
        ("validate__min_lung_area", 0.7, "min_lung_area must be below max_lung_area"),
    ],
)
def test_an_unacceptable_value_is_named(path: Path, name: str, value: Any, said: str) -> None:
    assert said in refusal(path, **{name: value})


def test_keys_that_exclude_each_other_do_not_list_their_whole_section(path: Path) -> None:
    message = refusal(path, train__xla=True)

    assert message.endswith("train: xla and deterministic exclude each other; set one to false")
    assert "batch_size" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__xla": True}, "xla: the engine jax always compiles with XLA; set it to false"),
        (
            {"train__encoder": "resnet34"},
            "encoder: resnet34 is built by TensorFlow alone; with the engine jax choose plain or "
            "efficientnetlite0",
        ),
    ],
)
def test_what_jax_cannot_do_is_refused(path: Path, changes: dict[str, Any], said: str) -> None:
    assert refusal(path, train__engine="jax", **changes).endswith(f"train: {said}")


def test_images_that_do_not_suit_the_network_are_refused_with_sizes_that_do(path: Path) -> None:
    said = (
        "augment.image_size: found 100, which cannot be halved 3 times as train.filters asks for; "
    )

    with pytest.raises(ParamsError) as refused:
        check_override(path, ["augment.image_size=100"])

    assert str(refused.value) == f"{path}: {said}expected a multiple of 8, set it to 96 or 104"
    # The encoder's depth counts: a backbone halves once more than it has filters below.
    check_override(path, ["augment.image_size=72"])
    with pytest.raises(ParamsError, match="halved 4 times"):
        check_override(path, ["augment.image_size=72", "train.encoder=resnet18"])


def test_every_problem_is_named_in_one_line(path: Path) -> None:
    message = refusal(path, train__epochs=0, gate__min_dice="high", augment__colour=1)

    assert "train.epochs: found 0" in message
    assert "gate.min_dice: found 'high'" in message
    assert "augment.colour: unknown key" in message


def test_missing_keys_and_sections_are_named(path: Path) -> None:
    content = read_yaml(SHIPPED)
    del content["train"]["epochs"], content["gate"]

    with pytest.raises(ParamsError, match=r"train\.epochs: missing, add it; gate: missing, add it"):
        check_params(content, path)


def test_an_unknown_section_is_named(path: Path) -> None:
    with pytest.raises(ParamsError, match="serve: unknown key"):
        check_params({**read_yaml(SHIPPED), "serve": {}}, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: [1", "not readable as YAML"),
        ("train: !!python/object/apply:os.system ['touch owned']", "not readable as YAML"),
        ("train: 2024-13-45", "not readable as YAML: month must be in 1..12"),
        ("train: {epochs: 1, epochs: 2}", "key 'epochs' stands twice; remove one"),
        ("a: 1\na: 2", "key 'a' stands twice; remove one"),
        ("- train", "found list, expected sections of keys"),
        ("", "found NoneType, expected sections of keys"),
    ],
)
def test_what_is_no_parameter_file_is_refused(
    path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    path.write_text(text)

    with pytest.raises(ParamsError) as caught:
        load_params(path)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (path.parent / "owned").exists()


def test_undecodable_bytes_are_refused(path: Path) -> None:
    path.write_bytes(b"train: \xff\xfe")

    with pytest.raises(ParamsError, match="not readable as YAML"):
        load_params(path)


def test_a_missing_file_says_where_to_run_from(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file; run from the project's root"):
        load_params(tmp_path / "params.yaml")


def test_overrides_are_written_and_nothing_else_changes(path: Path) -> None:
    override(
        path,
        ["train.filters=[8, 16]", "train.learning_rate=1e-3", "train.encoder = resnet18"],
    )

    expected = copy.deepcopy(read_yaml(SHIPPED))
    expected["train"] |= {"filters": [8, 16], "learning_rate": 0.001, "encoder": "resnet18"}
    assert read_yaml(path) == expected
    assert load_params(path).train.encoder == "resnet18"


def test_an_override_keeps_texts_that_look_like_numbers(path: Path) -> None:
    texts = ["12e4", "1e-3", "0x10", "2026-01-01", "yes"]
    override(path, [f"split.collections={json.dumps(texts)}"])

    override(path, ["train.epochs=3"])

    assert load_params(path).split.collections == texts


def test_a_file_of_parameters_that_is_a_folder_or_holds_a_date_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {epochs: 3, encoder: 2026-01-01}\n")

    with pytest.raises(ParamsError, match=r"mine.yaml: train.encoder: found a date.*quote it"):
        read_assignments(path)
    with pytest.raises(ParamsError, match="found a folder, expected a YAML file; name one"):
        read_assignments(tmp_path)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.epochs", "expected section.key=value"),
        ("epochs=3", "expected section.key=value"),
        ("train.=3", "expected section.key=value"),
        ("train.epoch=3", "params.yaml has no key train.epoch"),
        ("serve.port=3", "params.yaml has no key serve.port"),
        ("train.filters=[8", "'[8' is not a YAML value"),
        ("train.encoder=2024-13-45", "'2024-13-45' is not a YAML value"),
        ("train.encoder=!!python/object/apply:os.getcwd []", "is not a YAML value"),
        ("train.epochs=many", "train.epochs: found 'many'"),
        ("train.epochs=", "train.epochs: found None"),
        ("train.learning_rate=.nan", "train.learning_rate: found nan"),
    ],
)
def test_a_refused_override_leaves_the_file_alone(path: Path, assignment: str, said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        override(path, ["train.batch_size=4", assignment])

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == SHIPPED.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["params.yaml"]


def test_an_override_of_an_older_revision_needs_its_own_key_only(path: Path) -> None:
    content = read_yaml(SHIPPED)
    del content["train"]["engine"], content["stages"], content["gate"]["max_ece"]
    content["train"]["former"] = 1
    path.write_text(yaml.safe_dump(content))

    override(path, ["train.epochs=3", "train.former=2"])

    content["train"] |= {"epochs": 3, "former": 2}
    assert read_yaml(path) == content
    for assignment, said in (
        ("train.epochs=many", "train.epochs: found 'many'; input should be a valid integer"),
        ("train.engine=jax", "override 'train.engine=jax': params.yaml has no key train.engine"),
    ):
        with pytest.raises(ParamsError) as refused:
            override(path, [assignment])
        assert str(refused.value).removeprefix(f"{path}: ") == said


def test_sections_are_flattened_to_dotted_keys() -> None:
    content = {"train": {"filters": [8, 16], "deep": {"er": 1}}, "seed": 7}

    assert flatten(content) == {"train.filters": [8, 16], "train.deep.er": 1, "seed": 7}


def test_assignments_become_sections_again_and_the_last_of_two_counts(tmp_path: Path) -> None:
    text = "train:\n  filters: [4, 8]\n  encoder: plain\naugment:\n  copies: 2\n"
    (tmp_path / "preset.yaml").write_text(text)

    sections = as_sections([*read_assignments(tmp_path / "preset.yaml"), "augment.copies=3"])

    assert sections == {"train": {"filters": [4, 8], "encoder": "plain"}, "augment": {"copies": 3}}


def test_what_is_no_assignment_has_no_section() -> None:
    with pytest.raises(ParamsError, match=r"expected section\.key=value"):
        as_sections(["train=3"])
