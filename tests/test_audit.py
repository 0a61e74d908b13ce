from __future__ import annotations

import pytest

from tools.audit import CHECKED, forbidden, is_allowed, weaknesses


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache Software License; MIT License", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT License; GNU General Public License v3 (GPLv3)", False),
        ("UNKNOWN", False),
    ],
)
def test_a_licence_is_allowed_when_one_alternative_is(licence: str, allowed: bool) -> None:
    assert is_allowed(licence) == allowed


def test_a_package_that_a_person_has_checked_may_say_what_it_will() -> None:
    name = next(iter(CHECKED))

    assert forbidden({name: "UNKNOWN", "albumentations": "AGPL-3.0", "numpy": "BSD"}) == [
        "albumentations: AGPL-3.0"
    ]


def test_weaknesses_are_told_with_what_mends_them() -> None:
    weak = {"id": "CVE-1", "fix_versions": ["2.0"]}
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": [weak, {"id": "CVE-2", "fix_versions": []}]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
    }

    found = ["a 1.0: CVE-1, mended by 2.0", "a 1.0: CVE-2, mended by no version"]
    assert weaknesses(report) == (found, 2)
