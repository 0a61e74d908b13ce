from __future__ import annotations

import pytest

from pipeline.dataset.metadata.unknown import is_unknown


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-",
            "--",
            "—",
            "?",
            ".",
            "0",
            "0.0",
            "000",
            "-1",
            "n/a",
            "N/A",
            "#N/A",
            "NaN",
            "<NA>",
        ),
        *("None", "NULL", "unknown", "Unknown.", "UNK", "not available", "Anonymous", "(empty)"),
        *("unbekannt", "неизвестно", "н/д", "desconocido", "inconnu"),
    ],
)
def test_words_for_nobody_are_no_patient(text: str) -> None:
    assert is_unknown(text)


@pytest.mark.parametrize("text", ["1", "10", "0a", "P-0", "Nana", "Nan Li", "-12", "007", "Я"])
def test_all_else_is_somebody(text: str) -> None:
    assert not is_unknown(text)
