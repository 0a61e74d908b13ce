from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import list_dataset
from pipeline.errors import DatasetError, UnreadableError
from pipeline.radiograph.reading import (
    Loaded,
    load_mask,
    load_radiograph,
    pixel_sha256,
    read_mask,
    read_radiograph,
)
from tests.conftest import PROJECT
from tests.radiograph.bombs import BOMBS
from tests.radiograph.containers import (
    chunks_of,
    dicom,
    dicom_bytes,
    encoded,
    header,
    png_of,
    raw_png,
    with_chunk,
)

GREY = (np.arange(64 * 64) // 16).astype(np.uint8).reshape(64, 64)
MASK = (GREY >= 128).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
PNG = encoded(GREY)
JPEG = encoded(GREY, "JPEG")


def written(folder: Path, content: bytes, name: str = "a.png") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def saved(path: Path, pixels: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def reason(path: Path, read: Any = read_radiograph) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value.reason


def changed_place(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_content_reads_the_same_in_every_mode(tmp_path: Path, mode: str) -> None:
    loaded = load_radiograph(saved(tmp_path / "a.png", GREY, mode))

    assert loaded.mode == mode
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.flags.writeable
    assert loaded.pixels.flags.c_contiguous
    np.testing.assert_array_equal(loaded.pixels, GREY)


def test_the_hash_of_a_file_is_of_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, PNG)

    assert load_radiograph(path).sha256 == hashlib.sha256(PNG).hexdigest()
    np.testing.assert_array_equal(
        read_radiograph(path, hashlib.sha256(PNG).hexdigest()), load_radiograph(path).pixels
    )


@pytest.mark.parametrize(
    ("depth", "colour", "bits"), [(1, 0, 1), (2, 0, 2), (4, 0, 4), (8, 0, 8), (16, 0, 16)]
)
def test_every_depth_of_grey_is_scaled_to_its_full_range(
    tmp_path: Path, depth: int, colour: int, bits: int
) -> None:
    levels = np.random.default_rng(depth).integers(0, 2**bits, (64, 64))
    coded = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(coded.reshape(64, -1).astype(np.uint8), axis=1)
    content = raw_png(64, 64, b"".join(b"\0" + row.tobytes() for row in rows), depth=depth)

    image = read_radiograph(written(tmp_path, content))

    np.testing.assert_array_equal(image, np.rint(levels * 255 / (2**bits - 1)))


def test_16_bits_are_rounded_and_not_cut_off(tmp_path: Path) -> None:
    levels = np.tile(np.array([0, 128, 129, 256, 385, 386, 65406, 65535], np.uint16), (64, 8))

    found = read_radiograph(saved(tmp_path / "a.png", levels))

    np.testing.assert_array_equal(found[0, :8], [0, 0, 1, 1, 1, 2, 254, 255])


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_bits_named_by_sbit_are_the_full_range(tmp_path: Path, bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint16).reshape(64, 64)
    low = with_chunk(encoded(levels), b"sBIT", bytes([bits]))
    stretched = with_chunk(encoded(levels << (16 - bits)), b"sBIT", bytes([bits]))

    found = load_radiograph(written(tmp_path, low))

    assert found.mode == "I;16"
    np.testing.assert_array_equal(found.pixels, np.rint(levels * (255 / (2**bits - 1))))
    image = read_radiograph(written(tmp_path, stretched))
    np.testing.assert_allclose(image.astype(int), found.pixels.astype(int), atol=1)


def test_colour_of_16_bits_is_scaled_like_grey_of_16_bits(tmp_path: Path) -> None:
    levels = GREY.astype(">u2") * 257
    rows = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in levels)

    loaded = load_radiograph(written(tmp_path, raw_png(64, 64, rows, depth=16, colour=2)))

    assert loaded.mode == "RGB;16"
    np.testing.assert_array_equal(loaded.pixels, GREY)


def test_an_interlaced_png_is_read(tmp_path: Path) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    picture = GREY[:, :63]  # no multiple of the passes' steps
    rows = b"".join(
        b"\0" + row.tobytes()
        for x, y, across, down in [*passes, (0, 1, 1, 2)]
        for row in picture[y::down, x::across]
    )
    content = raw_png(63, 64, rows, interlaced=1)

    np.testing.assert_array_equal(read_mask_levels(tmp_path, content), picture)


def read_mask_levels(folder: Path, content: bytes) -> NDArray[Any]:
    """The grey levels of a picture that is too narrow for a radiograph."""
    from pipeline.radiograph.formats.png import parse_png

    return parse_png(written(folder, content).read_bytes()).decode().levels


def test_exif_orientation_is_ignored_in_png_and_jpeg(tmp_path: Path) -> None:
    picture = np.tile(NOISE // 16 * 16, (1, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    plain = encoded(picture, "JPEG")
    turned = saved(tmp_path / "turned.jpg", picture, exif=exif)

    png = read_radiograph(saved(tmp_path / "a.png", picture, exif=exif))

    np.testing.assert_array_equal(png, picture)
    np.testing.assert_array_equal(
        read_radiograph(turned), read_radiograph(written(tmp_path, plain, "b.jpg"))
    )


@pytest.mark.parametrize("name", [b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"gAMA"])
def test_odd_ancillary_chunks_neither_warn_nor_matter(
    tmp_path: Path, name: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    bomb = b"x\0\0" + zlib.compress(b"\0" * 10_000_000)

    image = read_radiograph(written(tmp_path, with_chunk(PNG, name, bomb)))

    np.testing.assert_array_equal(image, GREY)
    assert capfd.readouterr() == ("", "")


def test_an_rgb_profile_in_a_grey_png_is_normal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    image = read_radiograph(saved(tmp_path / "a.png", GREY, icc_profile=profile))

    np.testing.assert_array_equal(image, GREY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a", "a.JPG", "a.jpeg", "a.image"])
def test_a_jpeg_is_read_under_its_suffix_and_without_one(tmp_path: Path, name: str) -> None:
    loaded = load_radiograph(written(tmp_path, JPEG, name))

    assert loaded.mode == "L"
    np.testing.assert_allclose(loaded.pixels.astype(int), GREY, atol=8)


@pytest.mark.parametrize(
    "how", [{"progressive": True}, {"mode": "RGB"}, {"restart_marker_rows": 1}]
)
def test_every_kind_of_grey_jpeg_is_read(tmp_path: Path, how: dict[str, Any]) -> None:
    image = read_radiograph(written(tmp_path, encoded(GREY, "JPEG", **how), "a.jpg"))

    np.testing.assert_allclose(image.astype(int), GREY, atol=8)


def test_a_png_with_one_frame_of_animation_is_a_picture(tmp_path: Path) -> None:
    content = with_chunk(PNG, b"acTL", struct.pack(">II", 1, 0))

    np.testing.assert_array_equal(read_radiograph(written(tmp_path, content)), GREY)


def test_what_follows_the_end_of_a_png_is_ignored(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_radiograph(written(tmp_path, PNG + b"padding")), GREY)


def test_a_link_to_a_radiograph_is_followed(tmp_path: Path) -> None:
    written(tmp_path, PNG, "cached")
    (tmp_path / "a.png").symlink_to(tmp_path / "cached")

    np.testing.assert_array_equal(read_radiograph(tmp_path / "a.png"), GREY)


COLOUR = np.stack([GREY, GREY, GREY ^ 12], axis=-1)
HALF_OPAQUE = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 128)])
THREE_IN_SIXTEEN = GREY.astype(np.uint16) >> 5
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
ENDS = PNG.index(b"IEND") - 4
FAULTS: list[tuple[str, str, str, bytes]] = [
    ("1 zero bytes", "a.png", "empty_file", b""),
    ("1 zero bytes, JPEG", "a.jpg", "empty_file", b""),
    ("1 zero bytes, DICOM", "a.dcm", "empty_file", b""),
    ("2 half", "a.png", "truncated", PNG[: len(PNG) // 2]),
    ("2 99 %", "a.png", "truncated", PNG[: len(PNG) * 99 // 100]),
    ("2 signature alone", "a.png", "truncated", PNG[:8]),
    ("2 no IEND", "a.png", "truncated", PNG[:ENDS]),
    ("2 IEND cut", "a.png", "truncated", PNG[:-1]),
    ("2 checksum of the pixels", "a.png", "truncated", changed_place(PNG, ENDS - 1)),
    ("2 checksum of the header", "a.png", "truncated", changed_place(PNG, 29)),
    ("2 bit flipped in the pixels", "a.png", "truncated", changed_place(PNG, ENDS - 40)),
    ("2 JPEG half", "a.jpg", "truncated", JPEG[: len(JPEG) // 2]),
    ("2 JPEG without its end", "a.jpg", "truncated", JPEG[:-2]),
    ("2 JPEG cut in its header", "a.jpg", "truncated", JPEG[:30]),
    ("2 DICOM half", "a.dcm", "truncated", dicom_bytes(dicom(GREY))[:-2000]),
    ("3 web page", "a.png", "not_png", b"<html>Log in</html>"),
    ("3 git-lfs pointer", "a.png", "not_png", LFS),
    ("3 text", "a.png", "not_png", b"see the other folder\n"),
    ("3 GIF", "a.png", "not_png", encoded(GREY, "GIF")),
    ("3 web page, JPEG", "a.jpeg", "not_jpeg", b"<html>Log in</html>"),
    ("3 web page, DICOM", "a.dcm", "not_dicom", b"<html>Log in</html>"),
    ("3 web page, no suffix", "a", "not_png", b"<html>Log in</html>"),
    ("4 JPEG named .png", "a.png", "wrong_container", JPEG),
    ("4 PNG named .JPG", "a.JPG", "wrong_container", PNG),
    ("4 DICOM named .png", "a.png", "wrong_container", dicom_bytes(dicom(GREY))),
    ("5 3 bits in 16", "a.png", "constant", encoded(THREE_IN_SIXTEEN)),
    ("6 half transparent", "a.png", "mode", encoded(HALF_OPAQUE)),
    ("6 half transparent, LA", "a.png", "mode", encoded(HALF_OPAQUE, mode="LA")),
    ("6 a value transparent", "a.png", "mode", encoded(GREY, transparency=0)),
    ("6 16-bit value transparent", "a.png", "mode", encoded(GREY * np.uint16(257), transparency=0)),
    ("6 CMYK", "a.jpg", "mode", encoded(GREY, "JPEG", "CMYK")),
    ("6 animation", "a.png", "mode", with_chunk(PNG, b"acTL", struct.pack(">II", 2, 0))),
    ("7 colour", "a.png", "not_grayscale", encoded(COLOUR)),
    (
        "7 colour, JPEG",
        "a.jpg",
        "not_grayscale",
        encoded(np.stack([GREY, GREY, 255 - GREY], axis=-1), "JPEG"),
    ),
    ("9 one pixel", "a.png", "geometry", encoded(GREY[:1, :1])),
    ("9 one row", "a.png", "geometry", encoded(GREY[:1])),
    ("9 63 pixels", "a.png", "geometry", encoded(GREY[:, :63])),
    ("9 long", "a.png", "geometry", encoded(np.tile(GREY, (1, 4)))),
    ("9 narrow JPEG", "a.jpg", "geometry", encoded(GREY[:, :63], "JPEG")),
    ("10 black", "a.png", "constant", encoded(GREY * 0)),
    ("10 white, 16 bits", "a.png", "constant", encoded(np.full((64, 64), 65535, np.uint16))),
    ("10 black, 16 bits", "a.png", "constant", encoded(np.zeros((64, 64), np.uint16))),
    ("10 nearly even", "a.png", "constant", encoded(100 + NOISE % 4)),
    ("20 colour, DICOM", "a.dcm", "mode", dicom_bytes(dicom(GREY, SamplesPerPixel=3))),
    ("2 chunks repeated", "a.png", "truncated", png_of([*chunks_of(PNG)[:2] * 2])),
]


@pytest.mark.parametrize(
    ("name", "expected", "content"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_a_fault_has_its_reason(tmp_path: Path, name: str, expected: str, content: bytes) -> None:
    assert reason(written(tmp_path, content, name)) == expected


ROWS = zlib.compress(b"\0" * 64 * 65)
IHDR, IDAT, IEND = header(64, 64), (b"IDAT", ROWS), (b"IEND", b"")
STRUCTURES = {
    "no header": [IDAT, IEND],
    "header late": [(b"gAMA", b"1234"), IHDR, IDAT, IEND],
    "header twice": [IHDR, IHDR, IDAT, IEND],
    "header short": [(b"IHDR", IHDR[1][:12]), IDAT, IEND],
    "no pixels": [IHDR, IEND],
    "no width": [header(0, 64), IDAT, IEND],
    "unknown colour": [header(64, 64, colour=5), IDAT, IEND],
    "unknown depth": [header(64, 64, depth=3), IDAT, IEND],
    "unknown interlacing": [header(64, 64, interlaced=2), IDAT, IEND],
    "unknown compression": [(b"IHDR", IHDR[1][:10] + b"\1\0\0"), IDAT, IEND],
    "pixels apart": [IHDR, (b"IDAT", ROWS[:9]), (b"gAMA", b"1234"), (b"IDAT", ROWS[9:]), IEND],
    "palette after the pixels": [IHDR, IDAT, (b"PLTE", b"abc"), IEND],
    "no palette": [header(64, 64, colour=3), IDAT, IEND],
    "palette of no colours": [header(64, 64, colour=3), (b"PLTE", b"ab"), IDAT, IEND],
    "unknown critical chunk": [IHDR, (b"ABCD", b""), IDAT, IEND],
    "rows missing": [IHDR, (b"IDAT", zlib.compress(b"\0" * 64 * 65)[:-5]), IEND],
    "one row less": [IHDR, (b"IDAT", zlib.compress(b"\0" * 63 * 65)), IEND],
    "one row more": [IHDR, (b"IDAT", zlib.compress(b"\0" * 65 * 65)), IEND],
    "checksum of the rows": [IHDR, (b"IDAT", ROWS[:-1] + b"\x77"), IEND],
    "no compressed rows": [IHDR, (b"IDAT", b"nothing"), IEND],
    "unknown filter": [IHDR, (b"IDAT", zlib.compress(b"\7" * 64 * 65)), IEND],
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_png_of_bad_structure_is_damaged_whatever_its_checksums(
    tmp_path: Path, name: str
) -> None:
    path = written(tmp_path, png_of(STRUCTURES[name]))

    assert reason(path) == "truncated"
    assert reason(path, read_mask) == "truncated"


def test_a_palette_of_colours_is_no_radiograph_and_may_be_a_mask(tmp_path: Path) -> None:
    image = Image.fromarray(MASK).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.save(tmp_path / "a.png")

    assert reason(tmp_path / "a.png") == "not_grayscale"
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), MASK)


@pytest.mark.parametrize("palette", [bytes(3), bytes((255, 0, 0)), bytes((255, 0, 0, 255, 0, 1))])
def test_an_index_beyond_the_palette_is_damage_whatever_its_colours(
    tmp_path: Path, palette: bytes
) -> None:
    chunks = [header(64, 64, colour=3), (b"PLTE", palette), (b"IDAT", ROWS), IEND]
    beyond = [*chunks[:2], (b"IDAT", zlib.compress((b"\0" + b"\7" * 64) * 64)), IEND]

    assert reason(written(tmp_path, png_of(beyond)), read_mask) == "truncated"
    assert reason(written(tmp_path, png_of(chunks))) in ("constant", "not_grayscale")


def test_a_palette_may_be_opaque_and_not_transparent(tmp_path: Path) -> None:
    content = encoded(GREY, mode="P")
    place = [name for name, _ in chunks_of(content)].index(b"IDAT")

    image = read_radiograph(written(tmp_path, with_chunk(content, b"tRNS", b"\xff" * 9, place)))

    np.testing.assert_array_equal(image, GREY)
    assert reason(written(tmp_path, with_chunk(content, b"tRNS", b"\xff\0", place))) == "mode"


def jpeg_with(place: bytes, offset: int, value: int) -> bytes:
    start = JPEG.index(place) + offset
    return JPEG[:start] + bytes([value]) + JPEG[start + 1 :]


SOF, SOS = b"\xff\xc0", b"\xff\xda"


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        ("bit_depth", jpeg_with(SOF, 4, 12)),
        ("mode", jpeg_with(SOF, 1, 0xC3)),
        ("mode", jpeg_with(SOF, 1, 0xC9)),
        ("mode", jpeg_with(SOF, 9, 4)),
        ("truncated", jpeg_with(SOF, 1, 0xC4)),
        ("truncated", jpeg_with(SOF, 3, 3)),
        ("truncated", jpeg_with(SOF, 2, 0xFF)),
        ("truncated", jpeg_with(SOF, 8, 0)),
        ("truncated", jpeg_with(SOS, 0, 0)),
        ("truncated", JPEG.replace(SOF, b"\xff\xc0\0\5\x08\0\x40\xff\xfe")),
        ("truncated", jpeg_with(b"\xff\xc4", 5, 255)),
        ("truncated", JPEG[:2] + JPEG[JPEG.index(SOF) :].replace(SOF, b"\xff\xfe") + b"\xff\xd9"),
        ("too_large", JPEG[:-2] + JPEG[JPEG.index(SOS) : -2] * 100 + b"\xff\xd9"),
        ("too_large", JPEG[:2] + b"\xff\xfe\x00\x02" * 10_001 + JPEG[2:]),
    ],
)
def test_a_jpeg_of_bad_structure_is_refused(tmp_path: Path, expected: str, content: bytes) -> None:
    assert reason(written(tmp_path, content, "a.jpg")) == expected


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.png") == "missing"


def test_a_file_that_the_disk_does_not_give_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = saved(tmp_path / "a.png", GREY)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", lambda *_, **__: nullcontext(SimpleNamespace(read=damaged)))
        assert reason(path) == "path"


def test_folders_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")

    for path in (tmp_path, tmp_path / "pipe.png", tmp_path / "link.png", tmp_path / "loop.png"):
        assert reason(path) == "path"
    assert reason(Path("/dev/zero")) == "path"


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_from_its_header(tmp_path: Path, kind: str) -> None:
    name, content = BOMBS[kind]
    path = written(tmp_path, content, name)

    assert reason(path) == "too_large"
    assert reason(path, read_mask) == "too_large"


def test_a_file_of_absurd_size_is_not_even_read(tmp_path: Path) -> None:
    path = written(tmp_path, PNG)
    os.truncate(path, 65 * 2**20)

    assert reason(path) == "too_large"


@pytest.mark.parametrize("shape", [(256, 256, 3), (2048, 2048)])
def test_an_even_mask_of_sane_size_is_no_bomb(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "a.png", np.zeros(shape, np.uint8), compress_level=9)

    assert read_mask(path).shape == shape[:2]


@pytest.mark.parametrize("kind", ["L 0/255", "L 0/1", "1 bit", "RGB", "16 bit", "16 bit 0/1"])
def test_masks_read_the_same_however_they_are_stored(tmp_path: Path, kind: str) -> None:
    pixels: NDArray[Any] = {
        "L 0/255": MASK * 255,
        "L 0/1": MASK,
        "1 bit": MASK.astype(bool),
        "RGB": np.stack([MASK * 255] * 3, axis=-1),
        "16 bit": MASK.astype(np.uint16) * 65535,
        "16 bit 0/1": MASK.astype(np.uint16),
    }[kind]

    mask = read_mask(saved(tmp_path / "a.png", pixels))

    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, MASK)


@pytest.mark.parametrize("top", [0, 1, 255])
def test_a_mask_of_one_value_is_read(tmp_path: Path, top: int) -> None:
    mask = read_mask(saved(tmp_path / "a.png", np.full((4, 4), top, np.uint8)))

    assert (mask == min(top, 1)).all()


@pytest.mark.parametrize("values", [[0, 128, 255], [0, 1, 255], [0, 1, 2], [1, 2], range(256)])
def test_a_smoothed_mask_is_refused(tmp_path: Path, values: Sequence[int]) -> None:
    path = saved(tmp_path / "a.png", np.array([values], np.uint8))

    assert reason(path, read_mask) == "mask_values"


def test_a_mask_says_which_labels_were_taken_for_lung(tmp_path: Path) -> None:
    usual = load_mask(saved(tmp_path / "a.png", MASK * 255))
    label = load_mask(saved(tmp_path / "b.png", MASK * 254))

    assert (usual.labels, label.labels) == ((), (254,))
    np.testing.assert_array_equal(label.pixels, MASK)


def test_a_mask_says_how_it_is_stored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.stack([MASK * 255] * 3, axis=-1))

    loaded = load_mask(path)

    assert (loaded.mode, loaded.sha256) == ("RGB", hashlib.sha256(path.read_bytes()).hexdigest())
    assert isinstance(loaded, Loaded)


@pytest.mark.parametrize("read", [read_radiograph, read_mask])
@pytest.mark.parametrize("content", [PNG, b"", b"<html>"])
def test_a_file_that_is_not_the_one_validated_is_refused_with_the_remedy(
    tmp_path: Path, read: Any, content: bytes
) -> None:
    path = written(tmp_path, content)

    with pytest.raises(DatasetError) as caught:
        read(path, "0" * 64)

    assert not isinstance(caught.value, UnreadableError)
    found = hashlib.sha256(content).hexdigest()[:12]
    assert f"{path}: sha256 is {found}, expected 000000000000" in str(caught.value)
    assert "`dvc pull data`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hash_is_of_the_picture_and_not_of_its_encoding(tmp_path: Path) -> None:
    packed = saved(tmp_path / "a.png", GREY, optimize=True)
    plain = saved(tmp_path / "b.png", GREY, "RGB", compress_level=0)

    assert packed.read_bytes() != plain.read_bytes()
    assert pixel_sha256(read_radiograph(packed)) == pixel_sha256(read_radiograph(plain))
    assert pixel_sha256(GREY) == pixel_sha256(np.asfortranarray(GREY))


def test_the_hash_tells_pixels_and_shapes_apart() -> None:
    assert pixel_sha256(GREY) != pixel_sha256(GREY.reshape(32, 128))
    assert pixel_sha256(GREY) != pixel_sha256(255 - GREY)


def test_pngs_are_read_without_importing_pydicom(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.radiograph.reading import *; "
        f"read_radiograph(Path({str(written(tmp_path, PNG))!r})); print('pydicom' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["COVID-19_Radiography_Dataset", "increment_COVID"])
def test_real_radiographs_and_masks_are_read(real_data: Path, folder: str) -> None:
    root = real_data / folder
    for pair in list_dataset(root).pairs:
        assert read_radiograph(root / pair.image).shape == (299, 299)
        mask = read_mask(root / pair.mask)
        assert mask.shape == (256, 256)
        assert 0.03 < mask.mean() < 0.7


@pytest.mark.slow
def test_real_files_read_as_pillow_reads_them(real_data: Path) -> None:
    for folder in ("COVID-19_Radiography_Dataset", "increment_COVID"):
        for pair in list_dataset(real_data / folder).pairs[::10]:
            with Image.open(real_data / folder / pair.image) as image:
                np.testing.assert_array_equal(
                    load_radiograph(real_data / folder / pair.image).pixels, np.asarray(image)
                )
