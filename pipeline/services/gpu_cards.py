"""The GPUs that the driver of this host lists."""

from __future__ import annotations

import logging
import shutil
import subprocess

log = logging.getLogger(__name__)

PATIENCE_S = 30
"""Seconds for which the driver may be silent."""


def listed_cards() -> int:
    """How many cards `nvidia-smi` lists; 0 where there is no such program or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the driver does not list its GPUs, so none count: %s", error)
        return 0
    return listing.stdout.count("GPU ")
