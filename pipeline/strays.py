"""Files and folders that systems leave behind: no part of any dataset, delivery or prediction."""

from __future__ import annotations

STRAYS = {
    "$recycle.bin",
    "#recycle",  # of Synology's and QNAP's disks, as the next three
    "#snapshot",
    "@eadir",
    "@recycle",
    "__macosx",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
LOCK_OF_OFFICE = "~$"
"""How the name of the file begins that Excel keeps beside an open sheet."""


def is_stray(name: str) -> bool:
    """Whether a file or folder is hidden, as AppleDouble's are, or was left by a system."""
    return name.startswith((".", LOCK_OF_OFFICE)) or name.casefold() in STRAYS
