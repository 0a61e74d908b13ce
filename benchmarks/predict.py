"""How fast `lungseg predict` is on a folder of radiographs, and whether its memory stays flat.

    python -m benchmarks.predict [--radiographs 250 1000]

Synthetic radiographs of 299 pixels, the network of params.yaml with random weights, which takes as
long as a trained one, from an MLflow server on loopback. Process start to end; `memory` is the
largest proportional set size of the whole process tree, MB.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.data import LUNGSEG, run
from benchmarks.start import ROOT, served
from pipeline.dataset.synthetic.phantom import radiograph
from pipeline.params_file import load_params
from tests.release.runs import OLD_LAYOUT


def write_model(folder: Path) -> None:
    """A released model's folder with the network of params.yaml."""
    import keras

    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network
    from pipeline.model.unetpp import build_unetpp

    shutil.copytree(OLD_LAYOUT, folder)
    params = load_params(ROOT / "params.yaml")
    keras.utils.set_random_seed(0)
    network = build_unetpp(params.augment.image_size, params.train)
    save_network(network, folder / "artifacts/model.keras")
    export_network(network, folder / "artifacts/model.onnx")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--radiographs", nargs="+", type=int, default=[250, 1000])
    counts = parser.parse_args().radiographs
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        write_model(home / "model")
        with served(home, home / "model") as address:
            os.environ["MLFLOW_TRACKING_URI"] = address
            print("| radiographs | s | a second | memory, MB |")
            print("|---|---|---|---|")
            for count in counts:
                folder = home / f"of-{count}"
                folder.mkdir()
                for index in range(count):
                    pixels, _ = radiograph(0, index, "Normal")
                    Image.fromarray(pixels).save(folder / f"{index}.png")
                use = run([*LUNGSEG, "predict", str(folder), "--out", str(home / f"{count}")], ROOT)
                rate = count / use.seconds
                print(f"| {count} | {use.seconds:.1f} | {rate:.1f} | {use.memory:.0f} |")


if __name__ == "__main__":
    main()
