from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.dataset.validation.doubtful_gallery import SHOWN, draw_borders, show_doubtful
from pipeline.dataset.validation.drift import SHIFT_COLUMNS
from pipeline.dataset.validation.gallery import write_page
from pipeline.dataset.validation.resemblance import typical_borders
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.params_file import load_params
from tests.browser import open_page
from tests.conftest import PROJECT
from tests.dataset.validation.heart_masks import lungs_of, two_conventions

LIMITS = load_params(PROJECT / "params.yaml").validate_
NOTHING = pd.DataFrame(columns=["image_id", "path", "reason", "found", "remedy"])
NO_SHIFT = pd.DataFrame(columns=list(SHIFT_COLUMNS))


def make_tables(root: Path, swapped: tuple[int, ...], name: str = "Normal") -> DatasetTables:
    """Tables with what the page reads, and the files of the pairs that are swapped."""
    manifest = two_conventions(swapped=swapped)
    manifest["image_id"] = manifest["image_id"].str.replace("Normal", name)
    for number in swapped:
        mask = lungs_of(number, heart=number < 40, side=256)
        for kind, picture in (("images", 200 - 100 * mask), ("masks", 255 * mask)):
            path = root / f"data/{kind}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(path)
    numbers = manifest.index.astype(str)
    manifest = manifest.assign(
        image_path="images/" + numbers + ".png",
        mask_path="masks/" + numbers + ".png",
        lung_area=0.3,
        mean=120.0,
        flags="",
    )
    return DatasetTables(manifest, NOTHING, NO_SHIFT)


def write(root: Path, tables: DatasetTables) -> str:
    write_page(root / "page", root / "data", tables, LIMITS)
    return (root / "page/index.html").read_text(encoding="utf-8")


def test_the_page_shows_the_pairs_with_pictures_and_commands(tmp_path: Path, browser: Any) -> None:
    text = write(tmp_path, make_tables(tmp_path, (3, 17)))

    assert "Masks that look like another convention (2)" in text
    assert "2 masks look like another annotation convention than their own." in text
    assert len(re.findall("data:image/jpeg", text)) == 2
    assert "lungseg data convention heart Normal/17" in text
    assert "heart --from artifacts/validate/doubtful_conventions.csv" in text
    open_page(browser, tmp_path / "page/index.html")


def test_pairs_that_look_like_different_conventions_have_no_common_command(tmp_path: Path) -> None:
    text = write(tmp_path, make_tables(tmp_path, (3, 55)))

    assert "lungseg data convention standard Normal/55" in text
    assert "--from" not in text


def test_a_dataset_of_one_convention_has_no_such_section(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, ())

    assert show_doubtful(tmp_path / "data", tables) is None
    assert "another annotation convention" not in write(tmp_path, tables)


def test_a_pair_whose_file_is_gone_is_listed_without_a_picture(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, (3,))
    (tmp_path / "data/masks/3.png").unlink()

    section = show_doubtful(tmp_path / "data", tables)

    assert section is not None
    assert [tile.picture for tile in section.tiles] == [None]
    assert "No picture: Normal/3" in write(tmp_path, tables)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    text = write(tmp_path, make_tables(tmp_path, (3,), name="<b onclick=x>"))

    assert "<b onclick" not in text
    assert "&lt;b onclick=x&gt;/3" in text


def test_of_many_the_surest_have_pictures(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, (3,))
    (row,) = tables.doubtful.to_dict("records")
    many = pd.DataFrame([row] * (SHOWN + 2))
    vars(tables)["doubtful"] = many

    section = show_doubtful(tmp_path / "data", tables)

    assert section is not None
    assert (section.count, len(section.tiles)) == (SHOWN + 2, SHOWN)


def test_borders_are_drawn_within_the_frame_of_the_mask() -> None:
    typical = typical_borders(two_conventions())
    mask, plain = lungs_of(3, heart=True), np.full((128, 128), 90, np.uint8)

    picture = draw_borders(plain, mask, typical["standard"], typical["heart"]).astype(int)

    red, _, blue = (picture[..., channel] for channel in range(3))
    dashed, solid = red - blue > 100, blue - red > 80
    assert solid.sum() > dashed.sum() > 100
    rows = np.flatnonzero((dashed | solid).any(axis=1))
    assert 20 * 2.5 < rows[0] < rows[-1] < 108 * 2.5
