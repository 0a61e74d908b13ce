from __future__ import annotations

import json
import math
from dataclasses import replace

from pipeline.pictures.strips import SHEET_SIZE
from pipeline.report.case_gallery import build_gallery, count_codes, name_code, script_json
from tests.report.drawn import BAD, GOOD, drawn_case


def test_the_worst_radiograph_comes_first() -> None:
    gallery = build_gallery([drawn_case("N/1", GOOD), drawn_case("N/2", BAD)])

    assert gallery.places == {"N/2": 0, "N/1": 1}
    assert [row[0] for row in json.loads(gallery.data)["cases"]] == ["N/2", "N/1"]


def test_a_row_has_the_address_of_its_strip_in_names_that_servers_take() -> None:
    gallery = build_gallery([drawn_case("COVID (new)/50% #1?")])

    (row,) = json.loads(gallery.data)["cases"]
    assert row[0] == "COVID (new)/50% #1?"
    assert row[6] == "cases/COVID .28.new.29./50.25. .23.1.3F..jpg"


def test_a_row_has_its_numbers_flags_and_sentences() -> None:
    gallery = build_gallery([drawn_case("N/2", BAD, "base_missed", "base_missed")])

    data = json.loads(gallery.data)
    (row,) = data["cases"]
    assert row[3] == [0, 1]
    assert data["flags"] == ["Failure (Dice below 0.90)", "Base missed"]
    assert data["failure"] == 0
    assert row[4] == ["Sentence of base_missed."] * 2
    numbers = dict(zip(data["columns"], row[5], strict=True))
    assert (numbers["dice"], numbers["left_dice"], numbers["soft_dice"]) == (0.6667, 1.0, 0.9)


def test_what_was_not_measured_is_null() -> None:
    case = drawn_case("N/1")
    gallery = build_gallery([replace(case, image=replace(case.image, tta_dice=math.nan))])

    data = json.loads(gallery.data)
    assert dict(zip(data["columns"], data["cases"][0][5], strict=True))["tta_dice"] is None
    assert data["failure"] == -1


def test_a_code_counts_once_for_each_radiograph() -> None:
    cases = [drawn_case("N/1", GOOD, "hole", "hole"), drawn_case("N/2", BAD, "hole")]

    assert count_codes(cases) == {"hole": 2, "failure": 1}
    assert name_code("heart_region_included") == "Heart region included"


def test_many_thumbnails_are_spread_over_sheets() -> None:
    gallery = build_gallery([drawn_case(f"N/{n}") for n in range(SHEET_SIZE + 1)])

    assert len(gallery.sheets) == 2


def test_nothing_in_a_script_element_can_end_it() -> None:
    name = "</script><script>alert(1)</script>&amp;\u2028<!--"

    text = script_json({"name": name})

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": name}
