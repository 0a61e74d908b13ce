"""The card of a released model: what it is for, how good it is, where it fails, what it is from."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline.conventions import STANDARD
from pipeline.dataset.splits.table import SPLITS
from pipeline.release.evidence import Evidence
from pipeline.release.release_record import ReleaseFacts
from pipeline.release.verdict import as_markdown, score_rows

LENGTH = 5000
"""Characters of a description that MLflow keeps."""
FAILURES = 8
"""Test radiographs that are named."""

INTENDED_USE = (
    "**Intended use.** Research on frontal chest radiographs of the classes below; a mask is a "
    "first step, never a finding. **Not a medical device**, not validated for diagnosis. Not "
    "for lateral radiographs or CT."
)
LIMITS = (
    "Masks follow the convention of whoever drew the training masks. Test radiographs are of "
    "the same sources as the training ones, of other patients as far as these are known; "
    "other hospitals may differ."
)


def model_card(facts: ReleaseFacts, evidence: Evidence, name: str) -> str:
    """The card as Markdown of at most LENGTH characters, what matters most first."""
    parts = (
        [f"# {name}: lung segmentation on frontal chest radiographs"],
        _purpose(evidence),
        ["## Performance on the independent test set", "", *score_rows(facts.metrics)],
        _classes(evidence),
        *_conventions(evidence),
        ["## Known failures", "", *_failures(evidence)],
        ["## Limits", "", LIMITS],
        ["## Provenance", "", *_provenance(facts)],
    )
    text = "\n\n".join("\n".join(part) for part in parts)
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 2].rstrip()} …"


def _purpose(evidence: Evidence) -> list[str]:
    train, size = evidence.section("train"), evidence.section("augment").get("image_size", "?")
    model = (
        f"**Model.** U-Net++, encoder {train.get('encoder', '?')}, filters "
        f"{train.get('filters', '?')}; trained on radiographs of {size} pixels with the loss "
        f"{train.get('loss', '?')} and Adam for at most {train.get('epochs', '?')} epochs. The run "
        "has all parameters."
    )
    return [INTENDED_USE, "", model]


def _classes(evidence: Evidence) -> Iterator[str]:
    split = evidence.split
    yield "| class | train | val | test | test Dice |"
    yield "|---|---|---|---|---|"
    for class_name, means in sorted(evidence.metrics.classes.items()):
        counts = split[split["class_name"] == class_name]["split"].value_counts()
        numbers = " | ".join(str(int(counts.get(one, 0))) for one in SPLITS)
        yield f"| {as_markdown(class_name)} | {numbers} | {means.dice:.4f} |"


def _conventions(evidence: Evidence) -> Iterator[list[str]]:
    """In which conventions it answers, where that is not the usual one alone."""
    known = evidence.model.conventions
    if known == (STANDARD,):
        return
    scored = evidence.per_image
    lines = [
        f"## Annotation conventions\n\nMasks are drawn as `{known[0]}` unless another is asked for "
        "(`lungseg predict --convention NAME`). Areas are comparable in one convention.\n",
        "| convention | train | val | test | test Dice |",
        "|---|---|---|---|---|",
    ]
    for name in known:
        counts = evidence.split["split"][evidence.split["convention"] == name].value_counts()
        numbers = " | ".join(str(int(counts.get(one, 0))) for one in SPLITS)
        dice = scored["dice"][scored["convention"] == name].mean()
        lines.append(f"| `{name}` | {numbers} | {'' if math.isnan(dice) else f'{dice:.4f}'} |")
    yield lines


def _failures(evidence: Evidence) -> Iterator[str]:
    worst = evidence.per_image.nsmallest(FAILURES, "dice")
    pairs = zip(worst["image_id"], worst["dice"], strict=True)
    named = (f"{as_markdown(image)} {dice:.3f}" for image, dice in pairs)
    yield f"Lowest Dice: {', '.join(named)}."
    yield "The visual report of the run shows the worst of them."


def _provenance(facts: ReleaseFacts) -> Iterator[str]:
    approved = facts.approval
    for key, value in {
        "run": facts.run,
        "revision": facts.revision,
        "data (DVC md5)": facts.data_md5,
        "threshold": facts.threshold,
        "model sha256": facts.model_sha256,
        "every file sha256": facts.release_sha256,
        "report sha256": facts.report_sha256,
        "bounds": facts.bounds.note or "those of the deployed project",
        "approved by": f"{approved.by}, {approved.at}" if approved else "nobody was asked",
    }.items():
        yield f"- {key}: {value}"
