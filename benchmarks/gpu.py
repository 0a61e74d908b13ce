r"""What a GPU gives: ours on JAX beside the same network in PyTorch, in one run of minutes.

    python benchmarks/gpu.py --out FOLDER [--minutes 7.5]

For the network and the copies of presets/gpu.yaml:

- *loop*: what `train` does, its shards read and its copies drawn anew by processes while the
  device computes, its weights averaged and each loss read; the time between the ends of an epoch's
  batches, without those that were drawn before the first had ended;
- *step*: the same step on one batch in host memory, over and over, and so for PyTorch, eager and
  compiled; that the losses of all agree is said beside;
- *prediction*: probabilities of a batch in host memory, brought back, two batches ahead;
- how long the first step takes from the start of its process, alone with an empty compile cache,
  and once more with the cache; of the others while they all compile at once;
- the largest bfloat16 matrix product, and what the processes draw while nothing trains.

The case that is compared first has the device for itself while it starts and is measured once.
Then the same in PyTorch, and at last the other cases, compile at once, each in a process of its
own, and are measured in turns when all have, so their figures are of a device that nobody else
uses. The former end before the latter start: all together may take more memory than the device has.
Every figure is printed, and written to FOLDER/gpu.md, as soon as it is there. What does not come
about in time or has too little memory is named.

Without a GPU this is a rehearsal, of a tiny network, whose figures say nothing of one. On a machine
that has NumPy, SciPy, JAX and PyTorch but no access to a package index bring along what it lacks:

    options="-d wheels --python-version 3.12 --only-binary=:all:"
    pip download $options pydantic-settings
    pip download $options --no-deps absl-py albucore==0.0.24 albumentations==2.0.8 cloudpickle \
        configobj google-crc32c h5py keras markdown-it-py mdurl namex 'opencv-python-headless<5' \
        optree packaging pandas psutil pygments python-dateutil pytz pyyaml rich simsimd six \
        stringzilla tzdata
    pip install --no-index --no-deps --target packages wheels/*.whl     # there, or here for a tar
    PYTHONPATH=.:packages python benchmarks/gpu.py --out FOLDER
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drawing import drawing_params, make_pairs
from training import PROJECT, RATE, Case, KerasSide, TorchSide, machine
from turns import Turn, serve

from pipeline.model.batches import read_batches
from pipeline.model.shards import Shards
from pipeline.params_file import read_yaml
from pipeline.settings import quiet_libraries

PRESET = PROJECT / "presets/gpu.yaml"
PAIRS = 512  # and 15 copies of each: 8,192 records an epoch; a rehearsal has an eighth of it
ROUNDS = 3
STEPS = 20
IN_FLIGHT = 2  # batches of a prediction that the device has before an answer is asked for
OURS, EAGER, COMPILED = "ours", "PyTorch, eager", "PyTorch, compiled"
BEGAN = float(os.environ.get("BENCHMARK_BEGAN", time.monotonic()))
"""Of this process, as who started it says: its imports count, too."""


@dataclass(frozen=True)
class Row:
    """A side and what it trains."""

    side: str
    case: Case

    def __str__(self) -> str:
        return f"{self.side}, batch {self.case.batch_size}, {self.case.precision}"


class Ours(KerasSide):
    """Our training on JAX."""

    def __init__(self) -> None:
        super().__init__("jax")

    def start(self, options: dict[str, Any], weights: str, shard: str) -> dict[str, Any]:
        """Train a step, then an epoch, so that all is compiled."""
        import jax

        self._pairs = shard
        built = self.build(options, weights)
        network = self._training._network
        self._predict = jax.jit(
            lambda *given: network.stateless_call(*given, training=False)[0]  # of weights, images
        )
        losses = self.losses(1)
        first = time.monotonic() - BEGAN
        losses += self.losses(3)
        self.predictions(1)
        return {**built, "first": first, "losses": losses, "memory": self._memory()}

    def loop(self) -> float:
        """Radiographs per second of an epoch once its input flows, as `fit` trains it."""
        from pipeline.model.epoch_log import EpochLog

        training, ends = self._training, list[float]()
        log = EpochLog(training._params, training.size, None, None)
        log.begin()

        def ended(batch: int, means: Mapping[str, Any]) -> None:
            log.trained(batch, means)
            ends.append(time.monotonic())

        training.run_epoch(ended, lambda epoch, network: None)
        made = _made_ahead(len(ends))
        return (len(ends) - made - 1) * len(self._batch[0]) / (ends[-1] - ends[made])

    def predictions(self, batches: int) -> float:
        """Radiographs per second whose probabilities are there."""
        import numpy as np

        network = self._training._network
        weights = [[one.value for one in network.trainable_variables]]
        weights += [[one.value for one in network.non_trainable_variables]]
        started, coming = time.monotonic(), []
        for _ in range(batches):
            coming.append(self._predict(*weights, self._batch[0]))
            if len(coming) > IN_FLIGHT:
                np.asarray(coming.pop(0))
        for one in coming:
            np.asarray(one)
        return batches * len(self._batch[0]) / (time.monotonic() - started)

    def drawn(self) -> float:
        """Radiographs per second that are read and drawn while nothing trains."""
        train, _ = self._shards(self._case)
        with read_batches(train, self._case.batch_size, order=7).reading() as stream:
            made = _made_ahead(len(stream))
            for number in range(made + 1):
                stream[number]
            started = time.monotonic()
            read = sum(len(stream[number][0]) for number in range(made + 1, len(stream)))
        return read / (time.monotonic() - started)

    def peak(self) -> float:
        """Operations per second of a bfloat16 matrix product, the best of five."""
        import jax

        side = 8192 if self._about["gpu"] else 512
        matrix = jax.random.normal(jax.random.key(0), (side, side), "bfloat16")
        product = jax.jit(lambda given: given @ given)
        product(matrix).block_until_ready()
        times = []
        for _ in range(5):
            started = time.monotonic()
            for _ in range(10):
                last = product(matrix)
            last.block_until_ready()
            times.append((time.monotonic() - started) / 10)
        return 2 * side**3 / min(times)

    def _memory(self) -> float | None:
        """Most GiB of the device that were taken, where it tells."""
        import jax

        told = jax.local_devices()[0].memory_stats() or {}
        peak = told.get("peak_bytes_in_use")
        return peak / 2**30 if peak else None

    def _shards(self, case: Case) -> tuple[Shards, Shards]:
        self._case = case
        path, side = [Path(self._pairs)], case.image_size
        fresh, pairs = drawing_params(PRESET, side, 0), pairs_of(side)
        return Shards(path, pairs * (fresh.copies + 1), side, fresh=fresh), Shards(
            path, pairs, side
        )


def _made_ahead(batches: int) -> int:
    """Batches that may be made before the first is taken; at most half of those of an epoch."""
    return min(2 * len(os.sched_getaffinity(0)), batches // 2)


class Theirs(TorchSide):
    """The step in PyTorch."""

    def __init__(self, *, compiled: bool) -> None:
        self._compiled = compiled

    def start(self, options: dict[str, Any], weights: str, shard: str) -> dict[str, Any]:
        """Train and predict once, so that all is compiled."""
        import numpy as np
        import torch
        from unetpp_torch import Step, UNetPlusPlus

        torch.backends.cudnn.benchmark = True  # XLA too tries out what is fastest
        case = Case(**options)
        self._batch = case.batch()
        network = UNetPlusPlus(list(case.filters), case.deep_supervision)
        with np.load(weights) as arrays:
            network.take(arrays)
        self._step = Step(network, "channels_last", case.precision, RATE, compiled=self._compiled)
        losses = self.losses(1)
        first = time.monotonic() - BEGAN
        losses += self.losses(3)
        self.predictions(1)
        taken = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
        return {"first": first, "losses": losses, "memory": taken}

    def predictions(self, batches: int) -> float:
        """Radiographs per second whose probabilities are there."""
        started = time.monotonic()
        return self._step.predictions(self._batch[0], batches, IN_FLIGHT) / (
            time.monotonic() - started
        )


class Run:
    """The sides of a run, what is found of them, and the time that is left."""

    def __init__(self, out: Path, folder: Path, minutes: float, *, gpu: bool) -> None:
        self._gpu = gpu
        out.mkdir(parents=True, exist_ok=True)
        self._file = (out / "gpu.md").open("w", encoding="utf-8")
        self._folder, self._end = folder, BEGAN + 60 * minutes
        self._turns: dict[Row, Turn] = {}
        self._started: dict[Row, dict[str, Any]] = {}
        self._found: dict[Row, dict[str, list[float]]] = {}
        self._shard = ""

    def say(self, line: str) -> None:
        """Tell a line on the terminal and in the file at once."""
        print(line, flush=True)
        print(line, file=self._file, flush=True)

    def make_pairs(self, image_size: int) -> None:
        """Make the shard that ours train on."""
        self._shard = str(make_pairs(self._folder, image_size, pairs_of(image_size)).paths[0])

    def start(self, rows: list[Row]) -> None:
        """Let sides start, all at once."""
        given = {"JAX_COMPILATION_CACHE_DIR": str(self._folder / "jax")}
        given["BENCHMARK_BEGAN"] = str(time.monotonic())
        self._turns |= {row: Turn(__file__, row.side, given) for row in rows}
        weights = str(self._folder / "weights.npz")
        for row in rows:
            self._turns[row].send("start", asdict(row.case), weights, self._shard)
        for row in rows:
            if found := self._answer(row, "start"):
                if not self._on_the_device(row):
                    continue
                self._started[row], self._found[row] = found, {}
                self.say(f"{row}: the first step was done after {found['first']:.1f} s")

    def _on_the_device(self, row: Row) -> bool:
        """Whether a side sees the GPU, if there is one; it ends if it does not."""
        about = self.ask(row, "about")
        if about and self._gpu and not about["gpu"]:
            self.say(f"{row}: sees no GPU ({about['versions']}), so it is left out")
            self.end(row)
        return row in self._turns

    def goes(self, row: Row) -> bool:
        """Whether a side has started and not ended."""
        return row in self._turns

    def ask(self, row: Row, method: str, *values: Any) -> Any:
        """What a side answers; None when it has ended."""
        if row not in self._turns:
            return None
        self._turns[row].send(method, *values)
        return self._answer(row, method)

    def _answer(self, row: Row, method: str) -> Any:
        answer = self._turns[row].answer(max(0.0, self._end - time.monotonic()))
        if answer is None:
            why = "ended, see above" if time.monotonic() < self._end else "the time is up"
            self.say(f"{row}: {method}: {why}")
            self.end(row)
        return answer

    def measure(self, row: Row, what: str, method: str, *values: Any) -> None:
        """Add what a side answers, radiographs per second."""
        self._keep(row, what, self.ask(row, method, *values))

    def measure_steps(self, row: Row, steps: int) -> None:
        """Add the speed of so many steps on the same batch."""
        seconds = self.ask(row, "seconds", steps)
        self._keep(row, "step", seconds and steps * row.case.batch_size / seconds)

    def _keep(self, row: Row, what: str, speed: float | None) -> None:
        if speed:
            self._found[row].setdefault(what, []).append(speed)
            self.say(f"{row}: {what}: {speed:.1f} images/s")

    def end(self, row: Row) -> None:
        """End a side, if it has not yet."""
        if row in self._turns:
            self._turns.pop(row).kill()

    def end_all(self) -> None:
        """Let all sides end."""
        for row in list(self._turns):
            self.end(row)

    def tell(self) -> None:
        """The table: medians, and how many times those of compiled PyTorch they are."""
        self.say(
            "\n| side | batch | precision | loop, images/s | step | by PyTorch compiled | TFLOP/s "
            "| prediction | by PyTorch compiled | first step after, s | GiB | losses apart |"
        )
        self.say("|" + " --- |" * 12)
        for row, started in self._started.items():
            other = replace(row, side=COMPILED)
            speed = self._median(row, "loop") or self._median(row, "step")
            cells = [row.side, str(row.case.batch_size), row.case.precision]
            cells += [_cell(self._median(row, what)) for what in ("loop", "step")]
            cells.append(_ratio(speed, self._median(other, "step")))
            cells.append(_cell(speed and speed * self._operations(row) / 1e12))
            prediction = self._median(row, "prediction")
            cells += [_cell(prediction), _ratio(prediction, self._median(other, "prediction"))]
            cells += [_cell(started["first"]), _cell(started["memory"]), f"{self._apart(row):.0e}"]
            self.say(f"| {' | '.join(cells)} |")

    def _median(self, row: Row, what: str) -> float | None:
        speeds = self._found.get(row, {}).get(what)
        return statistics.median(speeds) if speeds else None

    def _operations(self, row: Row) -> float:
        """Of a radiograph and step: those of any of ours, whose network is the same."""
        return float(
            next(one["operations"] for one in self._started.values() if "operations" in one)
        )

    def _apart(self, row: Row) -> float:
        """How far its losses are at most from those of the first side of this batch size."""
        same = [one for one in self._started if one.case.batch_size == row.case.batch_size]
        losses = [self._started[one]["losses"] for one in (same[0], row)]
        return max(abs(a - b) for a, b in zip(*losses, strict=True))


def main() -> None:
    """Measure and tell."""
    options = _options()
    quiet_libraries()
    if options.side:
        serve(
            Ours() if options.side.startswith(OURS) else Theirs(compiled=options.side == COMPILED)
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        gpu = shutil.which("nvidia-smi") is not None
        run = Run(options.out, Path(folder), options.minutes, gpu=gpu)
        try:
            measure(run, gpu=gpu)
        finally:
            run.end_all()
            run.tell()
            run.say(f"\n{time.monotonic() - BEGAN:.0f} s in all")


def measure(run: Run, *, gpu: bool) -> None:
    """Let the sides start, and measure them in turns."""
    case = compared_case(gpu)
    run.say(f"{machine(gpu)}, Python {platform.python_version()}; {case}")
    if not gpu:
        run.say(
            "No GPU was found: a rehearsal of a tiny network, whose figures say nothing of one."
        )
    run.make_pairs(case.image_size)
    ours = Row(OURS, case)
    run.start([ours])
    if not run.goes(ours):
        raise SystemExit("nothing to compare with: found no start of our training, see above")
    run.say(f"versions: {run.ask(ours, 'about')}")
    if peak := run.ask(ours, "peak"):
        run.say(f"bfloat16 matrix product: {peak / 1e12:.1f} TFLOP/s")
    run.measure(ours, "drawn while nothing trains", "drawn")
    again = Row(f"{OURS} from the cache", case)
    run.start([again])
    run.end(again)
    in_turns(run, [ours], ours, 1)
    same = [Row(side, case) for side in sides()[1:]]
    run.start(same)
    in_turns(run, [ours, *same], ours, ROUNDS)
    run.end_all()
    if gpu:
        others = other_rows(case)
        run.start(others)
        in_turns(run, others, ours, ROUNDS)


def in_turns(run: Run, rows: list[Row], ours: Row, rounds: int) -> None:
    """Measure the sides; the loop only of `ours`, whose epoch is long enough for its input."""
    for _ in range(rounds):
        for row in rows:
            if row == ours:
                run.measure(row, "loop", "loop")
            run.measure_steps(row, STEPS)
            run.measure(row, "prediction", "predictions", STEPS)


def compared_case(gpu: bool) -> Case:
    """What all sides do: the network of presets/gpu.yaml, without a GPU a tiny one."""
    given = read_yaml(PRESET)
    train, size = given["train"], given["augment"]["image_size"]
    case = Case(size, tuple(train["filters"]), train["deep_supervision"], 64, "mixed")
    case = replace(case, weight_averaging=train["weight_averaging"])
    return case if gpu else replace(case, image_size=32, filters=(4, 8, 16), batch_size=8)


def pairs_of(image_size: int) -> int:
    """How many there are of radiographs of this size: few of the tiny ones of a rehearsal."""
    return PAIRS if image_size > 32 else PAIRS // 8


def other_rows(case: Case) -> list[Row]:
    """What is measured besides our case, in the order of its worth."""
    full = replace(case, precision="float32", batch_size=case.batch_size // 2)
    sizes = [replace(case, batch_size=int(case.batch_size * share)) for share in (0.25, 0.5, 2)]
    rows = [Row(OURS, other) for other in (*sizes, full)]
    return rows + [Row(side, other) for other in (sizes[0], full) for side in sides()[1:]]


def sides() -> list[str]:
    """Ours, and PyTorch's where it is installed."""
    return [OURS, *([COMPILED, EAGER] if find_spec("torch") else [])]


def _cell(found: float | None) -> str:
    return "–" if found is None else f"{found:.1f}"


def _ratio(one: float | None, other: float | None) -> str:
    return f"{one / other:.2f}" if one and other else "–"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(), help="a folder for gpu.md")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which nothing is begun")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
