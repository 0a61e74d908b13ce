"""What can be removed from this host and from the store, by age, and never what is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.deployment.home_leftovers import home_leftovers
from pipeline.deployment.leftovers import FreedBytes, Leftover
from pipeline.deployment.links import Site
from pipeline.deployment.needed_objects import needed_objects
from pipeline.deployment.object_leftovers import (
    LocalCache,
    cache_leftovers,
    store_leftovers,
    unfinished_leftovers,
)
from pipeline.errors import LungsegError
from pipeline.remote_store import open_store
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import shared_cache

DAY_S = 24 * 3600


@dataclass
class CleaningPlan:
    """What can be removed, in the order in which it must be, and what was not looked at and why."""

    leftovers: list[Leftover] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """A line for each kind: how many, how many bytes."""
        for kind in dict.fromkeys(one.kind for one in self.leftovers):
            sizes = [one.size for one in self.leftovers if one.kind == kind]
            yield f"{kind}: {len(sizes)}, {sum(sizes) / 1e6:.1f} MB"
        yield from self.notes

    def carry_out(self) -> tuple[int, int]:
        """Remove it all; how many things, and how many bytes that freed."""
        removed = [one for one in self.leftovers if one.remove()]
        return len(removed), sum(one.size for one in removed)


def plan_cleaning(settings: Settings, days: int, *, store: bool) -> CleaningPlan:
    """Find what is older than `days` (at least 1) and not needed; nothing is removed.

    With `store` also in the store that hosts share, which must then be this project's alone.
    """
    plan, freed = CleaningPlan(), FreedBytes()
    before = time.time() - days * DAY_S
    plan.leftovers += home_leftovers(settings, before, freed)
    try:
        with Site(settings) as site:
            _plan_objects(plan, site, before, freed, store=store)
    except LungsegError as error:
        plan.notes.append(f"objects of DVC: not looked at: {error}")
    return plan


def _plan_objects(
    plan: CleaningPlan, site: Site, before: float, freed: FreedBytes, *, store: bool
) -> None:
    shared = open_store(site.project) if store else None
    if store and shared is None:
        plan.notes.append("store: there is none")
    if shared:
        plan.leftovers += unfinished_leftovers(shared, before)
    needed = needed_objects(site, before)
    cache = shared_cache(site.settings)
    if _is_own(site.settings, cache):
        plan.leftovers += cache_leftovers(LocalCache(cache), needed, before, freed)
    else:
        plan.notes.append(
            f"{cache}: not looked at: it lies outside of this project, so others may use it"
        )
    if shared:
        plan.leftovers += store_leftovers(shared, needed, before)


def _is_own(settings: Settings, cache: Path) -> bool:
    return any(cache.is_relative_to(place) for place in (settings.home, Path(settings.repo)))
