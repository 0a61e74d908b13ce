from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagecodecs import htj2k_encode
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import Window
from pipeline.radiograph.reading import Loaded, load_radiograph, read_radiograph
from tests.radiograph.containers import dicom, dicom_bytes, encoded

GREY = (np.arange(64 * 64) // 16).astype(np.uint8).reshape(64, 64)


def written(folder: Path, dataset: FileDataset) -> Path:
    path = folder / "a.dcm"
    path.write_bytes(dicom_bytes(dataset))
    return path


def loaded(folder: Path, dataset: FileDataset) -> Loaded:
    return load_radiograph(written(folder, dataset))


def reason(folder: Path, dataset: FileDataset) -> str:
    path = written(folder, dataset)
    with pytest.raises(UnreadableError) as caught:
        read_radiograph(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value.reason


def ramp(bits: int, signed: bool = False) -> NDArray[Any]:
    """Every 64x64 stored value from the lowest to the highest of so many bits."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**bits - 1, 64 * 64).round().reshape(64, 64)
    return values.astype(("i" if signed else "u") + ("1" if bits <= 8 else "2"))


def table(entries: list[int], first: int, depth: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, depth]
    item.LUTData = entries
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


DEPTHS = [(8, False), (10, False), (12, False), (15, False), (16, False), (8, True), (12, True)]
DEPTHS += [(16, True)]
TRANSFORMATIONS: dict[str, Any] = {
    "full range": lambda bits: {},
    "rescale": lambda bits: {"RescaleSlope": 2, "RescaleIntercept": -1000},
    "falling rescale": lambda bits: {"RescaleSlope": -1, "RescaleIntercept": 2**bits - 1},
    "window": lambda bits: {"WindowCenter": 2**bits / 4, "WindowWidth": 2**bits / 2},
    "two windows": lambda bits: {
        "WindowCenter": [2**bits / 4, 0],
        "WindowWidth": [2**bits / 2, 1],
    },
    "exact window": lambda bits: {
        "WindowCenter": 2**bits / 4,
        "WindowWidth": 2**bits / 2,
        "VOILUTFunction": "LINEAR_EXACT",
    },
    "sigmoid": lambda bits: {
        "WindowCenter": 2**bits / 4,
        "WindowWidth": 2**bits / 4,
        "VOILUTFunction": "SIGMOID",
    },
    "table": lambda bits: {"VOILUTSequence": [table(curve(bits, 1023), 50, 10)]},
    "modality table": lambda bits: {"ModalityLUTSequence": [table(curve(bits, 255), 20, 8)]},
}


def curve(bits: int, top: int) -> list[int]:
    """A table's entries for half of the values, or a quarter."""
    places = np.arange(2 ** (min(bits, 15) - 1))  # of US, 64 kB at most
    return [int(entry) for entry in places**2 * top // places[-1] ** 2]


def expected_brightness(name: str, stored: NDArray[Any], bits: int, signed: bool) -> NDArray[Any]:
    """Written out per transformation, from the standard's text."""
    low = -(2 ** (bits - 1)) if signed else 0
    full = (stored - low) / (2**bits - 1)
    centre, width = 2**bits / 4, 2**bits / 2
    if name in ("full range", "rescale"):
        return full
    if name == "falling rescale":
        return 1 - full
    if name in ("window", "two windows"):
        return ((stored - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1)
    if name == "exact window":
        return ((stored - centre) / width + 0.5).clip(0, 1)
    if name == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-4 * (stored - centre) / (2**bits / 4))))
    first, top = {"table": (50, 1023), "modality table": (20, 255)}[name]
    entries = np.array(curve(bits, top))
    return np.asarray(entries[(stored - first).clip(0, len(entries) - 1)] / top)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
def test_stored_values_become_shades(
    tmp_path: Path, bits: int, signed: bool, name: str, photometric: str
) -> None:
    stored = ramp(bits, signed)
    elements = TRANSFORMATIONS[name](bits)

    found = loaded(tmp_path, dicom(stored, bits, PhotometricInterpretation=photometric, **elements))

    brightness = expected_brightness(name, stored.astype(np.int64), bits, signed)
    if photometric == "MONOCHROME1":
        brightness = 1 - brightness
    assert found.mode == f"{photometric} {bits} bit"
    assert found.pixels.dtype == np.uint8
    np.testing.assert_allclose(found.pixels, 255 * brightness, atol=0.5001)


@given(
    bits=st.integers(8, 14),
    centre=st.floats(-5000, 20000),
    width=st.floats(1, 40000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_are_those_of_pydicom(
    bits: int, centre: float, width: float, function: str
) -> None:
    described = Dataset()
    described.BitsStored, described.PixelRepresentation = bits, 0
    described.PhotometricInterpretation = "MONOCHROME2"
    described.VOILUTFunction = function
    # As the file can hold them: at most 16 characters.
    described.WindowCenter, described.WindowWidth = f"{centre:.4f}", f"{width:.4f}"
    window = Window(float(described.WindowCenter), float(described.WindowWidth), function)

    brightness, _ = window.show(np.arange(2**bits, dtype=np.float64))
    found = np.rint(255 * brightness)

    with np.errstate(over="ignore"):
        expected = apply_windowing(np.arange(2**bits), described) * 255 / (2**bits - 1)
    np.testing.assert_allclose(found, expected, atol=0.5001)


def test_a_table_goes_before_a_window(tmp_path: Path) -> None:
    falling = table(list(range(4095, -1, -1)), 0, 12)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}

    found = loaded(tmp_path, dicom(ramp(12), 12, VOILUTSequence=[falling], **window))

    np.testing.assert_array_equal(found.pixels, 255 - np.rint(ramp(12) * (255 / 4095)))
    assert found.notes == ()


def test_a_table_of_bytes_is_read(tmp_path: Path) -> None:
    item = table(list(range(256)), 0, 8)
    item["LUTData"].VR = "OW"
    item.LUTData = bytes(range(255, -1, -1))

    np.testing.assert_array_equal(
        loaded(tmp_path, dicom(GREY, VOILUTSequence=[item])).pixels, 255 - GREY
    )


def test_signed_values_without_sign_extension_are_the_same(tmp_path: Path) -> None:
    stored = ramp(12, signed=True)
    cut_off = (stored & 0xFFF).astype(np.int16)

    np.testing.assert_array_equal(
        loaded(tmp_path, dicom(cut_off, 12)).pixels, loaded(tmp_path, dicom(stored, 12)).pixels
    )


def compressed(pixels: NDArray[Any], bits: int, syntax: str) -> FileDataset:
    dataset = dicom(pixels, bits)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
        return dataset
    if syntax == JPEGBaseline8Bit:
        return with_frame(dataset, syntax, encoded(pixels, "JPEG", quality=95))
    if syntax == HTJ2KLossless:
        return with_frame(dataset, syntax, bytes(htj2k_encode(pixels, reversible=True)))
    return with_frame(dataset, syntax, encode_array(pixels, bits_stored=bits))


def with_frame(dataset: FileDataset, syntax: str, frame: bytes) -> FileDataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless, RLELossless])
def test_losslessly_compressed_pixels_are_the_same(tmp_path: Path, bits: int, syntax: str) -> None:
    np.testing.assert_array_equal(
        loaded(tmp_path, compressed(ramp(bits), bits, syntax)).pixels,
        loaded(tmp_path, dicom(ramp(bits), bits)).pixels,
    )


