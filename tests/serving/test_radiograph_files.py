from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.serving.radiograph_files import list_radiographs, mask_name

DICOM = bytes(128) + b"DICM"


def png(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, format="PNG")


def test_radiographs_are_listed_with_the_names_of_their_masks(tmp_path: Path) -> None:
    for name in ("a/one.png", "a/deep/two.JPG", "a/notes.txt", "a/three.DCM", "one.png"):
        png(tmp_path / name)

    found = list_radiographs([tmp_path / "a"])

    assert [mask.as_posix() for _, mask in found.files] == ["deep/two.png", "one.png", "three.png"]
    assert found.note == "passed over: 1 of other kinds"


def test_dicom_is_found_by_its_content_and_its_directory_passed_over(tmp_path: Path) -> None:
    for name in ("IM0001", "1.2.840.113", "1.2.840.114", "scan.dicom", "DICOMDIR", "dicomdir"):
        (tmp_path / name).write_bytes(DICOM)
    (tmp_path / "README").write_bytes(b"x" * 200)

    found = list_radiographs([tmp_path])

    assert {path.name: mask.name for path, mask in found.files} == {
        "IM0001": "IM0001.png",
        "1.2.840.113": "1.2.840.113.png",
        "1.2.840.114": "1.2.840.114.png",
        "scan.dicom": "scan.dicom.png",
    }
    assert found.note == "passed over: 3 of other kinds"


def test_a_file_that_cannot_be_opened_is_not_taken_for_one_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IM0001").write_bytes(DICOM)
    (tmp_path / "README").write_bytes(b"x" * 200)
    opened = Path.open

    def closed(self: Path, *arguments: Any) -> Any:
        if self.name == "IM0001":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments)

    monkeypatch.setattr(Path, "open", closed)

    found = list_radiographs([tmp_path])

    assert [path.name for path, _ in found.files] == ["IM0001"]
    assert found.note == "passed over: 1 of other kinds"


STRAYS = [
    "._one.png",
    ".DS_Store",
    ".hidden/one.png",
    "__MACOSX/._one.png",
    "@eaDir/one.png/SYNOPHOTO_THUMB_M.png",
    "$RECYCLE.BIN/one.png",
    "System Volume Information/one.png",
    "~$one.png",
    "#recycle/one.png",
    "Thumbs.db",
    "desktop.ini",
]


def test_what_systems_leave_behind_is_passed_over_and_counted(tmp_path: Path) -> None:
    png(tmp_path / "one.png")
    for name in STRAYS:
        png(tmp_path / name)

    found = list_radiographs([tmp_path])

    assert [path.name for path, _ in found.files] == ["one.png"]
    assert found.note == f"passed over: {len(STRAYS)} hidden or left by a system"


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    png(tmp_path / "a/one.png")
    (tmp_path / "a/loop").symlink_to(tmp_path / "a")

    assert len(list_radiographs([tmp_path / "a"]).files) == 1


def test_a_file_that_is_named_twice_is_taken_once(tmp_path: Path) -> None:
    png(tmp_path / "one.png")

    assert len(list_radiographs([tmp_path / "one.png", tmp_path / "one.png"]).files) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none.png"], "none.png: no such file or folder"),
        (["empty"], r"found no .png, .jpg or DICOM radiograph; name files or folders"),
        (["strange"], r"found no .* \(passed over: 1 of other kinds\); name files"),
        (["a/one.png", "b/one.jpg"], "both masks would be one.png; rename one"),
    ],
)
def test_paths_that_cannot_be_predicted_are_one_line(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for folder in ("empty", "a", "b", "strange"):
        (tmp_path / folder).mkdir()
    for name in ("a/one.png", "b/one.jpg", "strange/x.doc"):
        (tmp_path / name).touch()

    with pytest.raises(DatasetError, match=message):
        list_radiographs([tmp_path / name for name in names])


def test_a_folder_that_cannot_be_listed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)

    with pytest.raises(DatasetError, match=r": Permission denied; make it readable$"):
        list_radiographs([tmp_path])


def test_mask_names_keep_what_is_no_suffix_of_pictures() -> None:
    names = {"a.JPEG": "a.png", "a.b.dcm": "a.b.png", "a.b": "a.b.png", "a": "a.png"}

    assert {name: mask_name(Path(name)).as_posix() for name in names} == names
