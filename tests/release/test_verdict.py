from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.release.release_tables import verdict_table
from pipeline.release.verdict import Check, as_markdown


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("Lung_Opacity", "Lung_Opacity"),
        ("Viral Pneumonia <= 0.1", "Viral Pneumonia <= 0.1"),
        ("a|b", r"a\|b"),
        ("<b>x</b>", r"\<b>x\</b>"),
        ("_x_ *y* `z` ~w~", r"\_x\_ \*y\* \`z\` \~w\~"),
        ("[a](b)", r"\[a\](b)"),
        ("A & B &amp; C", r"A & B \&amp; C"),
        ("c:\\d", r"c:\\d"),
    ],
)
def test_a_name_in_markdown_is_its_letters(text: str, markdown: str) -> None:
    assert as_markdown(text) == markdown


@pytest.mark.parametrize(
    "name", ["[/red][x]{y}", "д" * 100, "COVID"], ids=["markup", "long", "plain"]
)
def test_the_table_of_a_verdict_has_all_columns_whatever_a_class_is_called(name: str) -> None:
    checks = [
        Check(name="accuracy", value=0.9, bound=">= 0.95", passed=False),
        Check(name=f"dice_vs_champion_{name}", value=0.1, bound=">= -0.01", passed=True),
    ]
    text = io.StringIO()

    Console(file=text, width=80).print(verdict_table(checks))

    shown = text.getvalue()
    assert "FAIL  accuracy" in shown
    assert all(word in shown for word in ("0.9000", ">= 0.95", "0.1000", ">= -0.01"))
    assert shown.count("д") == name.count("д")
