from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import (
    atomic_folder,
    atomic_path,
    read_json,
    sha256_file,
    write_csv,
    write_json,
)
from tests.conftest import small_disk


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep/a.txt"

    with atomic_path(target) as partial:
        partial.write_text("new")
        assert not target.exists()

    assert target.read_text() == "new"
    assert listed(tmp_path / "deep") == ["a.txt"]


def test_a_failure_keeps_the_former_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("former")

    def interrupted() -> None:
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert target.read_text() == "former"
    assert listed(tmp_path) == ["a.txt"]


def test_a_read_only_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_text("former")
    cached.chmod(0o444)
    (tmp_path / "a.txt").symlink_to(cached)

    with atomic_path(tmp_path / "a.txt") as partial:
        partial.write_text("new")

    assert cached.read_text() == "former"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_folder_replaces_the_former_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "stale.txt").touch()

    with atomic_folder(folder) as partial:
        (partial / "sub").mkdir()
        (partial / "sub/new.txt").write_text("new")
        assert listed(folder) == ["stale.txt"]

    assert listed(folder) == ["sub"]
    assert listed(tmp_path) == ["out"]


def test_a_failure_keeps_the_former_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "former.txt").touch()

    def failing() -> None:
        with atomic_folder(folder) as partial:
            (partial / "half.txt").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()

    assert listed(folder) == ["former.txt"]
    assert listed(tmp_path) == ["out"]


def test_what_an_interrupted_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/half.txt").touch()
    (tmp_path / ".out.former.partial").mkdir()
    (tmp_path / ".out.former.partial/old.txt").touch()

    with atomic_folder(tmp_path / "out") as partial:
        (partial / "new.txt").touch()

    assert listed(tmp_path) == ["out"]
    assert listed(tmp_path / "out") == ["new.txt"]


def test_a_full_disk_leaves_the_former_file(tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k") as small:
        write_json(small / "a.json", 1)
        with pytest.raises(OSError, match="No space left"):
            write_json(small / "a.json", ["x" * 100_000])
        with pytest.raises(OSError, match="No space left"), atomic_folder(small / "out") as partial:
            (partial / "a.bin").write_bytes(b"x" * 100_000)

        assert read_json(small / "a.json") == 1
        assert listed(small) == ["a.json"]


def test_a_limit_on_file_size_leaves_the_former_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from pipeline.files import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_json(Path(sys.argv[1]), ['x' * 5000])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "File too large" in done.stderr
    assert read_json(tmp_path / "a.json") == 1
    assert listed(tmp_path) == ["a.json"]


def test_json_is_stable_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.5, None]})

    expected = '{\n  "a": [\n    0.5,\n    null\n  ],\n  "b": 1\n}\n'
    assert (tmp_path / "a.json").read_text() == expected
    assert read_json(tmp_path / "a.json") == {"a": [0.5, None], "b": 1}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_without_a_value_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"dice": value})

    assert listed(tmp_path) == []


def test_csv_has_unix_line_ends_and_quotes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["path", "n"], [{"path": "a,b", "n": 1}, {"path": "c", "n": 2}])

    assert (tmp_path / "a.csv").read_bytes() == b'path,n\n"a,b",1\nc,2\n'


def test_a_row_with_an_unknown_column_leaves_no_csv(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(tmp_path / "a.csv", ["path"], [{"path": "a", "extra": 1}])

    assert listed(tmp_path) == []


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


def test_files_follow_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(former)

    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
