"""What the documentation says of the project, against the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import PROJECT, git

PAGES = [PROJECT / name for name in git(PROJECT, "ls-files", "*.md").splitlines()]
FOLDERS = sorted(
    path.parent.relative_to(PROJECT / "pipeline")
    for path in (PROJECT / "pipeline").rglob("__init__.py")
    if path.parent.name not in ("pipeline", "chest", "formats")
)


def test_the_readme_has_at_most_a_thousand_words() -> None:
    assert len((PROJECT / "README.md").read_text().split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]

    assert [link for link in local if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """What a link into a page may name, as GitHub makes it of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
    local = [(page.parent / name if name else page, anchor) for name, anchor in links]
    pages = [(other, anchor) for other, anchor in local if other.suffix == ".md" and other.exists()]

    assert [anchor for other, anchor in pages if anchor not in anchors(other)] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_the_architecture_names_every_folder_of_the_package(folder: Path) -> None:
    tree = (PROJECT / "docs/architecture.md").read_text()

    assert re.search(rf"^ +{folder.name}/ ", tree, re.MULTILINE)


def test_the_version_is_the_newest_of_the_changelog_and_that_of_the_citation() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", _text("CHANGELOG.md"), re.MULTILINE)

    assert newest
    assert newest[1] == version
    assert f"\nversion: {version}\n" in _text("CITATION.cff")


def _text(name: str) -> str:
    return (PROJECT / name).read_text()
