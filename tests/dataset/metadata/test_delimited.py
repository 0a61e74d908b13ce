from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.dataset.metadata import delimited
from pipeline.dataset.metadata.cells import Cells
from pipeline.dataset.metadata.delimited import read_delimited

LINES = {1: {1: "FILE NAME", 2: "PATIENT"}, 2: {1: "A-1", 2: "7"}, 4: {1: "A-2"}}


def read(folder: Path, content: bytes) -> Cells:
    (folder / "a.csv").write_bytes(content)
    return read_delimited(folder / "a.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separator_and_mark_are_found(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    lines = ["FILE NAME,PATIENT", "A-1, 7 ", ",", "A-2"]
    text = end.join(line.replace(",", separator) for line in lines)

    found = read(tmp_path, text.encode(encoding))

    assert (found.lines, found.encoding) == (LINES, "")


@pytest.mark.parametrize("encoding", ["cp1251", "cp866", "koi8-r"])
def test_russian_code_pages_are_told_apart(tmp_path: Path, encoding: str) -> None:
    text = "Имя файла;Пациент;Диагноз\nснимок-1;Иванов;норма\nснимок-2;Петрова;пневмония\n"

    found = read(tmp_path, text.encode(encoding))

    assert found.encoding == encoding
    assert found.lines[2] == {1: "снимок-1", 2: "Иванов", 3: "норма"}


def test_western_letters_stay_what_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, "Datei;Patient\na;Müller\n".encode("latin-1"))

    assert (found.lines[2][2], found.encoding) == ("Müller", "latin-1")


def test_commas_within_quotes_and_numbers_separate_nothing(tmp_path: Path) -> None:
    text = 'FILE;"A, B, C";SPACING\n"a;1";"x, ""y""";0,143\n'

    assert read(tmp_path, text.encode()).lines[2] == {1: "a;1", 2: 'x, "y"', 3: "0,143"}


def test_control_characters_count_as_white_space(tmp_path: Path) -> None:
    text = "FILE,NOTE\x0b\nA-1,first\x0bsecond\x01\nA-2,\x1f\uffff\n"

    found = read(tmp_path, text.encode())

    assert found.lines == {
        1: {1: "FILE", 2: "NOTE"},
        2: {1: "A-1", 2: "first second"},
        3: {1: "A-2"},
    }


def test_excel_says_its_separator(tmp_path: Path) -> None:
    assert read(tmp_path, b"sep=|\nFILE, A|B\n").lines == {2: {1: "FILE, A", 2: "B"}}


def test_an_empty_text_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path, b"").lines == {}


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"a\0b", b'FILE,B\n"a,1\nb,2\n', b"\xff\xfea"])
def test_what_is_no_table_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises((ValueError, csv.Error)):
        read(tmp_path, content)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_CELLS", "MAX_LINES"])
def test_an_endless_table_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(delimited, bound, 0)

    with pytest.raises(ValueError, match="more than"):
        read(tmp_path, b"FILE\na\n")
