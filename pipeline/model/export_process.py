"""The export to ONNX in a process of its own, on TensorFlow, of a network that another engine made.

Keras writes ONNX by tf2onnx; a training on JAX has nothing of TensorFlow in its process.

    python -m pipeline.model.export_process MODEL.KERAS MODEL.ONNX CONVENTION...
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import CrashedError, LungsegError, StageError
from pipeline.model.keras_file import load_network
from pipeline.settings import child_environment, quiet_libraries


def export_saved(saved: Path, path: Path, conventions: Sequence[str]) -> None:
    """Write the network of a model.keras, which answers in `conventions`, as ONNX.

    Raises StageError with the process' own reason, CrashedError when it was killed.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(saved), str(path), *conventions],
        # The cards are the training's own.
        env=child_environment(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode < 0:
        raise CrashedError(
            f"model.onnx: the process that exports it was killed by signal {-done.returncode}, "
            "as a full memory does; free some; the same command then exports again"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StageError(
            f"model.onnx: the network cannot be exported ({last[:300]}); its checkpoints are "
            "kept, so run the stage train again when that is mended"
        )


def _main(saved: Path, path: Path, conventions: Sequence[str]) -> None:
    """Export, as the process of its own."""
    quiet_libraries()
    from pipeline.model.export import export_network

    try:
        export_network(load_network(saved), path, conventions)
    except LungsegError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
