from __future__ import annotations

import hashlib
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.jpeg_frames import decode_frame
from pipeline.radiograph.reading import load_radiograph
from tests.radiograph.containers import dicom, dicom_bytes, encoded
from tests.radiograph.jpeg_streams import (
    extended,
    graded,
    lossless,
    lossless_by_hand,
    ls,
    noisy,
    segment,
)

# Of dcmtk 3.6.7, from `graded`: dcmcjpeg +el and +e1, dcmcjpls, dcmcjpls +en +md 3, dcmcjpeg +ee.
DCMTK = Path(__file__).parent / "dcmtk"
NAMED = re.compile(r"(\d+)([su])$")


def kind_of(path: Path) -> tuple[int, bool]:
    """Bits, and whether signed, by a file's name."""
    found = NAMED.search(path.stem)
    assert found
    return int(found[1]), found[2] == "s"


def decoded_file(path: Path) -> NDArray[np.int32]:
    header = dcmread(path)
    frame = get_frame(header.PixelData, 0, number_of_frames=1)
    return decode_frame(
        frame, header.Rows, header.Columns, header.BitsStored, header.PixelRepresentation == 1
    )


def decoded(stream: bytes, pixels: NDArray[Any], bits: int = 12) -> NDArray[np.int32]:
    return decode_frame(stream, *pixels.shape, bits, False)


@pytest.mark.parametrize("path", sorted(DCMTK.glob("l*_*[0-9][su].dcm")), ids=lambda p: p.stem)
def test_what_dcmtk_compressed_is_exact(path: Path) -> None:
    near = 3 if "near" in path.stem else 0

    np.testing.assert_allclose(decoded_file(path), graded(*kind_of(path)).astype(int), atol=near)


def test_extended_jpeg_is_as_dcmtk_decodes_it() -> None:
    found = decoded_file(DCMTK / "extended_12u.dcm").astype("<u2").tobytes()

    of_dcmdjpeg = "96dd62d15546247d8b4b8d71fe99ee984b021fca0d90c6c35e66e9d69bc47739"
    assert hashlib.sha256(found).hexdigest() == of_dcmdjpeg


@pytest.mark.parametrize("path", sorted(DCMTK.glob("*.dcm")), ids=lambda p: p.stem)
def test_a_compressed_file_shows_the_radiograph(tmp_path: Path, path: Path) -> None:
    bits, signed = kind_of(path)
    plain = tmp_path / "a.dcm"
    plain.write_bytes(dicom_bytes(dicom(graded(bits, signed), bits)))

    found = load_radiograph(path)

    expected = load_radiograph(plain)
    assert found.mode == expected.mode
    np.testing.assert_allclose(
        found.pixels.astype(int),
        expected.pixels,
        atol=1 if "near" in path.stem or "extended" in path.stem else 0,
    )


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 8, 12, 16])
@pytest.mark.parametrize("draw", [graded, noisy])
def test_every_predictor_is_exact(predictor: int, bits: int, draw: Any) -> None:
    pixels = draw(bits)

    np.testing.assert_array_equal(decoded(lossless(pixels, bits, predictor), pixels, bits), pixels)


@pytest.mark.parametrize("predictor", [1, 4, 6, 7])
@pytest.mark.parametrize(("shift", "restart_rows"), [(0, 0), (2, 0), (0, 1), (0, 10), (3, 16)])
def test_point_transforms_and_restarts_are_exact(
    predictor: int, shift: int, restart_rows: int
) -> None:
    pixels = (noisy(12) >> shift) << shift

    stream = lossless_by_hand(pixels, 12, predictor, shift, restart_rows)

    np.testing.assert_array_equal(decoded(stream, pixels), pixels)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("draw", [graded, noisy])
def test_jpeg_ls_is_exact(bits: int, draw: Any) -> None:
    np.testing.assert_array_equal(decoded(ls(draw(bits)), draw(bits), bits), draw(bits))


def test_a_stream_of_16_bits_holds_the_sign_of_12() -> None:
    pixels = graded(12, signed=True)
    stream = lossless(pixels.view(np.uint16), 16)

    np.testing.assert_array_equal(decode_frame(stream, *pixels.shape, 12, True), pixels)


def test_a_stream_of_fewer_bits_than_the_header_has_no_sign() -> None:
    pixels = graded(12)

    np.testing.assert_array_equal(
        decode_frame(lossless(pixels, 12), *pixels.shape, 16, True), pixels
    )


@pytest.mark.parametrize(
    "syntax",
    [JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless],
)
@pytest.mark.parametrize("stream", [lossless(graded(12), 12), ls(graded(12)), extended(graded(12))])
def test_what_a_stream_is_counts_not_what_it_is_called(
    tmp_path: Path, syntax: str, stream: bytes
) -> None:
    dataset = dicom(graded(12), 12)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream], fragments_per_frame=2)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(dataset))
    (tmp_path / "b.dcm").write_bytes(dicom_bytes(dicom(graded(12), 12)))

    np.testing.assert_allclose(
        load_radiograph(tmp_path / "a.dcm").pixels.astype(int),
        load_radiograph(tmp_path / "b.dcm").pixels,
        atol=1,
    )


