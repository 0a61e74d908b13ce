"""augment.json for tests: what the stage augment would have written beside its shards."""

from __future__ import annotations

from pathlib import Path

from pipeline.conventions import STANDARD
from pipeline.model.shards import AUGMENT_SUMMARY_FILE, AugmentSummary
from pipeline.params import AugmentParams


def write_summary(
    folder: Path, image_size: int, fresh: AugmentParams | None = None, **records: int
) -> None:
    """Write it into the folder of the shards: so many records of each split, none a stored copy."""
    summary = AugmentSummary(
        image_size=image_size,
        pairs=records,
        records={
            split: count * (1 + fresh.copies if fresh and split == "train" else 1)
            for split, count in records.items()
        },
        conventions=[STANDARD],
        fresh=fresh,
        redrawn={},
        transforms={},
        albumentations="2.0.8",
    )
    summary.write(folder / AUGMENT_SUMMARY_FILE.name)
