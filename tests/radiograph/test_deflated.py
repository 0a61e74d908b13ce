from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pipeline.errors import UnreadableError
from pipeline.radiograph.reading import load_radiograph
from tests.radiograph.containers import dicom, dicom_bytes
from tests.radiograph.jpeg_streams import graded
from tests.radiograph.mutations import mutated

PIXELS = graded(12)


def deflated() -> tuple[bytes, bytes]:
    """The file meta of a deflated file, and its deflated dataset."""
    dataset = dicom(PIXELS, 12)
    plain = dicom_bytes(dataset)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = dicom_bytes(dataset)
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    body = plain[132 + 12 + int.from_bytes(plain[140:144], "little") :]
    assert zlib.decompress(content[start:], -15) == body
    return content[:start], content[start:]


@cache
def bomb() -> bytes:
    """A deflated dataset of 66 MiB."""
    stream = zlib.compressobj(1, wbits=-15)
    return stream.compress(b"\0" * (66 * 2**20)) + stream.flush()


def read(tmp_path: Path, content: bytes) -> np.ndarray:
    (tmp_path / "a.dcm").write_bytes(content)
    return load_radiograph(tmp_path / "a.dcm").pixels


def refused(tmp_path: Path, content: bytes) -> tuple[str, str]:
    with pytest.raises(UnreadableError) as caught:
        read(tmp_path, content)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("behind", [b"", b"\0", b"\0more"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_deflated_file_is_read(tmp_path: Path, wrapped: bool, behind: bytes) -> None:
    meta, packed = deflated()
    if wrapped:  # as some programs write it
        packed = zlib.compress(zlib.decompress(packed, -15))

    found = read(tmp_path, meta + packed + behind)

    np.testing.assert_array_equal(found, read(tmp_path, dicom_bytes(dicom(PIXELS, 12))))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    reason, said = refused(tmp_path, deflated()[0] + bomb())

    assert reason == "too_large"
    assert "inflates to more than 67108864 bytes" in said


@pytest.mark.parametrize("cut", [0, 1, 10, 1000])
def test_a_deflated_file_that_breaks_off_is_damaged(tmp_path: Path, cut: int) -> None:
    meta, packed = deflated()

    assert refused(tmp_path, meta + packed[:cut])[0] == "truncated"


def test_a_file_that_is_not_deflated_as_it_says_is_damaged(tmp_path: Path) -> None:
    meta, packed = deflated()

    assert refused(tmp_path, meta + zlib.decompress(packed, -15))[0] == "truncated"


def test_the_name_of_the_syntax_elsewhere_means_nothing(tmp_path: Path) -> None:
    named = dicom(PIXELS, 12, ImageComments=DeflatedExplicitVRLittleEndian)
    assert named.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian

    np.testing.assert_array_equal(
        read(tmp_path, dicom_bytes(named)), read(tmp_path, dicom_bytes(dicom(PIXELS, 12)))
    )


def test_the_syntax_is_found_behind_anything_that_is_put_before_it(tmp_path: Path) -> None:
    meta, packed = deflated()
    long = b"\x02\0\x00\0OB\0\0" + (5000).to_bytes(4, "little") + b"\0" * 5000

    found = read(tmp_path, meta[:144] + long + meta[144:] + packed)

    np.testing.assert_array_equal(found, read(tmp_path, dicom_bytes(dicom(PIXELS, 12))))


def test_a_file_meta_of_implicit_vr_hides_nothing(tmp_path: Path) -> None:
    syntax = DeflatedExplicitVRLittleEndian.encode()
    elements = [(b"\x02\0\0\0", b"\x1e\0\0\0"), (b"\x02\0\x10\0", syntax)]
    meta = b"".join(tag + len(value).to_bytes(4, "little") + value for tag, value in elements)
    start = b"\0" * 128 + b"DICM" + meta

    found = read(tmp_path, start + deflated()[1])

    np.testing.assert_array_equal(found, read(tmp_path, dicom_bytes(dicom(PIXELS, 12))))
    assert refused(tmp_path, start + bomb())[0] == "too_large"


def test_500_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    whole = b"".join(deflated())
    refusals = 0
    for number in range(500):
        try:
            read(tmp_path, mutated(np.random.default_rng(number), whole))
        except UnreadableError:
            refusals += 1

    assert refusals > 250
