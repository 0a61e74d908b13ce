from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.conventions import STANDARD
from pipeline.dataset.layout import list_dataset
from pipeline.dataset.validation.drift import SHIFT_COLUMNS
from pipeline.dataset.validation.gallery import SHOWN, write_page
from pipeline.dataset.validation.medial_borders import measure_borders
from pipeline.dataset.validation.plausibility import components, left_share
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.params_file import load_params
from pipeline.radiograph.reading import pixel_sha256, read_mask, read_radiograph
from tests.browser import open_page, overhang, resize
from tests.conftest import PROJECT

Made = Callable[..., Path]

QUARANTINE = ["image_id", "path", "reason", "found", "remedy"]
SHIFTS = list(SHIFT_COLUMNS)
NOTHING = pd.DataFrame(columns=QUARANTINE)
NO_SHIFT = pd.DataFrame(columns=SHIFTS)
LIMITS = load_params(PROJECT / "params.yaml").validate_
HOSTILE = '<img src=x onerror="alert(1)">'


def inspect(data: Path, **flags: str) -> pd.DataFrame:
    """The columns of the manifest that the page reads; `flags` by the number of the row."""
    rows = []
    for pair in list_dataset(data).pairs:
        image, mask = read_radiograph(data / pair.image), read_mask(data / pair.mask)
        rows.append(
            {
                "image_id": pair.image_id,
                "class_name": pair.class_name,
                "convention": STANDARD,
                "convention_by": "",
                "image_path": pair.image.as_posix(),
                "mask_path": pair.mask.as_posix(),
                "pixel_sha256": pixel_sha256(image),
                "mean": image.mean(),
                "lung_area": mask.mean(),
                "components": components(mask),
                "left_share": left_share(mask),
                "patient": "",
                **measure_borders(mask)._asdict(),
                "flags": flags.get(f"row{len(rows)}", ""),
            }
        )
    return pd.DataFrame(rows)


def aside(*rows: tuple[str, str]) -> pd.DataFrame:
    """A quarantine of (path, reason)."""
    records = [("", path, reason, f"found in {path}", "mend it") for path, reason in rows]
    return pd.DataFrame(records, columns=QUARANTINE)


def shift(name: str, quantity: str, value: float, found: float, reference: float) -> pd.DataFrame:
    subject = f"{name}: {quantity} {found} against {reference} in the other classes"
    row = (subject, name, "", quantity, "other classes", found, reference, value, "")
    return pd.DataFrame([row], columns=SHIFTS)


def write(root: Path, manifest: pd.DataFrame, **tables: pd.DataFrame) -> str:
    quarantine, shifts = tables.get("quarantine", NOTHING), tables.get("shifts", NO_SHIFT)
    data_tables = DatasetTables(manifest, quarantine, shifts)
    write_page(root / "page", root / "data", data_tables, LIMITS)
    return (root / "page/index.html").read_text(encoding="utf-8")


def pictures(text: str) -> list[Image.Image]:
    """The radiographs on a page, decoded."""
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


def attributes(text: str) -> set[str]:
    """The names of all attributes that a browser finds on the page."""
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update(name for name, _ in attrs)

    Parser().feed(text)
    return found


def test_a_dataset_without_faults_has_a_page_without_radiographs(dataset: Made) -> None:
    root = dataset(Normal=3, COVID=2)

    text = write(root, inspect(root / "data"))

    assert "Nothing stands out." in text
    assert "5 pairs of radiograph and lung mask in 2 classes" in text
    assert pictures(text) == []
    assert len(text) < 150_000


def test_the_same_dataset_gives_the_same_bytes(dataset: Made) -> None:
    root = dataset(Normal=3, COVID=3)
    manifest = inspect(root / "data", row1="mirrored")
    shifts = shift("COVID", "lung_area", 2.0, 0.3, 0.2)

    assert write(root, manifest, shifts=shifts) == write(root, manifest[::-1], shifts=shifts)


