from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.stage_graph import stage_definition, stage_names

GRAPH = """stages:
  shout:
    cmd: shout
    deps: [words, pipeline/shout.py]
    outs: [loud.txt]
    plots: [curve.csv: {x: second}]
    meta: {mlflow: {artifacts: [loud.txt]}}
    desc: what only DVC reads
  rest: {cmd: rest}
"""


def test_a_stage_is_what_dvc_yaml_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(GRAPH)

    shout = stage_definition(tmp_path, "shout")

    assert stage_names(tmp_path) == ["shout", "rest"]
    assert shout.outputs == [Path("loud.txt"), Path("curve.csv")]
    assert shout.code == [Path("pipeline/shout.py")]
    assert shout.shown.artifacts == ("loud.txt",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("plots: []\n", "holds no stages, expected the section `stages`"),
        ("stages: [shout]\n", "holds no stages, expected the section `stages`"),
        ("stages: {shout: {deps: [words]}}\n", "cmd: missing, add it"),
        ("stages: {shout: {cmd: shout, deps: words}}\n", r"deps: found 'words'; .*tuple"),
        (GRAPH.replace("artifacts", "pictures"), r"meta\.mlflow\.pictures: unknown key, remove it"),
    ],
)
def test_a_dvc_yaml_of_another_kind_is_one_line(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "dvc.yaml").write_text(content)

    with pytest.raises(ParamsError, match=rf"dvc\.yaml: {found}") as refusal:
        stage_names(tmp_path)

    assert "\n" not in str(refusal.value)
