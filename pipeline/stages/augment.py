"""Turn the train and val pairs into shards of training images, with augmented copies for train.

Copies that training draws itself (`fresh`) are only tried here, a few of each pair.

Every pair is decoded once, and all its records go into one shard. Pairs come in random order and so
do the records of a shard, both by a hash of seed and name, so that the bytes depend neither on the
number of processes nor on which is first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.augmentation.copies import FAULTS, Copier, Original, digest
from pipeline.augmentation.preview import (
    TILES_ACROSS,
    Panel,
    PanelRow,
    describe_copy,
    draw_preview,
    settings_of,
)
from pipeline.conventions import MOST_CONVENTIONS, in_order
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, select_split, split_rows
from pipeline.errors import DatasetError, StageError
from pipeline.files import atomic_folder, link_file, read_json, write_json
from pipeline.model.shards import (
    AUGMENT_SUMMARY_FILE,
    TRAIN,
    AugmentSummary,
    encode_record,
    record_size,
    write_shard,
)
from pipeline.params import AugmentParams, Params
from pipeline.parts import StagePart, parts_in
from pipeline.radiograph.fit import fit_radiograph
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph
from pipeline.settings import Settings
from pipeline.worker_pool import open_workers, translated_kill, usable_cores

SHARDED = (TRAIN, "val")
"""Splits that have shards."""

SHARD_SIZE = 32 * 2**20
"""Bytes. Enough to be read at full speed from a disk or an object store, little enough that every
worker can hold one, and that there are many to spread over workers and to shuffle."""

MIN_SHARDS = 4
"""Of a split with so many pairs: few pairs too are spread over workers."""

WORKER_RECORDS = 1000
"""Fewer are made sooner than a process has started."""

REDRAWN_FILE = "redrawn.json"
"""Of a part, beside its shards: how many copies were drawn again, by fault."""

TRIED = 4
"""Fresh copies of each pair that are drawn to see whether its lungs stay in the frame."""

PREVIEW_PAIRS = 2  # of each class; more when they fit into a row
PREVIEW_COPIES = TILES_ACROSS - 1


@dataclass(frozen=True)
class Shard:
    """What a process needs to write one shard."""

    path: Path
    data: Path
    pairs: Sequence[SplitRow]
    copies: int
    """Of each pair, in the shard."""
    params: AugmentParams
    conventions: Sequence[str]
    """Of all pairs of all shards."""

    @property
    def drawn(self) -> int:
        """Copies of each pair that are drawn, those that are only tried included."""
        trying = self.params.fresh and self.path.name.startswith(TRAIN)
        return _tried(self.params) if trying else self.copies

    def place(self, pair: SplitRow) -> int | None:
        """Of the pair's convention among them, where there are several."""
        several = len(self.conventions) > 1
        return self.conventions.index(pair.convention) if several else None


def run(params: Params, root: Path) -> str:
    """Write artifacts/augment: shards of train and val, augment.json and preview.png.

    Raises StageError when a split is empty, a file cannot be read or is not the validated one, or
    the parameters push the lungs out of the frame.
    """
    pairs = _pairs(params.augment, root)
    records = {TRAIN: len(pairs[TRAIN]) * (params.augment.copies + 1), "val": len(pairs["val"])}
    with atomic_folder(root / AUGMENT_SUMMARY_FILE.parent) as folder:
        shards = _shards(params.augment, root, pairs, folder)
        redrawn: Counter[str] = Counter()
        for part, made in parts_in(Settings().parts_of("augment"), params.stages.parts):
            of_part = part.of(shards)
            redrawn += _take(of_part, made) if made else _write_all(of_part, params.augment)
        summary = _summary(params.augment, pairs, records, redrawn)
        summary.write(folder / AUGMENT_SUMMARY_FILE.name)
        preview = _preview(root / "data", pairs[TRAIN], params.augment, redrawn.total())
        preview.save(folder / "preview.png")
    fresh = " of those that were tried; training draws the copies" if params.augment.fresh else ""
    return (
        f"augment: {records[TRAIN]} train and {records['val']} val records of "
        f"{params.augment.image_size}x{params.augment.image_size} pixels in {len(shards)} shards, "
        f"{redrawn.total()} redrawn{fresh}"
    )


