"""Reading one DICOM radiograph, from its file to grey values, by the way its pixels are compressed.

    python -m benchmarks.decoders [--side 1900] [--repeats 20]

The picture is smooth, of 12 bits and with noise, so that it compresses as radiographs do. `first`
holds the start of the process that decodes; the others are medians and the fastest. `processor` is
the time of both processes, which is what counts on a machine that does other work, too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from imagecodecs import htj2k_encode
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import uid
from pydicom.encaps import encapsulate

from pipeline.radiograph.reading import load_radiograph
from tests.radiograph.containers import dicom, dicom_bytes
from tests.radiograph.jpeg_streams import extended, lossless, ls

SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGExtended12Bit,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.HTJ2KLossless,
    uid.JPEG2000Lossless,
)

FRAMES: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    uid.JPEGExtended12Bit: lambda pixels: extended(pixels, 90),
    uid.JPEGLosslessSV1: lambda pixels: lossless(pixels, 12),
    uid.JPEGLSLossless: ls,
    uid.HTJ2KLossless: lambda pixels: bytes(htj2k_encode(pixels, reversible=True)),
    uid.JPEG2000Lossless: lambda pixels: bytes(encode_array(pixels, bits_stored=12)),
}
"""How the compressed pixels are made."""


def drawn(side: int) -> NDArray[np.uint16]:
    """A picture of 12 bits."""
    rows, columns = np.mgrid[:side, :side] / side
    smooth = (
        2000 + 1500 * np.sin(3 * columns) * np.cos(2 * rows) + 300 * np.sin(20 * columns * rows)
    )
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    return (smooth + noise).clip(0, 4095).astype(np.uint16)


def write(path: Path, pixels: NDArray[np.uint16], syntax: str) -> None:
    """Write the picture as a DICOM file."""
    dataset = dicom(pixels, 12, WindowCenter=2000, WindowWidth=4000)
    if syntax == uid.RLELossless:
        dataset.compress(syntax)
    elif syntax in FRAMES:
        dataset.PixelData = encapsulate([FRAMES[syntax](pixels)])
        dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    path.write_bytes(dicom_bytes(dataset))


def processor_time() -> float:
    """Seconds that this process and those it has started have worked."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children())]
    return sum(one.user + one.system for one in times)


def measure(path: Path, name: str, repeats: int) -> None:
    """Print one row of the table."""
    started = time.perf_counter()
    load_radiograph(path)
    first = time.perf_counter() - started
    wall, before = [], processor_time()
    for _ in range(repeats):
        started = time.perf_counter()
        load_radiograph(path)
        wall.append(time.perf_counter() - started)
    processor = (processor_time() - before) / repeats
    size = path.stat().st_size / 1e6
    row = [
        f"{1000 * value:.0f}" for value in (first, statistics.median(wall), min(wall), processor)
    ]
    print(f"| {name} | {size:.1f} | {' | '.join(row)} |", flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=1900, help="pixels")
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args()
    pixels = drawn(chosen.side)
    print("| compression | MB | first, ms | median, ms | fastest, ms | processor, ms |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for syntax in SYNTAXES:
            path = Path(folder, "a.dcm")
            write(path, pixels, syntax)
            measure(path, syntax.name, chosen.repeats)


if __name__ == "__main__":
    main()
