"""Great Expectations' Data Docs, made to be read without a network.

Its own pages fetch styles, icons, the whole index and a picture that reports each reader from six
hosts of the web. Here the pages keep their content with a style of their own and without scripts,
and the index is a table of every expectation and what was found.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from pipeline.dataset.validation.convention_counts import ConventionCount
from pipeline.table_files import rows_of

FROM_THE_WEB = re.compile(
    r'<(?:link|img)[^>]*(?:href|src)="https?://[^>]*>'
    r'|<link[^>]*rel="shortcut icon"[^>]*>'  # its path is wrong in half of the pages
    r"|<script.*?</script>",  # written for what the web would have brought
    re.DOTALL,
)
STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .3em .8em; text-align: left;
vertical-align: top; border-bottom: 1px solid #ddd } .nowrap { white-space: nowrap }
.fa-check-circle::before { content: "✓ met"; color: #18794e }
.fa-times::before { content: "✗ not met"; color: #b42318 }
.fa-exclamation-triangle::before { content: "not evaluated"; color: #b42318 }
.met { color: #18794e } .critical { color: #b42318 } .warning { color: #8a5a00 }
footer, .cta-footer, .page-cta-footer, .action-card-container, .btn { display: none }
</style>"""


@dataclass(frozen=True)
class Checked:
    """One expectation and what came of it."""

    suite: str
    means: str
    """What it means when the expectation is not met."""
    critical: bool
    problems: list[str]
    """A sentence each; none when the expectation is met."""


def publish(site: Path, target: Path, checks: Sequence[Checked], conventions: pd.DataFrame) -> None:
    """Copy the pages that Great Expectations wrote to `site`, and write their index.

    `conventions` are of pipeline.dataset.validation.convention_counts; shown unless empty.
    """
    # The tutorial's animations and fonts are most of the 4 MB.
    shutil.copytree(site, target, ignore=shutil.ignore_patterns("*.gif", "*.otf"))
    for page in target.rglob("*.html"):
        text = FROM_THE_WEB.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{STYLE}</head>"), encoding="utf-8")
    index = _index(target, checks, _conventions(conventions))
    (target / "index.html").write_text(index, encoding="utf-8")


def _conventions(counts: pd.DataFrame) -> str:
    if counts.empty:
        return ""
    lines = [
        (row.class_name, row.convention, str(row.pairs), f"{row.lung_area:.1%}", row.said_by)
        for row in rows_of(counts, ConventionCount)
    ]
    rows = "\n".join(f"<tr><td>{'</td><td>'.join(map(escape, line))}</td></tr>" for line in lines)
    return f"""<h2>Annotation conventions</h2>
<table><tr><th>class</th><th>convention</th><th>pairs</th><th>lung area, median</th>\
<th>said by</th></tr>
{rows}
</table>
"""


def _index(target: Path, checks: Sequence[Checked], conventions: str) -> str:
    worst_first = sorted(checks, key=lambda one: (not one.problems, not one.critical))
    rows = "\n".join(_row(target, check) for check in worst_first)
    unmet = [check for check in checks if check.problems]
    critical = sum(check.critical for check in unmet)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title>
{STYLE}</head><body><h1>Data Docs</h1>
<p>{len(checks)} expectations: {len(checks) - len(unmet)} met, {critical} critical ones not met, \
{len(unmet) - critical} warnings.</p>
<table><tr><th>table</th><th>result</th><th>expectation</th><th>found</th></tr>
{rows}
</table>
{conventions}</body></html>
"""


def _row(target: Path, check: Checked) -> str:
    pages = sorted(target.glob(f"validations/{check.suite}/**/*.html"))
    link = pages[-1].relative_to(target).as_posix() if pages else "#"
    kind = "critical" if check.critical else "warning"
    result = f'<td class="{kind} nowrap">✗ {kind}</td>'
    if not check.problems:
        result = '<td class="met nowrap">✓ met</td>'
    consequence = "Stops the run" if check.critical else "Warns"
    found = "<br>".join(escape(problem) for problem in check.problems)
    return (
        f'<tr><td><a href="{escape(link)}">{check.suite}</a></td>{result}'
        f"<td>{consequence} if: {escape(check.means)}</td><td>{found}</td></tr>"
    )
