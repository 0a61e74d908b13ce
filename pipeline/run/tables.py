"""Services and verdicts as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.run.services import Status


def service_table(services: Iterable[Status]) -> Table:
    """Return a row per service: name, state, process and address."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("service", "state", "pid", "address"):
        table.add_column(heading, no_wrap=True)
    for one in services:
        table.add_row(one.service, one.state, str(one.pid or ""), one.url)
    return table


def verdict_table(checks: Iterable[Mapping[str, Any]]) -> Table:
    """Return a row per check of the gate: whether it passed, what was found and required."""
    table = Table(box=None, padding=(0, 2, 0, 0), title="gate", title_justify="left")
    for heading in ("", "check", "found", "required"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("", "check"))
    for check in checks:
        mark = "[green]pass[/]" if check["passed"] else "[red]FAIL[/]"
        value = check["value"]
        found = f"{value:.4f}" if isinstance(value, float) else str(value)
        detail = f" ({check['detail']})" if check["detail"] else ""
        table.add_row(mark, check["name"], escape(f"{found}{detail}"), escape(check["bound"]))
    return table
