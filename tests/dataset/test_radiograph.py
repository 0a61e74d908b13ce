from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset import radiograph
from pipeline.dataset.layout import list_dataset
from pipeline.dataset.radiograph import pixel_sha256, read_mask, read_radiograph
from pipeline.errors import UnreadableError

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
MASK = (GREY >= 128).astype(np.uint8)


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


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header declares a size that its content does not have."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_content_reads_the_same_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.png", GREY, mode)

    image = read_radiograph(path)

    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, GREY)


def test_16_bits_are_scaled_by_their_declared_depth(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 256], [257 * 100, 65535]], np.uint16))

    np.testing.assert_array_equal(read_radiograph(path), [[0, 0], [100, 255]])


def test_1_bit_is_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", MASK.astype(bool))

    np.testing.assert_array_equal(read_radiograph(path), MASK * 255)


def test_a_grey_jpeg_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.full((16, 16), 90, np.uint8), format="JPEG")

    np.testing.assert_array_equal(read_radiograph(path), np.full((16, 16), 90))


def test_a_colour_picture_is_refused(tmp_path: Path) -> None:
    pixels = np.stack([GREY, GREY, GREY], axis=-1)
    pixels[3, 3, 2] += 1

    assert reason(saved(tmp_path / "a.png", pixels)) == "not_grayscale"


def test_a_coloured_palette_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(MASK).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.save(tmp_path / "a.png")

    assert reason(tmp_path / "a.png", read_mask) == "not_grayscale"


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    pixels = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    pixels[0, 0, 3] = 254

    assert reason(saved(tmp_path / "a.png", pixels)) == "mode"


@pytest.mark.parametrize("pixels", [GREY, GREY.astype(np.uint16) * 257])
def test_a_grey_value_declared_transparent_is_refused(tmp_path: Path, pixels: NDArray[Any]) -> None:
    assert reason(saved(tmp_path / "a.png", pixels, transparency=0)) == "mode"


def test_a_cmyk_picture_is_refused(tmp_path: Path) -> None:
    assert reason(saved(tmp_path / "a.jpg", GREY, "CMYK")) == "mode"


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-500])

    assert reason(path) == "truncated"


@pytest.mark.parametrize("content", [b"", b"<html>Log in</html>", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)

    assert reason(tmp_path / "a.png") == "not_an_image"


def test_other_picture_formats_are_refused(tmp_path: Path) -> None:
    assert reason(saved(tmp_path / "a.png", GREY, format="TIFF")) == "not_an_image"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.png") == "missing"


def test_a_folder_is_no_radiograph(tmp_path: Path) -> None:
    assert reason(tmp_path) == "truncated"


@pytest.mark.parametrize("side", [8_001, 11_000, 60_000, 2**31 - 1])
def test_a_header_of_absurd_size_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_of_size(side, side))

    assert reason(tmp_path / "a.png") == "too_large"


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


@pytest.mark.parametrize("values", [[0, 128, 255], [0, 1, 255], [0, 2], [0, 254]])
def test_a_smoothed_mask_is_refused(tmp_path: Path, values: list[int]) -> None:
    path = saved(tmp_path / "a.png", np.array([values], np.uint8))

    assert reason(path, read_mask) == "mask_values"


def test_the_hash_is_of_the_picture_and_not_of_its_encoding(tmp_path: Path) -> None:
    packed = saved(tmp_path / "a.png", GREY, optimize=True)
    plain = saved(tmp_path / "b.png", GREY, "RGB", compress_level=0)

    assert packed.read_bytes() != plain.read_bytes()
    assert pixel_sha256(read_radiograph(packed)) == pixel_sha256(read_radiograph(plain))
    assert pixel_sha256(GREY) == pixel_sha256(np.asfortranarray(GREY))


def test_the_hash_tells_pixels_and_shapes_apart() -> None:
    assert pixel_sha256(GREY) != pixel_sha256(GREY.reshape(8, 32))
    assert pixel_sha256(GREY) != pixel_sha256(255 - GREY)


def test_damage_anywhere_is_one_line_or_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radiograph, "MAX_PIXELS", 2**16)
    content = saved(tmp_path / "a.png", GREY, pnginfo=None, dpi=(72, 72)).read_bytes()
    dice = np.random.default_rng(3)
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(content)
        for place in dice.integers(0, len(damaged), 2):
            damaged[place] = dice.integers(0, 256)
        (tmp_path / "a.png").write_bytes(damaged)
        try:
            read_mask(tmp_path / "a.png")
        except UnreadableError as error:
            outcomes.add(error.reason)
    assert {"not_an_image", "truncated", "mask_values"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["COVID-19_Radiography_Dataset", "increment_COVID"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # odd EXIF blocks of old scanners
def test_real_radiographs_and_masks_are_read(real_data: Path, folder: str) -> None:
    root = real_data / folder
    for pair in list_dataset(root).pairs:
        assert read_radiograph(root / pair.image).shape == (299, 299)
        mask = read_mask(root / pair.mask)
        assert mask.shape == (256, 256)
        assert 0.03 < mask.mean() < 0.7