def run_part(params: Params, root: Path, part: StagePart, folder: Path) -> str:
    """Leave in `folder` the shards of a part, and how many copies were drawn again for them."""
    shards = part.of(_shards(params.augment, root, _pairs(params.augment, root), folder))
    write_json(folder / REDRAWN_FILE, _write_all(shards, params.augment))
    return f"augment: part {part}: {len(shards)} shards"


def _pairs(params: AugmentParams, root: Path) -> dict[str, list[SplitRow]]:
    """The pairs of each split, in random order."""
    table = SPLIT.read(root / SPLIT_FILE)
    return {split: _shuffled(split_rows(select_split(table, split)), params) for split in SHARDED}


def _conventions(pairs: dict[str, list[SplitRow]]) -> list[str]:
    names = in_order(pair.convention for found in pairs.values() for pair in found)
    if len(names) > MOST_CONVENTIONS:
        raise StageError(
            f"augment: found {len(names)} annotation conventions, expected at most "
            f"{MOST_CONVENTIONS}; join some with `lungseg data convention NAME --instead-of OTHER`"
        )
    return names


def _copies(split: str, params: AugmentParams) -> int:
    """Of each pair, in its shard."""
    return params.copies if split == TRAIN and not params.fresh else 0


def _tried(params: AugmentParams) -> int:
    """Fresh copies of each pair that are drawn."""
    return min(TRIED, params.copies)


def _shards(
    params: AugmentParams, root: Path, pairs: dict[str, list[SplitRow]], folder: Path
) -> list[Shard]:
    """All shards, to be written into `folder`."""
    conventions = _conventions(pairs)
    return [
        Shard(folder / name, root / "data", run, _copies(split, params), params, conventions)
        for split in SHARDED
        for name, run in _runs(split, pairs[split], _copies(split, params), params.image_size)
    ]


def _take(shards: Sequence[Shard], made: Path) -> Counter[str]:
    """Put the shards of a part where they belong; gives what `_write_all` gives."""
    for shard in shards:
        link_file(made / shard.path.name, shard.path)
    return Counter(read_json(made / REDRAWN_FILE))


def _shuffled(pairs: list[SplitRow], params: AugmentParams) -> list[SplitRow]:
    return sorted(pairs, key=lambda pair: digest(params.seed, pair.image_id))