def test_baseline_jpeg_is_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, compressed(GREY, 8, JPEGBaseline8Bit)).pixels

    np.testing.assert_allclose(found.astype(int), GREY, atol=4)


def test_implicit_vr_is_read_and_a_file_without_preamble_is_not(tmp_path: Path) -> None:
    dataset = dicom(GREY)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    np.testing.assert_array_equal(loaded(tmp_path, dataset).pixels, GREY)
    path = tmp_path / "a.dcm"
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(UnreadableError, match="no DICOM content") as caught:
        read_radiograph(path)
    assert caught.value.reason == "not_dicom"


def test_what_a_header_does_not_state_is_no_objection(tmp_path: Path) -> None:
    unstated = dict.fromkeys(["Modality", "BodyPartExamined", "ViewPosition"])

    np.testing.assert_array_equal(loaded(tmp_path, dicom(GREY, **unstated)).pixels, GREY)


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "CR", "BodyPartExamined": "PORT CHEST", "ViewPosition": "AP"},
        {"Modality": "RG", "BodyPartExamined": "THORAX", "ViewPosition": ""},
        {"BodyPartExamined": "", "ViewPosition": "PA_ERECT"},
    ],
)
def test_frontal_chest_radiographs_are_read(tmp_path: Path, elements: dict[str, str]) -> None:
    np.testing.assert_array_equal(loaded(tmp_path, dicom(GREY, **elements)).pixels, GREY)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("not_chest", {"Modality": "CT"}),
    ("not_chest", {"Modality": "OT"}),
    ("not_chest", {"BodyPartExamined": "ABDOMEN"}),
    ("not_chest", {"BodyPartExamined": "TSPINE"}),
    ("not_chest", {"ViewPosition": "LL"}),
    ("not_chest", {"ViewPosition": "LATERAL"}),
    ("mode", {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}),
    ("mode", {"PhotometricInterpretation": "PALETTE COLOR"}),
    ("header", {"PhotometricInterpretation": None}),
    ("mode", {"NumberOfFrames": 2}),
    ("bit_depth", {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}),
    ("header", {"Rows": None}),
    ("truncated", {"Rows": 60}),
    ("truncated", {"Rows": 65}),
    ("truncated", {"Columns": 0}),
    ("too_large", {"Rows": 60_000, "Columns": 300}),
    ("geometry", {"Rows": 32, "Columns": 128}),
    ("mode", {"RescaleSlope": 1e308, "RescaleIntercept": 1e308}),
]


