"""The process that decodes, with decoders that do what broken ones do.

Run by its path, as decoder_process.py is, with the project on PYTHONPATH.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.radiograph.formats import decoder_process


def decode(content: bytes) -> Any:
    what, _, path = content.decode().partition(" ")
    match what:
        case "crash":
            os.abort()
        case "crash-once" if not Path(path).exists():
            Path(path).touch()
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "loop":
            signal.alarm(0)  # only the bound of processor time is left
            while True:
                pass
        case "sleep":
            time.sleep(1000)
        case "memory":
            bytearray(2**30)
        case "raise":
            raise ValueError("no such stream")
        case "print":
            os.write(1, b"DDDD")
        case "half":
            return np.zeros((32, 72), np.uint16)
    return np.full((64, 72), os.getpid() % 2**16, np.uint16)


if __name__ == "__main__":
    decoder_process.STUCK_S = 2
    decoder_process.DECODERS[b"JPEG"] = decode
    decoder_process.answer_requests()
