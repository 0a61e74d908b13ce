"""Versions of a dataset under git and DVC: their log and their differences."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from pipeline.cli import app as cli
from pipeline.dataset.versions.difference import (
    Difference,
    compare_conventions,
    compare_versions,
    natural,
)
from pipeline.dataset.versions.findings import find_findings, load_findings
from pipeline.dataset.versions.version_tables import difference_view, format_size, log_table
from pipeline.dataset.versions.versions import (
    WORKING_TREE,
    describe_versions,
    find_version,
    list_pairs,
    list_versions,
)
from pipeline.errors import DatasetError
from pipeline.settings import Settings
from pipeline.workspace.objects import DataPointer, object_path, parse_pointer
from tests.conftest import PROJECT, mode_of, write_dataset
from tests.dataset.delivery.deliveries import shell, snapshot

DVC = f"{sys.executable} -m dvc"


def record(project: Path, message: str) -> None:
    shell(project, f"{DVC} add -q data && git add -A && git commit -qm '{message}'")


@pytest.fixture(scope="module")
def history(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, tagged first, second and third; all are in the store."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("history") / "project"))
    data = project / "data"
    shell(project, f"{DVC} remote add -q -d store {project.parent}/store")
    write_dataset(data, {"Normal": 12})
    record(project, "First")
    write_dataset(data, {"COVID": 11}, seed=5)
    (data / "COVID.metadata.xlsx").write_bytes(b"sheet")
    record(project, "Second")
    for half in ("images", "masks"):
        (data / "COVID" / half / "COVID-2.png").unlink()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(data / "Normal/masks/Normal-10.png")
    record(project, "Third")
    names = ("third", "second", "first")
    shell(project, ";".join(f"git tag {name} HEAD~{back}" for back, name in enumerate(names)))
    shell(project, f"{DVC} push -q --all-commits")
    return project


@pytest.fixture
def project(history: Path, tmp_path: Path) -> Path:
    """A copy of the project; the store is shared and not to be changed."""
    return Path(shutil.copytree(history, tmp_path / "project", symlinks=True))


@pytest.fixture
def store(history: Path, project: Path) -> Path:
    """A store of the copy's own, and its cache is empty."""
    shutil.rmtree(project / ".dvc/cache")
    store = Path(shutil.copytree(history.parent / "store", project.parent / "store"))
    for name in ("first", "third"):
        shell(
            project,
            f"git checkout -q {name} && {DVC} remote add -q -f -d store {store} && "
            f"git commit -qam 'Store of {name}' && git tag -f {name}",
        )
    return store


def shown(view: object, width: int = 80) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(view)
    assert all(len(line) <= width for line in capture.get().splitlines())
    return capture.get()


def test_the_log_names_every_version_with_its_pairs(project: Path) -> None:
    rows = describe_versions(Settings(repo=str(project)), list_versions(project))

    assert [(row.subject, row.pairs, row.classes) for row in rows] == [
        ("Third", 22, {"COVID": 10, "Normal": 12}),
        ("Second", 23, {"COVID": 11, "Normal": 12}),
        ("First", 12, {"Normal": 12}),
    ]
    assert all(row.md5.endswith(".dir") and row.files >= 24 for row in rows)
    table = shown(log_table(rows))
    assert f"{rows[2].commit}  {rows[2].date}  {rows[2].md5[:10]}     12" in table
    assert "COVID 11, Normal 12" in table


def test_the_log_shows_what_is_not_committed_and_what_is_not_in_the_cache(project: Path) -> None:
    shell(project, f"git checkout -q first -- data.dvc && rm -r {project}/.dvc/cache")
    damaged = object_path(project / ".dvc/cache", find_version(project, "second").pointer.md5)
    damaged.parent.mkdir(parents=True)
    damaged.write_text("[]")

    rows = describe_versions(Settings(repo=str(project)), list_versions(project))

    assert [(row.commit == WORKING_TREE, row.classes) for row in rows] == [
        (True, None),
        *[(False, None)] * 3,
    ]
    assert shown(log_table(rows)).count("no intact list of files") == 4
    (project / "data.dvc").unlink()
    assert [version.subject for version in list_versions(project)] == ["Third", "Second", "First"]