def test_conventions_are_shown_and_compared_with_their_like(dataset: Made) -> None:
    root = dataset(Normal=3, COVID=4)
    manifest = inspect(root / "data")
    assert "Annotation conventions" not in write(root, manifest)
    ours = manifest["image_id"].isin(["COVID/COVID-1", "COVID/COVID-2", "Normal/Normal-1"])
    manifest.loc[ours, ["convention", "convention_by"]] = ["wide", "person"]
    remedy = "if so: `lungseg data convention NAME --class COVID --instead-of wide`"
    shifts = shift("COVID", "lung_area", 2.0, 0.3, 0.2).assign(convention="wide", remedy=remedy)

    text = write(root, manifest, shifts=shifts)

    row = '<th scope="row">COVID</th><td>wide</td><td>2</td>'
    assert row in text
    assert "<td>person 2</td>" in text
    assert "<h3>COVID, wide: lung area</h3>" in text
    assert "<code>lungseg data convention NAME --class COVID --instead-of wide</code>" in text
    shown = re.findall(r"<figcaption><b>([^<]+)</b>", text)
    assert sorted(shown) == ["COVID/COVID-1", "COVID/COVID-2", "Normal/Normal-1"]


@pytest.mark.parametrize(
    ("quantity", "limit"),
    [("lung_area", LIMITS.max_area_shift), ("intensity", LIMITS.max_intensity_shift)],
)
def test_a_shift_stands_out_beyond_the_limit_of_its_quantity(
    dataset: Made, quantity: str, limit: float
) -> None:
    root = dataset(Normal=3, COVID=3)
    manifest = inspect(root / "data")

    within = write(root, manifest, shifts=shift("COVID", quantity, limit - 0.01, 0.3, 0.2))
    beyond = write(root, manifest, shifts=shift("COVID", quantity, -limit - 0.01, 0.2, 0.3))

    assert ("0</strong> shifts that stand" in within, pictures(within)) == (True, [])
    assert "1</strong> shift that stands" in beyond
    assert len(pictures(beyond)) > 0


def test_flagged_pairs_are_shown_under_each_of_their_flags(dataset: Made) -> None:
    root = dataset(Normal=4)
    manifest = inspect(root / "data", row1="rotated stray_components", row2="rotated")

    text = write(root, manifest)

    assert "Perhaps rotated (2)" in text
    assert "Stray parts in the mask (1)" in text
    assert text.count("<b>Normal/Normal-2</b>") == 2
    assert len(pictures(text)) == 3


def test_an_unknown_flag_gets_a_section_of_its_name(dataset: Made) -> None:
    root = dataset(Normal=2)

    assert "upside_down (1)" in write(root, inspect(root / "data", row0="upside_down"))


@pytest.mark.parametrize(
    ("flag", "column", "values"),
    [
        ("stray_components", "components", (3, 9)),
        ("one_lung", "left_share", (0.05, 1.0)),
        ("implausible_area", "lung_area", (0.2, 0.99)),
    ],
)
def test_the_oddest_pair_of_a_flag_comes_first(
    dataset: Made, flag: str, column: str, values: tuple[float, float]
) -> None:
    root = dataset(Normal=5)
    manifest = inspect(root / "data", row0=flag, row3=flag)
    manifest[column] = manifest[column].astype(float)
    manifest.loc[[0, 3], column] = values

    text = write(root, manifest)

    assert text.index("<b>Normal/Normal-4</b>") < text.index("<b>Normal/Normal-1</b>")


def test_a_stray_part_is_ringed(dataset: Made) -> None:
    root = dataset(Normal=1)
    file = root / "data/Normal/masks/Normal-1.png"
    mask = np.array(Image.open(file).convert("L"))
    plain = pictures(write(root, inspect(root / "data", row0="mirrored")))[0]
    mask[3:5, 30:32] = 255
    Image.fromarray(mask).save(file)

    ringed = pictures(write(root, inspect(root / "data", row0="mirrored")))[0]

    difference = np.asarray(ringed, float) - np.asarray(plain, float)
    y, x = np.nonzero(np.abs(difference).max(axis=2) > 60)
    assert x.mean() / ringed.width == pytest.approx(31 / 64, abs=0.02)
    assert y.mean() / ringed.height == pytest.approx(4 / 64, abs=0.03)
    assert len(x) > 50


