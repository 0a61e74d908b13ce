"""Services as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from pipeline.services.control import Status


def service_table(services: Iterable[Status]) -> Table:
    """Return a row per service: name, state, process and address."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("service", "state", "pid", "address"):
        table.add_column(heading, no_wrap=True)
    for one in services:
        table.add_row(one.service, one.state, str(one.pid or ""), one.url)
    return table
