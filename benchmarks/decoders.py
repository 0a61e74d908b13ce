"""Reading one DICOM radiograph, from its file to grey values, by the way its pixels are compressed.

    python benchmarks/decoders.py [--side 1900] [--repeats 20]

The picture is smooth, of 12 bits and with noise, so that it compresses as radiographs do. `first`
holds the start of the process that decodes; the others are medians and the fastest. `processor` is
the time of both processes, which is what counts on a machine that does other work, too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from imagecodecs import htj2k_encode, jpeg8_encode, jpegls_encode
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from pipeline.radiograph.reading import load_radiograph

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


def drawn(side: int) -> NDArray[np.uint16]:
    """A picture of 12 bits."""
    rows, columns = np.mgrid[:side, :side] / side
    smooth = (
        2000 + 1500 * np.sin(3 * columns) * np.cos(2 * rows) + 300 * np.sin(20 * columns * rows)
    )
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    return (smooth + noise).clip(0, 4095).astype(np.uint16)


def frame(pixels: NDArray[np.uint16], syntax: str) -> bytes:
    """The compressed pixels."""
    if syntax == uid.JPEGExtended12Bit:
        return bytes(jpeg8_encode(pixels, 90, bitspersample=12))
    if syntax == uid.JPEGLosslessSV1:
        return bytes(jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12))
    if syntax == uid.JPEGLSLossless:
        return bytes(jpegls_encode(pixels))
    if syntax == uid.HTJ2KLossless:
        return bytes(htj2k_encode(pixels, reversible=True))
    return bytes(encode_array(pixels, bits_stored=12))


def write(path: Path, pixels: NDArray[np.uint16], syntax: str) -> None:
    """Write the picture as a DICOM file."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    described: dict[str, Any] = {
        "SOPClassUID": uid.SecondaryCaptureImageStorage,
        "SOPInstanceUID": "1.2.3",
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": 2000,
        "WindowWidth": 4000,
    }
    for keyword, value in described.items():
        setattr(dataset, keyword, value)
    if syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    if syntax.is_compressed and syntax not in (uid.RLELossless, uid.DeflatedExplicitVRLittleEndian):
        dataset.PixelData = encapsulate([frame(pixels, syntax)])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == uid.RLELossless:
        dataset.compress(syntax)
    dataset.save_as(path, enforce_file_format=True)


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