def broken(root: Path) -> pd.DataFrame:
    """One file of each kind that may stand in the quarantine, and rows without any file."""
    images, masks = root / "data/Normal/images", root / "data/Normal/masks"
    (images / "empty.png").write_bytes(b"")
    whole = (images / "Normal-1.png").read_bytes()
    (images / "half.png").write_bytes(whole[: len(whole) // 2])
    colour = np.zeros((70, 90, 3), np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(images / "colour.png")
    deep = np.arange(80 * 80, dtype=np.uint16).reshape(80, 80)
    Image.fromarray(deep).save(images / "deep.png")
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(masks / "smooth.png")
    (root / "secret.png").write_bytes(whole)
    return aside(
        ("Normal/images/empty.png", "empty_file"),
        ("Normal/images/half.png", "truncated"),
        ("Normal/images/half.png", "mode"),
        ("Normal/images/colour.png", "not_grayscale"),
        ("Normal/images/deep.png", "bit_depth"),
        ("Normal/masks/smooth.png", "mask_values"),
        ("Normal/masks/Normal-2.png", "mask_inverted"),
        ("Normal/images/Normal-2.png", "unpaired"),
        ("Normal/images/Normal-2.png", "path"),
        ("Normal/images/Normal-2.png", "too_large"),
        ("../secret.png", "unpaired"),
        (str(root / "secret.png"), "unpaired"),
        ("Normal/images", "unpaired"),
        ("Normal/images/null\0.png", "unpaired"),
        ("Normal/images/" + "x" * 300, "unpaired"),
        ("", "unpaired"),
    )


def test_what_was_set_aside_is_shown_if_it_can_be_decoded_safely(dataset: Made) -> None:
    root = dataset(Normal=3)

    text = write(root, inspect(root / "data"), quarantine=broken(root))

    assert len(pictures(text)) == 5
    assert text.count("No picture:") == 11
    assert sorted(p.mode for p in pictures(text)) == ["L", "L", "L", "RGB", "RGB"]
    assert text.count("To do: mend it") == 16


def test_a_large_picture_is_not_decoded(dataset: Made) -> None:
    root = dataset(Normal=1)
    Image.new("1", (5000, 5000)).save(root / "data/Normal/images/vast.png")

    text = write(
        root, inspect(root / "data")[:1], quarantine=aside(("Normal/images/vast.png", "mode"))
    )

    assert pictures(text) == []


@pytest.mark.parametrize("name", [HOSTILE, "a\u202egnp.exe", "\x07\u200bbell\n"])
def test_hostile_names_stay_text(dataset: Made, name: str) -> None:
    root = dataset(Normal=2)
    manifest = inspect(root / "data", row0="rotated", row1=HOSTILE.replace(" ", "\u00a0"))
    manifest["image_id"] = manifest["class_name"] = name
    shifts = shift(name, "lung_area", 3.0, 0.2, 0.1)

    text = write(
        root, manifest, quarantine=aside((name, name), (f"{name}/{name}", name)), shifts=shifts
    )

    assert "<img src=x" not in text
    assert not set("\u202e\u200b\x07") & set(text)
    assert attributes(text).isdisjoint({"onerror", "onload", "onclick"})


def test_no_more_than_a_fixed_number_of_pictures_is_shown(dataset: Made) -> None:
    root = dataset(Normal=2)
    manifest = pd.concat([inspect(root / "data", row0="mirrored")] * 60, ignore_index=True)
    many = aside(*[("Normal/images/Normal-1.png", "truncated")] * 100, ("lost.png", "missing"))

    text = write(root, manifest, quarantine=many)

    assert len(pictures(text)) == SHOWN + SHOWN - 1
    assert "and 12 more, see the column flags" in text
    assert "and 53 more, see quarantine.csv" in text
    assert "lost.png" in text  # each reason is among those shown


def test_a_shift_of_lung_area_is_shown_as_masks_and_as_typical_pairs(dataset: Made) -> None:
    root = dataset(Normal=6, COVID=6)
    manifest = inspect(root / "data")
    reference = manifest["lung_area"].iloc[7]

    text = write(root, manifest, shifts=shift("COVID", "lung_area", 1.9, 0.9, reference))

    assert "1 shift that stands out" in re.sub(r"</?strong>", "", text)
    assert "(+1.9)" in text
    assert "Typical lung of COVID against that of the other classes" in text
    assert len(pictures(text)) == 1 + 2 * 4
    largest = manifest[manifest["class_name"] == "COVID"].nlargest(4, "lung_area")["image_id"]
    typical = text[text.index("Typical of COVID") : text.index("Typical of the other")]
    assert re.findall("<b>(.*?)</b>", typical) == list(largest)
    other = text[text.index("Typical of the other") :]
    assert re.search("<b>(.*?)</b>", other)[1] == manifest["image_id"].iloc[7]  # type: ignore[index]


def test_a_shift_of_intensity_is_shown_as_mean_radiographs(dataset: Made) -> None:
    root = dataset(Normal=5, COVID=5)

    text = write(root, inspect(root / "data"), shifts=shift("COVID", "intensity", -2.0, 100, 150))

    assert "Mean radiograph of COVID" in text
    assert "Mean radiograph of the other classes" in text
    assert len(pictures(text)) == 2 + 2 * 4


@pytest.mark.parametrize("value", [0.4, -1.2, float("nan")])
def test_a_small_shift_has_no_pictures(dataset: Made, value: float) -> None:
    root = dataset(Normal=2, COVID=2)

    text = write(root, inspect(root / "data"), shifts=shift("COVID", "lung_area", value, 0.3, 0.2))

    assert "Nothing stands out." in text
    assert pictures(text) == []


def test_a_single_class_is_compared_with_itself(dataset: Made) -> None:
    root = dataset(Normal=9)

    text = write(root, inspect(root / "data"), shifts=shift("Normal", "lung_area", 2.0, 0.3, 0.1))

    assert len(pictures(text)) == 8
    assert len(set(re.findall("<b>(.*?)</b>", text))) == 8


def test_files_that_went_missing_leave_placeholders(dataset: Made) -> None:
    root = dataset(Normal=2, COVID=2)
    manifest = inspect(root / "data", row0="rotated")
    for file in (root / "data").rglob("*.png"):
        file.unlink()
    shifts = pd.concat([shift("COVID", name, 2.0, 0.3, 0.2) for name in ("lung_area", "intensity")])

    text = write(root, manifest, shifts=shifts)

    assert pictures(text) == []
    assert text.count("No picture:") == 1 + 2 * 4


def test_a_dataset_of_which_nothing_is_left_has_a_page(dataset: Made) -> None:
    root = dataset(Normal=2)
    lost = aside(("Normal/images/Normal-1.png", "truncated"))

    text = write(root, inspect(root / "data")[:0], quarantine=lost)

    assert "0 pairs of radiograph" in text
    assert len(pictures(text)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_opens_in_a_browser_without_errors(
    browser: Any, dataset: Made, width: int
) -> None:
    root = dataset(Normal=8, COVID=8)
    manifest = inspect(root / "data", row0="rotated stray_components", row9="one_lung")
    shifts = pd.concat(
        [
            shift("COVID", "lung_area", 2.0, 0.3, 0.2),
            shift("COVID", "intensity", 2.0, 120, 100),
        ]
    )
    quarantine = pd.concat([broken(root), aside((HOSTILE, HOSTILE))])
    write(root, manifest, quarantine=quarantine, shifts=shifts)

    resize(browser, width)
    open_page(browser, root / "page/index.html")

    # 2 charts, 2 swatches, 3 means, 16 examples, 5 set aside, 3 flagged.
    assert browser.execute_script("return document.images.length") == 31
    assert browser.execute_script("return document.querySelectorAll('img:not([alt])').length") == 0
    assert overhang(browser) == 0