def _runs(
    split: str, pairs: list[SplitRow], copies: int, side: int
) -> Iterator[tuple[str, list[SplitRow]]]:
    """Names of the shards of a split and their pairs, about equally many in each."""
    size = record_size(side) * (copies + 1) * len(pairs)
    count = min(len(pairs), max(MIN_SHARDS, -(-size // SHARD_SIZE)))
    ends = [len(pairs) * i // count for i in range(count + 1)]
    for i in range(count):
        yield f"{split}-{i:05d}-of-{count:05d}.tfrecord", pairs[ends[i] : ends[i + 1]]


def _processes(workers: int, records: int) -> int:
    return workers or min(usable_cores(), -(-records // WORKER_RECORDS))


def _write_all(shards: Sequence[Shard], params: AugmentParams) -> Counter[str]:
    """Write these shards; gives how many copies were drawn again, by fault."""
    records = sum(len(shard.pairs) * (shard.drawn + 1) for shard in shards)
    processes = _processes(params.workers, records)
    if processes <= 1 or not shards:
        return sum(map(_write, shards), Counter())
    processes = min(processes, len(shards))
    with (
        translated_kill("augment", processes, "lower augment.workers or try again"),
        open_workers(processes, ["albumentations"]) as pool,
    ):
        return sum(pool.map(_write, shards), Counter())


def _write(shard: Shard) -> Counter[str]:
    cv2.setNumThreads(1)  # the processes share the cores
    copier = Copier(shard.params)
    records = [record for pair in shard.pairs for record in _records(pair, shard, copier)]
    write_shard(shard.path, (record for _, record in sorted(records)))
    return copier.redrawn


def _records(pair: SplitRow, shard: Shard, copier: Copier) -> Iterator[tuple[bytes, bytes]]:
    """The serialised original and copies of a pair, each after the key of its place.

    Copies that are only tried are none of them.
    """
    seed, convention = shard.params.seed, shard.place(pair)
    image, mask = read_pair(shard.data, pair, shard.params.image_size)
    yield digest(seed, pair.image_id, 0), encode_record(pair.image_id, image, mask, convention)
    if shard.drawn:
        original = Original.of(pair.image_id, image, mask)
        for number in range(1, shard.drawn + 1):
            copy = copier.draw(original, number)
            if number <= shard.copies:
                record = encode_record(pair.image_id, copy.image, copy.mask, convention)
                yield digest(seed, pair.image_id, number), record


def read_pair(data: Path, pair: SplitRow, side: int) -> tuple[Grey, Grey]:
    """Image (side, side) and mask (side, side), the share of lung in each pixel, both 0..255.

    Raises StageError when a file below `data` cannot be read or is not the one that was split.
    """
    try:
        image = read_radiograph(data / pair.image_path, pair.image_sha256)
        mask = read_mask(data / pair.mask_path, pair.mask_sha256)
    except DatasetError as error:
        # It was readable when it was validated.
        raise StageError(f"{error}; then run the stage validate again") from None
    share = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return fit_radiograph(image, side), np.rint(share * 255).astype(np.uint8)


def _summary(
    params: AugmentParams,
    pairs: dict[str, list[SplitRow]],
    records: dict[str, int],
    redrawn: Counter[str],
) -> AugmentSummary:
    serialised = Copier(params).serialised()
    return AugmentSummary(
        image_size=params.image_size,
        pairs={split: len(found) for split, found in pairs.items()},
        records=records,
        conventions=_conventions(pairs),
        # How many processes draw does not shape what they draw; training takes its own number.
        fresh=params.model_copy(update={"workers": 0}) if params.fresh else None,
        redrawn={fault: redrawn[fault] for fault in FAULTS},
        transforms=serialised.transforms,
        albumentations=serialised.albumentations,
    )


def _preview(data: Path, pairs: list[SplitRow], params: AugmentParams, redrawn: int) -> Image.Image:
    """The first pairs of each class with their copies, as the first epoch has them."""
    copier = Copier(params, keep_applied=True)
    in_a_row = TILES_ACROSS // (1 + min(params.copies, PREVIEW_COPIES))
    of_class: dict[str, list[SplitRow]] = {}
    for pair in pairs:
        of_class.setdefault(pair.class_name, []).append(pair)
    groups = {
        name: [
            _panels(data, pair, copier, params)
            for pair in of_class[name][: max(PREVIEW_PAIRS, in_a_row)]
        ]
        for name in sorted(of_class)
    }
    return draw_preview(groups, settings_of(params, len(pairs), redrawn, _tried(params)))


def _panels(data: Path, pair: SplitRow, copier: Copier, params: AugmentParams) -> PanelRow:
    image, mask = read_pair(data, pair, params.image_size)
    original = Original.of(pair.image_id, image, mask)
    copies = (
        copier.draw(original, number) for number in range(1, min(params.copies, PREVIEW_COPIES) + 1)
    )
    name = pair.image_id.rpartition("/")[2]
    return [
        Panel(image, mask, f"{name}, original"),
        *(
            Panel(copy.image, copy.mask, f"copy {number}: {describe_copy(copy.applied)}")
            for number, copy in enumerate(copies, 1)
        ),
    ]
