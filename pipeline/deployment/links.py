"""What a check of a deployment is, and what the checks share: the checkout, the log-in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pipeline.errors import LungsegError, ServiceError
from pipeline.services.airflow import Airflow, log_in
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import join_cache
from pipeline.workspace.revisions import checkout_revision

HostRole = Literal["all", "control", "worker", "gpu", "client"]
"""What a host does: everything; Airflow's own services; stages; trainings; starting runs."""
State = Literal["ok", "problem", "no answer", "not looked at"]


class NotLookedAt(Exception):
    """A check has nothing to look at here."""


class Site:
    """A deployment as this host sees it, in the role that it has."""

    def __init__(self, settings: Settings, role: HostRole = "all") -> None:
        self.settings, self.role = settings, role
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def project(self) -> Path:
        """A checkout of the deployed project's HEAD, with the settings that a run's would have."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()), "project")
        checkout_revision(self.settings.repo, "HEAD", folder)
        join_cache(self.settings, folder)
        return folder

    @cached_property
    def airflow(self) -> Airflow:
        """Airflow, logged in."""
        return self._stack.enter_context(log_in(self.settings))


@dataclass(frozen=True)
class Link:
    """One thing to look at: which roles need it, and which other links it cannot do without.

    `look` returns what it found, in words; it raises what is wrong, or NotLookedAt.
    """

    name: str
    roles: frozenset[HostRole]
    look: Callable[[Site], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkState:
    """What came of a look, in one line."""

    name: str
    state: State
    text: str


def look_at(site: Site, links: Sequence[Link]) -> Iterator[LinkState]:
    """Look at each link that the site's role needs, one after the other."""
    states: dict[str, State] = {}
    for link in links:
        if site.role != "all" and site.role not in link.roles:
            continue
        lacking = [name for name in link.needs if states.get(name, "ok") != "ok"]
        if lacking:
            found = LinkState(link.name, "not looked at", f"needs {' and '.join(lacking)}")
        else:
            found = _look(site, link)
        states[link.name] = found.state
        yield found


def _look(site: Site, link: Link) -> LinkState:
    state: State = "ok"
    try:
        text = link.look(site)
    except NotLookedAt as reason:
        state, text = "not looked at", str(reason)
    except LungsegError as error:
        state = "no answer" if error.exit_code == ServiceError.exit_code else "problem"
        text = str(error)
    return LinkState(link.name, state, " ".join(text.split()))


def check_exit_code(states: Sequence[LinkState]) -> int:
    """1 if anything is wrong, 75 if services only do not answer, else 0."""
    found = {one.state for one in states}
    return 1 if "problem" in found else 75 if "no answer" in found else 0
