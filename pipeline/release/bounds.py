"""The bounds of the gate: those of the deployed project, and what a run lowers of them.

What consumers can ask the champion for is a bound, too: a candidate that does not answer in one of
its annotation conventions, or answers in another one by default, lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, ValidationError

from pipeline.artifacts import StrictModel
from pipeline.params import GateParams

LOWER_IS_STRICTER = ("max_failures", "max_hd95", "max_ece", "max_drop", "max_drift")
STRICTER_WORDS = {"mode": ("enforce", "dry_run"), "approval": ("none", "required")}
"""How the deployed project releases, which no run can loosen; the later word is the stricter."""


class BoundsChange(StrictModel):
    """How the bounds of a verdict differ from the deployed ones."""

    deployed_revision: str
    """The commit of the deployed project whose params.yaml counts."""
    raised: tuple[str, ...] = ()
    """What the run asked for that is stricter, which is used, each in a few words."""
    lowered: tuple[str, ...] = ()
    """What it asked for that is laxer, and what its candidate withdraws."""
    allowed_by: str = ""
    """Who answers for the lowered bounds, which are used then; empty: nobody, they are not."""

    @property
    def note(self) -> str:
        """How the bounds differ from the deployed ones, for people; empty when they do not."""
        allowed = f" (allowed by {self.allowed_by})" if self.allowed_by else " (not allowed)"
        raised = f"raised: {', '.join(self.raised)}" if self.raised else ""
        lowered = f"lowered: {', '.join(self.lowered)}{allowed}" if self.lowered else ""
        return "; ".join(filter(None, [lowered, raised]))


class Bounds(BoundsChange):
    """What a verdict is judged by."""

    used: GateParams


class RecordedBounds(BoundsChange):
    """What a release was judged by, as its record has it: with the bounds that were known then."""

    model_config = ConfigDict(extra="ignore")  # a later version may say more

    used: dict[str, Any]


def find_bounds(
    revision: str,
    deployed: GateParams,
    asked: Mapping[str, Any],
    withdrawn: Sequence[str],
    allowed_by: str,
) -> Bounds:
    """Join the deployed bounds with the section `gate` that the run had: the stricter ones count.

    A key that the run's revision does not know asks for nothing. `withdrawn` is lowered as well.
    """
    used, raised, lowered = {}, [], []
    for key, bound in deployed.model_dump().items():
        wanted = asked.get(key, bound)
        if wanted == bound:
            continue
        words = f"{key} {wanted} instead of {bound}"
        if _stricter(deployed, key, wanted):
            raised.append(words)
            used[key] = wanted
        elif key not in STRICTER_WORDS:
            lowered.append(words)
            used[key] = wanted if allowed_by and _valid(deployed, key, wanted) else bound
    lowered += withdrawn
    return Bounds(
        used=deployed.model_copy(update=used),
        deployed_revision=revision,
        raised=tuple(raised),
        lowered=tuple(lowered),
        allowed_by=allowed_by if lowered else "",
    )


def withdrawn_answers(champion: Sequence[str], candidate: Sequence[str]) -> list[str]:
    """What consumers of a champion would miss of a candidate, each in a few words.

    Both by the annotation conventions that they answer in, the default first.
    """
    missed = [f"no answers in {name}" for name in champion if name not in candidate]
    if candidate[0] != champion[0]:
        missed.append(f"answers in {candidate[0]} instead of {champion[0]} by default")
    return missed


def _valid(deployed: GateParams, key: str, wanted: Any) -> bool:
    try:
        GateParams.model_validate({**deployed.model_dump(), key: wanted})
    except ValidationError:
        return False
    return True


def _stricter(deployed: GateParams, key: str, wanted: Any) -> bool:
    """Whether a value is a valid and stricter bound than the deployed one."""
    if not _valid(deployed, key, wanted):
        return False
    bound = getattr(deployed, key)
    if key in STRICTER_WORDS:
        order = STRICTER_WORDS[key]
        return order.index(wanted) > order.index(bound)
    return bool(wanted < bound if key in LOWER_IS_STRICTER else wanted > bound)