def test_a_difference_tells_pairs_files_and_what_validation_says(project: Path) -> None:
    before = snapshot(project)
    status = shell(project, "git status --porcelain")

    found = compare_versions(project, "first", "third")

    assert found.added == ["COVID/COVID-1", *(f"COVID/COVID-{n}" for n in range(3, 12))]
    assert found.removed == []
    assert found.changed == {"Normal/Normal-10": "mask"}
    assert found.other_files == {"COVID.metadata.xlsx": "added"}
    old, new = found.before.results, found.after.results
    assert (old.good_pairs, new.good_pairs) == (12, 21)
    assert (old.quarantined, new.quarantined) == ({}, {"mask_empty": 1, "metadata": 1})
    assert set(new.median_lung_area) == set(new.median_intensity) == {"COVID", "Normal"}
    assert snapshot(project) == before
    assert shell(project, "git status --porcelain") == status
    text = shown(difference_view(found))
    assert "10 pairs added, 0 removed, 1 changed" in text
    assert "added: COVID/COVID-1, COVID/COVID-3, COVID/COVID-4 and 7 more" in text
    assert "quarantined: mask_empty 0 → 1" in text
    assert "COVID   0 → 10  10" in text


def test_a_difference_to_the_working_tree_is_the_default(project: Path) -> None:
    shell(project, "git checkout -q first -- data.dvc")

    found = compare_versions(project, "second", None)

    assert len(found.removed) == 11
    assert found.after.version.commit == WORKING_TREE
    assert found.other_files == {"COVID.metadata.xlsx": "removed"}
    assert json.loads(found.summary.model_dump_json())["after"]["classes"] == {"Normal": 12}


def test_flags_are_counted_by_code(project: Path) -> None:
    settings = Settings(repo=str(project))
    version = find_version(project, "first")
    manifest, quarantine = find_findings(settings, version.pointer.md5, project / "data")
    flagged = manifest.assign(flags=["rotated one_lung", "rotated"] + [""] * (len(manifest) - 2))
    found = compare_versions(project, "first", "first")

    after = type(found.after)(version, found.after.files, flagged, quarantine)

    assert after.results.flags == {"one_lung": 1, "rotated": 2}
    moved = Difference(found.before, after)
    assert "flags: one_lung 0 → 1, rotated 0 → 2" in shown(difference_view(moved))


def test_a_difference_tells_of_conventions_where_one_is_not_standard(project: Path) -> None:
    found = compare_versions(project, "first", "first")
    assert "convention" not in shown(difference_view(found))
    before = found.before
    manifest = before.manifest.assign(convention=["wide"] + ["standard"] * 11)
    after = type(before)(before.version, before.files, manifest, before.quarantine)

    moved = Difference(before, after, conventions=compare_conventions(before, after))

    name = str(manifest["image_id"].iloc[0])
    assert moved.summary.conventions == {name: "standard → wide"}
    assert moved.summary.after.conventions == {"standard": 11, "wide": 1}
    text = shown(difference_view(moved))
    assert "conventions: standard 12 → 11, wide 0 → 1" in text
    assert f"other convention: {name} (standard → wide)" in text


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_objects_that_the_cache_lacks_come_from_the_remote(project: Path) -> None:
    assert len(compare_versions(project, "first", "third").added) == 10


@pytest.mark.slow
def test_an_object_that_nobody_holds_is_named_with_the_remedy(project: Path, store: Path) -> None:
    version = find_version(project, "first")
    files = json.loads(object_path(store, version.pointer.md5).read_text())
    lost = next(entry for entry in files if entry["relpath"] == "Normal/images/Normal-3.png")
    object_path(store, lost["md5"]).unlink()

    with pytest.raises(DatasetError, match=rf"{version.commit}: .*cache.*`dvc pull`.*`dvc push`"):
        compare_versions(project, "first", "third")


