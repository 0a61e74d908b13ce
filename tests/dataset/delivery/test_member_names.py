from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline.dataset.delivery.importing import import_dataset
from pipeline.dataset.delivery.member_names import MemberNaming
from pipeline.dataset.zips import extract
from pipeline.errors import DatasetError
from tests.dataset.delivery.deliveries import Deliver, refusal


class RawName(zipfile.ZipInfo):
    """A member whose name is written as given, without the flag of UTF-8."""

    raw = b""
    flags = 0

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.raw, self.flag_bits | self.flags


def raw_name(raw: bytes, extra: bytes = b"", flags: int = 0) -> RawName:
    info = RawName(raw.decode("latin-1"))
    info.raw, info.extra, info.create_system, info.flags = raw, extra, 0, flags
    return info


def packed(path: Path, *members: zipfile.ZipInfo | str) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for number, member in enumerate(members):
            opened.writestr(member, str(number))
    return path


def packed_folder(path: Path, folder: Path, code_page: str, separator: str = "/") -> Path:
    """The files of a delivery, their names written in a code page."""
    with zipfile.ZipFile(path, "w") as opened:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = str(file.relative_to(folder)).replace("/", separator)
                opened.writestr(raw_name(name.encode(code_page)), file.read_bytes())
    return path


def unpacked(archive: Path, code_page: str | None = None) -> list[str]:
    target = archive.with_suffix("")
    extract(archive, target, MemberNaming(archive, code_page))
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def unpacking_refused(archive: Path, code_page: str | None = None) -> str:
    with pytest.raises(DatasetError) as caught:
        unpacked(archive, code_page)
    assert not archive.with_suffix("").exists()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("code_page", ["cp866", "cp1251", "utf-8"])
def test_names_without_the_flag_are_read_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code_page: str
) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("Норма/Снимок 1.png".encode(code_page)), "b.png")

    with caplog.at_level(logging.WARNING):
        assert unpacked(archive) == ["b.png", "Норма/Снимок 1.png"]

    (line,) = caplog.messages
    assert f"read as {code_page}: Норма, Снимок 1.png (--code-page CODEPAGE for another)" in line


def test_of_many_names_the_first_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [raw_name(f"Норма/{letter}.png".encode("cp866")) for letter in "абвгдежз"]

    unpacked(packed(tmp_path / "a.zip", *names))

    assert "Норма, а.png, б.png, в.png, г.png, ... (" in caplog.text


def test_names_that_say_how_they_are_written_are_taken_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        names = unpacked(packed(tmp_path / "a.zip", "Норма/a.png", "b.png"))

    assert names == ["b.png", "Норма/a.png"]
    assert not caplog.messages


def unicode_path(name: str, raw: bytes, version: int = 1) -> bytes:
    body = struct.pack("<BI", version, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x5455, 1) + b"x" + struct.pack("<HH", 0x7075, len(body)) + body


def test_the_name_that_info_zip_keeps_beside_is_taken(tmp_path: Path) -> None:
    raw = b"\x82\x83.png"

    archive = packed(tmp_path / "a.zip", raw_name(raw, unicode_path("Норма/a.png", raw)))

    assert unpacked(archive) == ["Норма/a.png"]


@pytest.mark.parametrize(
    "extra",
    [
        unicode_path("Other.png", b"of another name"),
        unicode_path("Other.png", "Норма.png".encode("cp866"), version=2),
        unicode_path("Other.png", "Норма.png".encode("cp866"))[:-9] + b"\xff" * 9,
        struct.pack("<HH", 0x7075, 0),
    ],
)
def test_a_name_beside_that_does_not_belong_is_left_alone(tmp_path: Path, extra: bytes) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("Норма.png".encode("cp866"), extra))

    assert unpacked(archive) == ["Норма.png"]


def test_names_with_two_readings_are_refused_with_both_commands(tmp_path: Path) -> None:
    archive = packed(tmp_path / "my data.zip", raw_name(b"Fen\x88tre/a.png"))

    message = unpacking_refused(archive)

    assert f"Fenêtre (`lungseg data import --code-page cp437 '{archive}'`)" in message
    assert f"Fenłtre (`lungseg data import --code-page cp852 '{archive}'`)" in message
    assert unpacked(archive, "cp850") == ["Fenêtre/a.png"]


def test_names_in_no_known_code_page_are_refused_with_the_option(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", raw_name(b"\xb0\xb1\xb2.png"))

    message = unpacking_refused(archive)

    assert "\\xb0\\xb1\\xb2.png are in no code page that is known here; `lungseg data" in message


@pytest.mark.parametrize("code_page", ["ascii", "utf-16", "punycode"])
def test_a_code_page_that_does_not_fit_is_refused(tmp_path: Path, code_page: str) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("Норма.png".encode("cp866")))

    assert f"is not written in {code_page}; give another" in unpacking_refused(archive, code_page)


@pytest.mark.parametrize("name", ["klingon", "hex", "zlib", "a\0b"])
def test_what_is_no_code_page_is_refused(deliver: Deliver, project: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="is no code page; expected one such as cp866"):
        import_dataset(deliver("COVID"), project, code_page=name)


def test_a_code_page_for_a_folder_is_refused(deliver: Deliver, project: Path) -> None:
    with pytest.raises(DatasetError, match="is a folder, expected a zip for --code-page"):
        import_dataset(deliver("COVID"), project, code_page="cp866")


def test_members_that_decode_to_one_name_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("Норма.png".encode("cp866")), "Норма.png")

    assert "holds Норма.png twice" in unpacking_refused(archive)


def test_a_backslash_within_a_letter_parts_no_folders(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("正常\\表1\\ノーマル.png".encode("cp932")))

    assert unpacked(archive) == ["正常/表1/ノーマル.png"]


@pytest.mark.parametrize("name", ["..\\表.png", "表/../../a.png", "C:\\表.png", "\\表.png"])
def test_paths_that_leave_the_target_are_refused_once_they_are_decoded(
    tmp_path: Path, name: str
) -> None:
    archive = packed(tmp_path / "a.zip", raw_name(name.encode("cp932")))

    assert "is no plain relative path" in unpacking_refused(archive, "cp932")


def test_names_marked_as_utf8_that_are_not_are_named(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", raw_name("Норма.png".encode("cp866"), flags=0x800))

    assert "declares names to be UTF-8 that are not; pack it again" in unpacking_refused(archive)


@pytest.mark.slow  # a child of DVC
def test_a_zip_of_a_russian_windows_becomes_the_dataset(
    deliver: Deliver, project: Path, tmp_path: Path
) -> None:
    archive = packed_folder(tmp_path / "a.zip", deliver("Норма", "COVID"), "cp866", "\\")

    result = import_dataset(archive, project)

    assert result.added == {"COVID": 2, "Норма": 2}
    assert "commit it: git add data.dvc" in result.summary()
    assert (project / "data/Норма/masks/Норма-1.png").is_file()


def test_classes_that_differ_by_case_once_they_are_decoded_are_refused(
    deliver: Deliver, project: Path, tmp_path: Path
) -> None:
    archive = packed_folder(tmp_path / "a.zip", deliver("Норма", "НОРМА"), "cp866")

    assert "Норма: differs from НОРМА by case only; rename one" in refusal(archive, project)
