"""The card of a released model: what it is for, how good it is, where it fails, what it is from."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.release.evidence import Evidence
from pipeline.release.release_record import ReleaseFacts

LIMIT = 5000
"""Characters of a description that MLflow keeps."""
FAILURES = 8
"""Test radiographs that are named."""


def model_card(facts: ReleaseFacts, evidence: Evidence, name: str) -> str:
    """The card as Markdown of at most LIMIT characters, what matters most first."""
    text = "\n".join(_lines(facts, evidence, name))
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 2].rstrip()} …"


def _lines(facts: ReleaseFacts, evidence: Evidence, name: str) -> Iterator[str]:
    split = evidence.split
    yield f"# {name}: lung segmentation on frontal chest radiographs"
    yield ""
    yield (
        "**Intended use.** Research on frontal chest radiographs of the classes below; a mask is a "
        "first step, never a finding. **Not a medical device**, not validated for diagnosis. Not "
        "for lateral radiographs or CT."
    )
    yield ""
    train, size = evidence.section("train"), evidence.section("augment").get("image_size", "?")
    yield (
        f"**Model.** U-Net++, encoder {train.get('encoder', '?')}, filters "
        f"{train.get('filters', '?')}; trained on radiographs of {size} pixels with the loss "
        f"{train.get('loss', '?')} and Adam for at most {train.get('epochs', '?')} epochs. The run "
        "has all parameters."
    )
    yield ""
    yield "## Performance on the independent test set"
    yield ""
    yield "| score | mean per radiograph | 95 % interval (patients resampled) |"
    yield "|---|---|---|"
    for score, one in facts.metrics.items():
        yield f"| {score} | {one.value:.4f} | {one.interval[0]:.4f} to {one.interval[1]:.4f} |"
    yield ""
    yield "| class | train | val | test | test Dice |"
    yield "|---|---|---|---|---|"
    for class_name, means in sorted(evidence.metrics.classes.items()):
        counts = split[split["class_name"] == class_name]["split"].value_counts()
        numbers = " | ".join(str(int(counts.get(one, 0))) for one in ("train", "val", "test"))
        yield f"| {class_name} | {numbers} | {means.dice:.4f} |"
    yield ""
    yield "## Known failures"
    yield ""
    worst = evidence.per_image.nsmallest(FAILURES, "dice")
    pairs = zip(worst["image_id"], worst["dice"], strict=True)
    yield f"Lowest Dice: {', '.join(f'{image} {dice:.3f}' for image, dice in pairs)}."
    yield "The visual report of the run shows the worst of them."
    yield ""
    yield "## Limits"
    yield ""
    yield (
        "Masks follow the convention of whoever drew the training masks. Test radiographs are of "
        "the same sources as the training ones, of other patients as far as these are known; "
        "other hospitals may differ."
    )
    yield ""
    yield "## Provenance"
    yield ""
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
