"""Compressed streams damaged at random: what becomes of them, and of the process that decodes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from imagecodecs import htj2k_encode
from numpy.typing import NDArray
from openjpeg.utils import encode_array

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.jpeg2000 import parse_codestream
from pipeline.radiograph.formats.jpeg_frames import decode_frame
from tests.radiograph.jpeg_streams import extended, graded, lossless, lossless_by_hand, ls, noisy
from tests.radiograph.mutations import (
    cut_out,
    flipped,
    flipped_early,
    mutated,
    overwritten,
    truncated,
)

COUNT = 500
SECONDS = 2.0
ROUGH = graded(12) // 2 + noisy(12) // 64
STREAMS = {
    "lossless": lossless(ROUGH, 12),
    "lossless, predictor 7": lossless(ROUGH, 16, 7),
    "lossless, restarts": lossless_by_hand(ROUGH, 12, restart_rows=4),
    "JPEG-LS": ls(ROUGH),
    "extended": extended(ROUGH),
    "JPEG 2000": encode_array(ROUGH, bits_stored=12),
    "High-Throughput JPEG 2000": bytes(htj2k_encode(ROUGH, reversible=True)),
}
# Bits that change a value and no length are beyond what can be seen, and lossy data have no length.
REFUSED = {
    "JPEG-LS": 0.95,
    "extended": 0.15,
    "JPEG 2000": 0.15,
    "High-Throughput JPEG 2000": 0.15,
}


def cut_before_its_end(dice: np.random.Generator, stream: bytes) -> bytes:
    """Damage what the markers do not show: the end is where it was."""
    kinds: list[Callable[..., bytes]] = [truncated, flipped, flipped_early, cut_out, overwritten]
    return kinds[dice.integers(len(kinds))](dice, stream[:-2]) + b"\xff\xd9"


def decoded(stream: bytes) -> NDArray[Any]:
    rows, columns = ROUGH.shape
    if stream.startswith(b"\xff\x4f"):
        return parse_codestream(stream, columns, rows).decode()
    return decode_frame(stream, rows, columns, 12, False)


def outcome(stream: bytes) -> str:
    try:
        pixels = decoded(stream)
    except UnreadableError as error:
        return "slow" if "takes more than" in str(error) else "refused"
    return "same" if np.abs(pixels - ROUGH.astype(int)).max() <= 40 else "other"


@pytest.mark.parametrize("name", STREAMS)
def test_damaged_streams_are_decoded_or_refused_in_time(name: str) -> None:
    assert outcome(STREAMS[name]) == "same"
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(COUNT):
        damage = mutated if number % 2 else cut_before_its_end
        stream = damage(np.random.default_rng(number), STREAMS[name])
        started = time.perf_counter()
        outcomes[outcome(stream)] += 1
        slowest = max(slowest, time.perf_counter() - started)

    assert slowest < SECONDS
    assert outcomes["slow"] == 0
    assert outcomes["refused"] >= REFUSED.get(name, 0.75) * COUNT
    assert outcome(STREAMS[name]) == "same"


@pytest.mark.parametrize("damage", [truncated, cut_out, overwritten])
@pytest.mark.parametrize("name", ["lossless", "lossless, predictor 7", "JPEG-LS"])
def test_data_that_were_lost_are_missed(name: str, damage: Callable[..., bytes]) -> None:
    stream = STREAMS[name]
    kept = stream.index(b"\xff\xda") + 10
    others = 0
    for number in range(100):
        coded = damage(np.random.default_rng(number), stream[kept:-2])
        others += outcome(stream[:kept] + coded + stream[-2:]) == "other"

    assert others <= 1
