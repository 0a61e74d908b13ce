"""The GPUs that the driver of this host lists."""

from __future__ import annotations

import shutil
import subprocess


def listed_cards() -> int:
    """How many cards `nvidia-smi` lists; 0 where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    listing = subprocess.run(
        [program, "-L"], capture_output=True, text=True, check=False, timeout=30
    )
    return listing.stdout.count("GPU ")