@pytest.mark.parametrize(("expected", "elements"), REFUSED)
def test_a_header_that_does_not_fit_has_its_reason(
    tmp_path: Path, expected: str, elements: dict[str, Any]
) -> None:
    assert reason(tmp_path, dicom(GREY, **elements)) == expected


def test_a_number_that_is_none_is_named(tmp_path: Path) -> None:
    content = dicom_bytes(dicom(GREY, RescaleSlope="1.5"))
    path = tmp_path / "a.dcm"
    path.write_bytes(content.replace(b"1.5 ", b"nan "))

    with pytest.raises(UnreadableError, match="RescaleSlope is not a number") as caught:
        read_radiograph(path)
    assert caught.value.reason == "header"


@pytest.mark.parametrize("keyword", ["PixelData", "Rows", "Columns", "PhotometricInterpretation"])
def test_what_nothing_else_tells_is_named(tmp_path: Path, keyword: str) -> None:
    dataset = dicom(GREY)
    del dataset[keyword]

    with pytest.raises(UnreadableError, match=f"has no {keyword}, ") as caught:
        read_radiograph(written(tmp_path, dataset))
    assert caught.value.reason == "header"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.55", "1.2.3.4"])
def test_other_encodings_are_refused_with_advice(tmp_path: Path, syntax: str) -> None:
    dataset = compressed(GREY, 8, JPEGBaseline8Bit)
    dataset.file_meta.TransferSyntaxUID = syntax

    with pytest.raises(UnreadableError, match="expected uncompressed, deflated, RLE") as caught:
        read_radiograph(written(tmp_path, dataset))
    assert caught.value.reason == "mode"


def box(kind: bytes, body: bytes, length: bytes = b"") -> bytes:
    return (length or struct.pack(">I", 8 + len(body))) + kind + body


def test_a_codestream_within_a_jp2_file_is_read(tmp_path: Path) -> None:
    jp2 = encode_array(GREY, bits_stored=8, codec_format=1)
    plain = encode_array(GREY, bits_stored=8)
    start = jp2[:12] + box(b"free", b"?" * 20)
    long = struct.pack(">Q", 16 + len(plain))

    for frame in (
        jp2,
        start + box(b"jp2c", plain, struct.pack(">I", 0)),
        start + box(b"jp2c", long + plain, struct.pack(">I", 1)),
    ):
        dataset = with_frame(dicom(GREY), JPEG2000Lossless, frame)
        np.testing.assert_array_equal(loaded(tmp_path, dataset).pixels, GREY)
    for frame in (jp2[:12], jp2[:100], start, jp2[:12] + box(b"a" * 4, b"", b"\0" * 4)):
        assert reason(tmp_path, with_frame(dicom(GREY), JPEG2000Lossless, frame)) == "truncated"
    boxes = jp2[:12] + box(b"free", b"") * 200 + box(b"jp2c", plain)
    assert reason(tmp_path, with_frame(dicom(GREY), JPEG2000Lossless, boxes)) == "truncated"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
def test_compressed_pixels_of_another_size_are_damaged(tmp_path: Path, syntax: str) -> None:
    dataset = compressed(GREY, 8, syntax)
    dataset.Rows = 128

    assert reason(tmp_path, dataset) == "truncated"


def test_rle_of_another_size_is_damaged(tmp_path: Path) -> None:
    dataset = compressed(GREY, 8, RLELossless)
    dataset.Rows = 128

    assert reason(tmp_path, dataset) == "truncated"


def test_colours_compressed_within_a_grey_file_are_damaged(tmp_path: Path) -> None:
    colours = encoded(np.dstack([GREY, GREY, GREY]), "JPEG")

    assert reason(tmp_path, with_frame(dicom(GREY), JPEGBaseline8Bit, colours)) == "truncated"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
