"""Which bits of a word are the value: as declared, or as the words tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.bits import Layout, read_bits
from pipeline.radiograph.reading import load_radiograph
from tests.radiograph.containers import dicom
from tests.radiograph.test_ways import saved
from tests.radiograph.ways import picture

PICTURE = picture()
TWELVE = PICTURE.astype(np.uint16) * 257 >> 4
OVERLAY = np.zeros(PICTURE.shape, np.uint16)
OVERLAY[20:40, 10:50] = 1 << 15


def codes(words: NDArray[Any], bits: int, high: int | None = None, *, signed: bool = False) -> Any:
    return read_bits(words, Layout(16, bits, bits - 1 if high is None else high, signed))


@pytest.mark.parametrize(
    ("words", "high", "said"),
    [
        (TWELVE, 11, ""),
        (TWELVE << 4, 15, ""),
        (TWELVE | OVERLAY, 11, "bits above the lowest 12 are left out"),
        (TWELVE << 4 | OVERLAY >> 13, 15, "bits below the lowest of 12 are left out"),
        (TWELVE, 15, "HighBit 15 declared and the lowest bits used, which are taken"),
    ],
)
def test_the_stored_bits_are_cut_out(words: NDArray[Any], high: int, said: str) -> None:
    found = codes(words, 12, high)

    np.testing.assert_array_equal(found.codes, TWELVE)
    assert found.notes == ((said,) if said else ())


@pytest.mark.parametrize("extended", [False, True])
def test_a_sign_may_be_repeated_above(extended: bool) -> None:
    values = TWELVE.astype(np.int16) - 2048

    found = codes(values if extended else values & 0xFFF, 12, signed=True)

    np.testing.assert_array_equal(found.codes, values & 0xFFF)
    assert (found.bits, found.signed, found.notes) == (12, True, ())


@pytest.mark.parametrize(
    ("words", "bits", "signed", "expected"),
    [
        (TWELVE, 12, True, (12, False)),
        ((TWELVE.astype(np.int16) - 2048) & 0xFFF, 12, False, (12, True)),
        (TWELVE << 2, 12, False, (14, False)),
        ((TWELVE.astype(np.int16) - 2048) & 0xFFF, 16, True, (12, True)),
    ],
)
def test_words_that_the_declared_bits_tear_are_read_by_what_they_are(
    words: NDArray[Any], bits: int, signed: bool, expected: tuple[int, bool]
) -> None:
    found = codes(words, bits, signed=signed)

    assert (found.bits, found.signed) == expected
    assert "found, which are taken" in found.notes[0]


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"HighBit": None}, ""),
        ({"BitsStored": None}, ""),
        ({"BitsStored": None, "HighBit": None, "WindowCenter": 2048, "WindowWidth": 4096}, ""),
        ({"BitsAllocated": None}, ""),
        ({"SamplesPerPixel": None}, ""),
        ({"PixelRepresentation": None}, "PixelRepresentation is missing or unknown"),
        ({"PixelRepresentation": 7}, "PixelRepresentation is missing or unknown"),
        ({"HighBit": 5}, "HighBit is 5 for 12 bits: taken as 11"),
        ({"BitsStored": 19}, "BitsStored is 19 of 16: taken as 16"),
    ],
)
def test_what_can_be_inferred_is(tmp_path: Path, elements: dict[str, Any], said: str) -> None:
    found = load_radiograph(saved(tmp_path / "a.dcm", dicom(TWELVE, 12, **elements)))

    assert np.abs(found.pixels.astype(int) - PICTURE).max() <= 1
    assert any(said in note for note in found.notes) if said else not found.notes


def test_a_missing_syntax_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.dcm", dicom(PICTURE))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI"))

    np.testing.assert_array_equal(load_radiograph(path).pixels, PICTURE)


def test_compressed_pixels_without_their_bits_or_syntax_are_refused_by_name(
    tmp_path: Path,
) -> None:
    dataset = dicom(PICTURE)
    dataset.compress(RLELossless, generate_instance_uid=False)
    path = saved(tmp_path / "a.dcm", dataset)
    path.write_bytes(path.read_bytes().replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI"))
    with pytest.raises(UnreadableError, match="has no TransferSyntaxUID"):
        load_radiograph(path)

    del dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    with pytest.raises(UnreadableError, match="has no BitsAllocated"):
        load_radiograph(saved(path, dataset))


@pytest.mark.parametrize("syntax", ["", RLELossless])
def test_a_size_that_is_not_that_of_the_pixels_is_found(tmp_path: Path, syntax: str) -> None:
    def refused(rows: int, columns: int) -> str:
        dataset = dicom(PICTURE)
        if syntax:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.Rows, dataset.Columns = rows, columns
        with pytest.raises(UnreadableError) as caught:
            load_radiograph(saved(tmp_path / "a.dcm", dataset))
        return caught.value.reason

    rows, columns = PICTURE.shape
    assert refused(columns, rows) == "header"
    assert {refused(rows - 2, columns), refused(rows, columns - 2)} == {"truncated"}
    assert {refused(rows + 2, columns), refused(rows, columns + 2)} == {"truncated"}