def test_8_bits_within_extended_jpeg_are_read() -> None:
    pixels = graded(8)

    np.testing.assert_allclose(
        decoded(encoded(pixels, "JPEG", quality=98), pixels, 8), pixels.astype(int), atol=3
    )


def test_application_data_are_left_out() -> None:
    pixels = graded(12)
    for stream in (lossless(pixels, 12), ls(pixels)):
        noted = stream[:2] + segment(0xE8, b"SPIFF\0" + b"?" * 99) + stream[2:]

        np.testing.assert_array_equal(decoded(noted, pixels), pixels)


@pytest.mark.parametrize("end", [b"\0\0\0\xff\xff\xd9", b"\xff\xff\xff\xd9", b"\xff\xd9\0\0"])
def test_padding_behind_the_pixels_is_no_damage(end: bytes) -> None:
    pixels = noisy(12)

    np.testing.assert_array_equal(decoded(lossless(pixels, 12)[:-2] + end, pixels), pixels)
    if not end.startswith(b"\0"):
        np.testing.assert_array_equal(decoded(ls(pixels)[:-2] + end, pixels), pixels)


def test_a_stream_of_nothing_but_restarts_costs_nothing() -> None:
    start = STREAM.index(b"\xff\xda") + 10
    hollow = STREAM[:start] + b"\xff\xd0" * 10**6 + b"\xff\xd9"

    tracemalloc.start()
    with pytest.raises(UnreadableError):
        decode_frame(hollow, 64, 72, 12, False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * len(hollow)


STREAM = lossless(noisy(12), 12)
COMPRESSED = STREAM.index(b"\xff\xda") + 10
LS_STREAM = ls(noisy(12))


def edited(stream: bytes, place: int, field: bytes) -> bytes:
    return stream[:place] + field + stream[place + len(field) :]


def header_changed(stream: bytes, marker: bytes, place: int, field: bytes) -> bytes:
    return edited(stream, stream.index(marker) + place, field)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"", "do not begin as JPEG"),
        (b"\0" * 100, "do not begin as JPEG"),
        (STREAM[:-2], "ends within its pixels"),
        (LS_STREAM[:-2], "ends within its pixels"),
        (STREAM[:60], "ends within|breaks off"),
        (b"\xff\xd8\xff\xd9", "has no picture"),
        (STREAM[:-2] + STREAM[2:], "has no picture, or several"),
        (STREAM[:-2] + STREAM[STREAM.index(b"\xff\xda") :], "has 2 scans"),
        (header_changed(STREAM, b"\xff\xc3", 5, struct.pack(">HH", 1, 60_000)), "60000x1, not as"),
        (header_changed(LS_STREAM, b"\xff\xf7", 5, struct.pack(">HH", 64, 73)), "73x64, not as"),
        (header_changed(STREAM, b"\xff\xc3", 5, b"\0\0"), "72x0 of 1 channels"),
        (header_changed(STREAM, b"\xff\xc3", 9, b"\3"), "of 3 channels"),
        (header_changed(STREAM, b"\xff\xc3", 4, b"\x11"), "and 17 bits"),
        (header_changed(STREAM, b"\xff\xc3", 4, b"\x02"), "cannot be decoded|longer or shorter"),
        (
            b"\xff\xd8" + segment(0xC3, b"\x0c\0\x40") + STREAM[STREAM.index(b"\xff\xda") :],
            "too short",
        ),
        (edited(STREAM, COMPRESSED + 100, b"\0" * 40), "longer or shorter"),
        (STREAM[:-200] + b"\xff\xd9", "longer or shorter"),
        (STREAM[: COMPRESSED + 99] + STREAM[COMPRESSED + 199 :], "longer or shorter"),
        (STREAM[:-2] + b"more than padding" + b"\xff\xd9", "longer or shorter"),
        (lossless_by_hand(noisy(12), 12, restart_rows=8)[:-300] + b"\xff\xd9", "longer or|more or"),
        (LS_STREAM[:-200] + b"\xff\xd9", "cannot be decoded"),
        (LS_STREAM[:-2] + b"more than padding" + b"\xff\xd9", "cannot be decoded"),
    ],
)
def test_a_stream_that_is_not_whole_is_damaged(stream: bytes, said: str) -> None:
    with pytest.raises(UnreadableError, match=said) as caught:
        decode_frame(stream, 64, 72, 12, False)
    assert caught.value.reason == "truncated"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("marker", [b"\xff\xc9", b"\xff\xcb", b"\xff\xc7"])
def test_codings_that_nobody_uses_are_named(marker: bytes) -> None:
    with pytest.raises(UnreadableError, match="is JPEG of the kind C") as caught:
        decode_frame(STREAM.replace(b"\xff\xc3", marker), 64, 72, 12, False)
    assert caught.value.reason == "mode"