def test_compressed_pixels_that_break_off_are_damaged(tmp_path: Path, syntax: str) -> None:
    dataset = compressed(GREY, 8, syntax)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    with_frame(dataset, syntax, frame[: len(frame) // 2])

    assert reason(tmp_path, dataset) == "truncated"


def test_a_declared_expansion_that_no_radiograph_has_is_refused(tmp_path: Path) -> None:
    dataset = compressed(GREY, 8, JPEG2000Lossless)
    dataset.Rows = dataset.Columns = 3900

    assert reason(tmp_path, dataset) == "too_large"


@pytest.mark.parametrize(
    ("expected", "place", "field"),
    [
        ("too_large", 24, struct.pack(">II", 1, 1)),  # tiles of one pixel
        ("truncated", 40, struct.pack(">H", 3)),  # three components
        ("truncated", 42, struct.pack(">B", 31)),  # of 32 bits
        ("truncated", 24, struct.pack(">I", 0)),  # tiles of no pixel
        ("truncated", 4, b"\xff\xd9" + b"\0" * 5000),  # the end at once
    ],
)
def test_a_codestream_of_absurd_header_is_refused(
    tmp_path: Path, expected: str, place: int, field: bytes
) -> None:
    pixels = np.tile(GREY, (2, 2))
    frame = encode_array(pixels, bits_stored=8)
    frame = frame[:place] + field + frame[place + len(field) :]

    assert reason(tmp_path, with_frame(dicom(pixels), JPEG2000Lossless, frame)) == expected


def test_burned_in_text_and_inversion_are_noted(tmp_path: Path) -> None:
    marked = dicom(GREY, BurnedInAnnotation="YES", PhotometricInterpretation="MONOCHROME1")

    notes = loaded(tmp_path, marked).notes

    assert notes[0] == "MONOCHROME1, so it is inverted: bright is dense"
    assert notes[1].startswith("declares text burned into the picture")


PERSONAL = {
    "PatientName": "Planted^Person",
    "PatientID": "PLANTED-4711",
    "PatientBirthDate": "PLANTED",  # no date: pydicom warns of it, quoting it
    "InstitutionName": "Planted Hospital",
    "OtherPatientIDs": "PLANTED-0815",
    "SOPInstanceUID": "planted.uid",
}


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"BurnedInAnnotation": "YES", "PhotometricInterpretation": "MONOCHROME1"},
        *[elements for _, elements in REFUSED],
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # while the test writes such values
def test_personal_values_are_neither_logged_nor_in_messages(
    tmp_path: Path,
    elements: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path, dicom(GREY, **PERSONAL, **elements))
    assert b"Planted^Person" in path.read_bytes()
    recwarn.clear()
    caplog.clear()
    said = []
    with caplog.at_level(logging.DEBUG):
        try:
            read = load_radiograph(path)
            said += [read.mode, *read.notes]
        except UnreadableError as error:
            said.append(str(error))

    said += [record.getMessage() for record in caplog.records]
    said += [str(warning.message) for warning in recwarn.list]
    said += capfd.readouterr()
    assert "planted" not in " ".join(said).lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("chest_CR_fake_mono1_8bit_jpeg_RSNA.dcm", "MONOCHROME1 8 bit"),
        ("chest_CR_mono1_16bit_j2k_RG1.dcm", "MONOCHROME1 15 bit"),
        ("chest_CR_mono2_8bit_jpeg_RSNA.dcm", "MONOCHROME2 8 bit"),
        ("chest_DX_mono2_8bit_raw_NIH.dcm", "MONOCHROME2 8 bit"),
    ],
)
def test_real_chest_radiographs_are_read(real_data: Path, name: str, mode: str) -> None:
    found = load_radiograph(real_data / "dicom" / name)

    assert found.mode == mode
    assert 80 < found.pixels.mean() < 200
    assert found.pixels.std() > 30


@pytest.mark.slow
def test_an_altered_header_inverts_the_same_pixels(real_data: Path) -> None:
    folder = real_data / "dicom"
    true = read_radiograph(folder / "chest_CR_mono2_8bit_jpeg_RSNA.dcm")

    fake = read_radiograph(folder / "chest_CR_fake_mono1_8bit_jpeg_RSNA.dcm")

    np.testing.assert_array_equal(fake, 255 - true)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reject_CR_extremity_10bit_mono1_j2k_RG3.dcm", "BodyPartExamined is EXTREMITY"),
        ("reject_OT_abdomen_scout_dicomlibrary.dcm", "Modality is OT"),
    ],
)
def test_real_pictures_of_other_things_are_refused(real_data: Path, name: str, said: str) -> None:
    with pytest.raises(UnreadableError, match=said) as caught:
        read_radiograph(real_data / "dicom" / name)
    assert caught.value.reason == "not_chest"
