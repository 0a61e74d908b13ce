from __future__ import annotations

import io
import os
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.dataset import zips as archives
from pipeline.dataset.zips import extract
from pipeline.errors import DatasetError


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def with_member(path: Path, info: zipfile.ZipInfo, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("COVID/images/good.png", b"good")
        opened.writestr(info, content)
    return path


def refusal(archive: Path, target: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        extract(archive, target)
    assert not target.exists()
    assert str(caught.value).isprintable()
    assert str(archive) in str(caught.value)
    return str(caught.value)


def test_members_and_empty_folders_are_unpacked(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{"x/a.png": b"A", "./x//b.png": b"B", "x/empty/": b""})

    extract(archive, tmp_path / "out")

    assert (tmp_path / "out/x/a.png").read_bytes() == b"A"
    assert (tmp_path / "out/x/b.png").read_bytes() == b"B"
    assert (tmp_path / "out/x/empty").is_dir()


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../x", "a/../../x", "C:/x", "c:x", "a\\..\\x", "\\\\host\\x", "."]
)
def test_paths_that_leave_the_target_are_refused(tmp_path: Path, name: str) -> None:
    archive = with_member(tmp_path / "a.zip", zipfile.ZipInfo(name))

    assert "is no plain relative path" in refusal(archive, tmp_path / "out")


def test_backslashes_are_slashes(tmp_path: Path) -> None:
    archive = packed(
        tmp_path / "a.zip", **{"x\\images\\": b"", "x\\images\\a.png": b"A", "x/b.png": b"B"}
    )

    extract(archive, tmp_path / "out")

    assert (tmp_path / "out/x/images/a.png").read_bytes() == b"A"
    assert (tmp_path / "out/x/b.png").read_bytes() == b"B"


@pytest.mark.parametrize("depth", [33, 500, 15_000])
def test_folders_nested_beyond_reason_are_refused(tmp_path: Path, depth: int) -> None:
    archive = packed(tmp_path / "a.zip", **{"a/" * depth + "x.png": b"x"})

    assert "lies more than 32 folders or 1024 bytes of names deep" in refusal(
        archive, tmp_path / "out"
    )


def test_a_folder_by_its_attribute_alone_is_a_folder(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x/images")
    info.create_system, info.external_attr = 0, 0x10
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr(info, b"")
        opened.writestr("x/images/a.png", b"A")

    extract(tmp_path / "a.zip", tmp_path / "out")

    assert (tmp_path / "out/x/images/a.png").read_bytes() == b"A"


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[2J.png", "n" * 256 + ".png"])
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    archive = with_member(tmp_path / "a.zip", zipfile.ZipInfo(name))

    assert "control characters in its name, or a name that is too long" in refusal(
        archive, tmp_path / "out"
    )


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("COVID/images/x.png")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    archive = with_member(tmp_path / "a.zip", info, b"/etc/passwd")

    assert "is a link or a device" in refusal(archive, tmp_path / "out")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{"a.png": b"A"})
    content = bytearray(archive.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    archive.write_bytes(content)

    assert "'a.png' is encrypted" in refusal(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile's, while packing
@pytest.mark.parametrize("second", ["x/a.png", "x/./a.png"])
def test_a_member_that_overwrites_another_is_refused(tmp_path: Path, second: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("x/a.png", b"1")
        opened.writestr(second, b"2")

    assert "holds x/a.png twice" in refusal(tmp_path / "a.zip", tmp_path / "out")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{"x/a": b"1", "x/a/b.png": b"2"})

    assert "x/a is a file and a folder" in refusal(archive, tmp_path / "out")


def test_a_member_that_expands_absurdly_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{"x.png": b"\0" * 2**22, "y.png": os.urandom(2**18)})

    assert "x.png expands more than 200-fold" in refusal(archive, tmp_path / "out")


def test_a_name_is_judged_before_it_is_shown(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{"x\x1b.png": b"\0" * 2**22})

    assert "has control characters" in refusal(archive, tmp_path / "out")


def test_many_small_members_that_expand_absurdly_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", **{f"{n}.png": b"\0" * 2**20 for n in range(20)})

    assert "the whole expands more than 200-fold" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("limit", ["MAX_MEMBERS", "MAX_BYTES"])
def test_an_archive_beyond_the_limits_is_refused(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, limit, 1)
    archive = packed(tmp_path / "a.zip", a=b"12", b=b"34")

    assert "deliver it in parts" in refusal(archive, tmp_path / "out")


def test_an_archive_larger_than_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=2**20))
    archive = packed(tmp_path / "a.zip", a=os.urandom(2**20 + 1))

    assert "1 MiB are free; free some space" in refusal(archive, tmp_path / "out")


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.png", b"before")
        opened.writestr("b.png", b"radiograph")
    archive.write_bytes(archive.read_bytes().replace(b"radiograph", b"radiogramm"))

    assert "Bad CRC-32 for file 'b.png'" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("declared", [3, 5000])
def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path, declared: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", os.urandom(1000))
    content = bytearray(archive.read_bytes())
    for header, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(header) + offset, declared)
    archive.write_bytes(content)

    message = refusal(archive, tmp_path / "out")

    assert "Bad CRC-32" in message or "shorter than declared" in message


def test_a_packing_that_is_not_read_is_no_damage(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", a=b"12")
    content = bytearray(archive.read_bytes())
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.index(header) + offset, 9)  # Deflate64
    archive.write_bytes(content)

    message = refusal(archive, tmp_path / "out")

    assert "is packed in a way that is not read here (" in message
    assert "damaged" not in message


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", a=os.urandom(5000))
    archive.write_bytes(archive.read_bytes()[:-40])

    assert "found a damaged or truncated zip" in refusal(archive, tmp_path / "out")


def tar_content() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("a.png"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "an HTML or XML page, such as the login page"),
        (b"\x1f\x8b\x08\0\0", "a gzip file"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (tar_content(), "a tar archive"),
        (b"radiographs", "something else"),
    ],
)
def test_what_is_no_zip_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)

    assert f"found {kind}" in refusal(archive, tmp_path / "out")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "a.zip", tmp_path / "out")


def test_damage_anywhere_is_one_line_or_harmless(tmp_path: Path) -> None:
    sound = packed(tmp_path / "a.zip", **{"x/a.png": os.urandom(90), "b.png": b"b" * 90})
    content, dice = sound.read_bytes(), random.Random(5)
    for number in range(400):
        damaged = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        sound.write_bytes(damaged[: dice.choice([len(damaged), dice.randrange(len(damaged))])])
        target = tmp_path / f"out{number}"
        try:
            extract(sound, target)
        except DatasetError:
            assert not target.exists()
        else:
            assert all(tmp_path in path.resolve().parents for path in target.rglob("*"))