@pytest.mark.parametrize("file", ["Normal/images/Normal-3.png", None])
def test_a_damaged_object_of_the_cache_is_named_with_the_remedy(
    project: Path, file: str | None
) -> None:
    version = find_version(project, "first")
    listing = object_path(project / ".dvc/cache", version.pointer.md5)
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text())}
    spoilt = object_path(project / ".dvc/cache", files[file]) if file else listing
    spoilt.chmod(0o644)
    spoilt.write_bytes(b"[]")
    spoilt.chmod(0o444)  # DVC trusts an object that nobody may write

    with pytest.raises(DatasetError, match=rf"{file or 'list of its files'}: object {spoilt} is d"):
        compare_versions(project, "first", "third")


def test_what_validation_found_is_kept_and_asked_for_once(project: Path, tmp_path: Path) -> None:
    settings = Settings(repo=str(project))
    assert load_findings(settings, "a.dir") is None
    manifest, quarantine = find_findings(settings, "a.dir", project / "data")

    again = find_findings(settings, "a.dir", tmp_path / "nowhere")

    assert mode_of(settings.home) == 0o700
    pd.testing.assert_frame_equal(again[0], manifest)
    pd.testing.assert_frame_equal(again[1], quarantine)
    assert set(manifest["flags"]) == {""}
    (kept,) = (settings.home / "manifests").glob("a-????????????.parquet")
    kept.write_bytes(b"cut off")
    assert load_findings(settings, "a.dir") is None
    assert len(find_findings(settings, "a.dir", project / "data")[0]) == len(manifest)
    text = (PROJECT / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("max_lung_area: 0.60", "max_lung_area: 0.06"))
    assert load_findings(settings, "a.dir") is None
    judged, _ = find_findings(settings, "a.dir", project / "data")
    assert set(judged["flags"]) == {"implausible_area"}


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("nowhere", "revision 'nowhere': not in this repository; name a commit, branch or tag"),
        ("--all", "revision '--all': not in this repository"),
        ("first~1", r"revision 'first~1': has no data.dvc; `lungseg data log` lists"),
    ],
)
def test_a_revision_without_a_dataset_is_one_line(
    project: Path, revision: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        compare_versions(project, revision, None)


def test_a_folder_without_history_or_dataset_is_one_line(template: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a git repository with a commit"):
        list_versions(tmp_path)
    assert list_versions(template) == []
    with pytest.raises(DatasetError, match=r"data\.dvc: no such file; import or check out"):
        find_version(template, None)


def test_the_command_line_prints_for_people_and_for_machines(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)

    for arguments in (["log", "--json"], ["log"], ["diff", "second"], ["diff", "second", "--json"]):
        monkeypatch.setattr(sys, "argv", ["lungseg", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr().out
        assert not ended.value.code
        if "--json" in arguments:
            assert json.loads(output)
        else:
            assert "COVID" in output


@pytest.mark.parametrize(
    "text", ["", "outs: []", "outs: [{md5: abc, size: 1, nfiles: 1}]", "outs: [{etag: x}]", ": :"]
)
def test_a_pointer_to_something_else_than_a_folder_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"here: points to no folder .* `dvc add data`"):
        parse_pointer(text, "here")


def test_a_pointer_is_read() -> None:
    text = "outs:\n- {md5: abc.dir, size: 5, nfiles: 2, hash: md5, path: data}\n"

    assert parse_pointer(text, "here") == DataPointer("abc.dir", 5, 2)


def test_only_whole_pairs_are_counted() -> None:
    files = {
        "A/images/x.png": "1",
        "A/masks/x.png": "2",
        "A/images/y.png": "3",
        "A/masks/z.png": "4",
        "A/images/deep/x.png": "5",
        "A.metadata.xlsx": "6",
    }

    assert list_pairs(files) == {"A/x": ("1", "2")}


@given(st.lists(st.integers(0, 999), min_size=1, unique=True))
def test_names_are_sorted_as_people_count(numbers: list[int]) -> None:
    names = [f"Viral Pneumonia/Viral Pneumonia-{number}" for number in numbers]

    assert sorted(names, key=natural) == [names[numbers.index(one)] for one in sorted(numbers)]
    assert sorted(["B/1", "A/2"], key=natural) == ["A/2", "B/1"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (3896718, "3.9 MB"),
        (32_100_000_000, "32.1 GB"),
        (1e12, "1000 GB"),
    ],
)
def test_sizes_are_told_in_the_unit_people_read(size: float, text: str) -> None:
    assert format_size(size) == text
