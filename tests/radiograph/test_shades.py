"""From stored values to grey: what is declared, what is there, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import Display, Lookup, Window
from pipeline.radiograph.formats.shades import judge_shades, to_grey
from pipeline.radiograph.reading import Loaded, load_radiograph
from tests.radiograph.containers import dicom
from tests.radiograph.test_ways import saved
from tests.radiograph.ways import picture

PICTURE = picture()
TWELVE = PICTURE.astype(np.uint16) * 16
WINDOW = {"WindowCenter": 2040.5, "WindowWidth": 4081}


def loaded(folder: Path, dataset: FileDataset, syntax: str = ExplicitVRLittleEndian) -> Loaded:
    dataset.file_meta.TransferSyntaxUID = syntax
    return load_radiograph(saved(folder / "a.dcm", dataset))


def differs(found: Loaded, expected: NDArray[Any] = PICTURE) -> int:
    return int(np.abs(found.pixels.astype(int) - expected).max())


def table(entries: NDArray[Any], descriptor: tuple[int, int, int], kind: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", list(descriptor))
    packed = entries.astype(np.uint8 if descriptor[2] == 8 and kind == "OW" else "<u2")
    item.add_new("LUTData", kind, packed.tobytes() if kind == "OW" else entries.tolist())
    return item


@pytest.mark.parametrize(
    ("stored", "bits"),
    [
        (PICTURE.astype(np.uint16) * 3 + 200, 12),
        (PICTURE.astype(np.uint16) * 70, 16),
        (PICTURE.astype(np.int16) * 4 - 900, 12),
        (PICTURE // 4 + 100, 8),
    ],
)
def test_part_of_the_declared_range_is_spread_and_noted(
    tmp_path: Path, stored: NDArray[Any], bits: int
) -> None:
    found = loaded(tmp_path, dicom(stored, bits))

    low, high = int(stored.min()), int(stored.max())
    assert differs(found, np.rint((stored - low) * (255.0 / (high - low)))) == 0
    (note,) = found.notes
    assert note.startswith(f"no usable window, and values {low} to {high} are ")
    assert note.endswith("spread from black to white")


def test_a_16_bit_png_is_spread_as_dicom_is(tmp_path: Path) -> None:
    Image.fromarray(PICTURE.astype(np.uint16) * 70).save(tmp_path / "a.png")

    found = load_radiograph(tmp_path / "a.png")

    assert differs(found) == 0
    assert "values 0 to 17850 are 27% of the declared range 0 to 65535" in found.notes[0]


def test_a_marker_and_padding_do_not_hide_that_the_rest_is_dark(tmp_path: Path) -> None:
    stored = PICTURE.astype(np.uint16) * 3 + 200
    stored[:3, :6] = 4095
    padded = stored.copy()
    padded[:, :20] = 0

    by_marker = loaded(tmp_path, dicom(stored, 12))
    by_padding = loaded(tmp_path, dicom(padded, 12, PixelPaddingValue=0))

    assert differs(by_marker, np.where(stored == 4095, 255, PICTURE)) <= 3
    assert differs(by_padding, np.where(padded, PICTURE, 0)) <= 3


def test_padding_may_be_a_range(tmp_path: Path) -> None:
    stored = PICTURE.astype(np.int16) * 3 - 400
    stored[:, :20] = np.where(PICTURE[:, :20] > 90, -2000, -2010)
    ends = {"PixelPaddingValue": -2010, "PixelPaddingRangeLimit": -2000}

    found = loaded(tmp_path, dicom(stored, 12, **ends))

    assert differs(found, np.where(stored <= -2000, 0, PICTURE)) <= 1


def test_what_hardly_varies_is_not_spread(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(2000, 9, (64, 64)).astype(np.uint16)

    for stored, said in [(TWELVE // 400, "holds 11 values from 0 to 10"), (noise, "as noise does")]:
        with pytest.raises(UnreadableError, match=said) as caught:
            loaded(tmp_path, dicom(stored, 12))
        assert caught.value.reason == "constant"


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"WindowCenter": 20_000, "WindowWidth": 300}, "20000/300 is left aside: it has 100%"),
        ({"WindowCenter": 2000, "WindowWidth": 60_000}, "shows the values in 7% of the range"),
        ({"WindowCenter": 2000, "WindowWidth": 1}, "leaves 2 shades"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "a window of width 0 is left aside"),
        ({"WindowCenter": 2000, "WindowWidth": -9}, "a window of width -9 is left aside"),
        ({"WindowCenter": 2000}, "centre or width is missing"),
        ({"WindowWidth": 4000}, "centre or width is missing"),
        ({"VOILUTSequence": [Dataset()]}, "has no LUTDescriptor or LUTData"),
        ({"VOILUTSequence": [table(np.arange(4096), (4100, 0, 12))]}, "has 4096 of 4100 entries"),
        ({"VOILUTSequence": [table(np.full(4096, 7), (4096, 0, 12))]}, "has equal entries"),
        ({"VOILUTSequence": [table(np.arange(90), (90, 9000, 8))]}, "table is left aside: it has"),
        ({"ModalityLUTSequence": [table(np.arange(90), (90, 9000, 8))]}, "modality table is left"),
        ({"ModalityLUTSequence": [Dataset()]}, "a table of ModalityLUTSequence is left aside"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
    ],
)
def test_what_is_unusable_gives_way_to_what_is_there(
    tmp_path: Path, window: dict[str, Any], said: str
) -> None:
    stored = PICTURE.astype(np.uint16) * 257 >> 4

    found = loaded(tmp_path, dicom(stored, 12, **window))

    assert differs(found) <= 1
    assert said in "; ".join(found.notes)


def test_a_window_that_is_no_number_is_left_aside(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.dcm", dicom(TWELVE, 12, WindowCenter="2048.5", WindowWidth="4096"))
    path.write_bytes(path.read_bytes().replace(b"2048.5", b"2048,5"))

    found = load_radiograph(path)

    assert differs(found) <= 1
    assert found.notes == ("the windows are left aside: WindowCenter is not a number",)


def test_raw_values_are_pointed_out(tmp_path: Path) -> None:
    (note,) = loaded(tmp_path, dicom(PICTURE, PixelIntensityRelationship="LIN")).notes

    assert note.startswith("PixelIntensityRelationship is LIN")


def test_swapped_bytes_are_noted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 99, PICTURE.shape)
    swapped = (PICTURE * np.uint16(250) + noise).astype(np.uint16).byteswap()

    (note,) = loaded(tmp_path, dicom(swapped, 16)).notes

    assert note.startswith("values vary from pixel to pixel as noise does")


def test_the_next_table_and_then_the_window_counts(tmp_path: Path) -> None:
    short, good = table(np.arange(4000), (4096, 0, 12)), table(np.arange(4096), (4096, 0, 12))

    by_table = loaded(tmp_path, dicom(TWELVE, 12, VOILUTSequence=[short, good]))
    by_window = loaded(tmp_path, dicom(TWELVE, 12, VOILUTSequence=[short], **WINDOW))

    assert (differs(by_table), differs(by_window)) == (1, 0)
    assert by_table.notes == by_window.notes
    assert by_window.notes == (
        "a table of VOILUTSequence is left aside: it has 4000 of 4096 entries",
    )


@pytest.mark.parametrize("depth", [16, 10, 0, 40])
def test_the_entries_range_counts_where_they_do_not_fit_the_depth(
    tmp_path: Path, depth: int
) -> None:
    entries = table(np.arange(4096), (4096, 0, depth))

    found = loaded(tmp_path, dicom(TWELVE, 12, VOILUTSequence=[entries]))

    assert differs(found) <= 1
    assert found.notes == (
        f"table of {depth} bits has entries from 0 to 4095, which are taken for its range",
    )


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("kind", ["US", "OW"])
@pytest.mark.parametrize("signed", [False, True])
def test_twins_in_other_encodings_read_alike(
    tmp_path: Path, keyword: str, kind: str, signed: bool
) -> None:
    """The sign of the first value and the kind of the entries are not told by implicit files."""
    shift = -1024 if signed or keyword == "VOILUTSequence" else 0
    stored = TWELVE.astype(np.int16) + shift if signed else TWELVE
    intercept = {"RescaleIntercept": shift, "RescaleSlope": 1} if not signed and shift else {}
    item = table(np.arange(4096), (4096, shift, 12), kind)

    twins = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        dataset = dicom(stored, 13, **{keyword: [item]}, **intercept)
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
            if kind == "OW":
                item.LUTData = np.arange(4096).astype(">u2").tobytes()
        twins.append(loaded(tmp_path, dataset, syntax))

    assert [differs(twin) for twin in twins] == [1, 1, 1]
    assert {twin.notes for twin in twins} == {()}


def test_entries_of_a_byte_are_told_from_a_table_that_is_short(tmp_path: Path) -> None:
    packed = table(np.arange(256), (256, 0, 8), "OW")
    listed = Dataset()
    listed.add_new("LUTDescriptor", "US", [256, 0, 8])
    listed.add_new("LUTData", "US", np.arange(256, dtype=np.uint8).view("<u2").tolist())
    short = table(np.arange(128), (256, 0, 8))

    for item, notes in [(packed, 0), (listed, 0), (short, 1)]:
        found = loaded(tmp_path, dicom(PICTURE, VOILUTSequence=[item]))
        assert differs(found) == 0
        assert len(found.notes) == notes


@pytest.mark.parametrize(
    ("elements", "contradicts"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PixelIntensityRelationshipSign": 1}, True),
        ({"PixelIntensityRelationshipSign": -1}, False),
        ({"PixelIntensityRelationshipSign": 1, "RescaleSlope": -1}, False),
    ],
)
def test_a_polarity_that_contradicts_itself_is_noted(
    tmp_path: Path, elements: dict[str, Any], contradicts: bool
) -> None:
    found = loaded(tmp_path, dicom(PICTURE, **elements))

    assert any("contradict each other" in note for note in found.notes) == contradicts


@pytest.mark.parametrize(("shape", "inverted"), [("IDENTITY", False), ("INVERSE", True)])
def test_a_missing_photometric_interpretation_follows_from_the_shape(
    tmp_path: Path, shape: str, inverted: bool
) -> None:
    dataset = dicom(PICTURE, PhotometricInterpretation=None, PresentationLUTShape=shape)

    assert differs(loaded(tmp_path, dataset), 255 - PICTURE if inverted else PICTURE) == 0


def test_an_odd_window_is_used_and_noted() -> None:
    codes = (np.arange(64 * 64) % 4096).astype(np.uint16).reshape(64, 64)

    _, narrow = to_grey(codes, Display(12, ways=(Window(3000, 1200),)))
    _, wide = to_grey(codes, Display(12, ways=(Window(2048, 12_000),)))
    _, table_note = to_grey(codes, Display(12, ways=(Lookup(0, np.arange(4096), 0, 9000, "said"),)))

    assert narrow == ("window 3000/1200 has 71% of the pixels beyond its ends",)
    assert wide == ("window 2048/12000 shows the values in 34% of the range from black to white",)
    assert table_note[0] == "said"


def test_few_shades_of_8_bits_are_noted_and_left_as_they_are(tmp_path: Path) -> None:
    dark = PICTURE // 8
    cv2.imwrite(str(tmp_path / "a.png"), dark)

    found = load_radiograph(tmp_path / "a.png")

    assert differs(found, dark) == 0
    assert found.notes == ("holds 32 shades in 12% of the range from black to white",)
    assert judge_shades(PICTURE) == ()
