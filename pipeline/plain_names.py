"""Names that every part of a run takes, made of ones that a person chose: reversible, and unlike.

A class and a radiograph are called as their folder and file are, and may hold what others refuse
or read in their own way: MLflow in the name of a metric, and in an address `#`, `?` and `%`.
Letters and digits of any script, `_`, `-` and the space stay; every other character becomes its
code point in hexadecimal digits between two dots, and no character at all `.empty.`. Only of a
name that is too long the end cannot be read back: `..` and a hash of all of it stand there.
"""

from __future__ import annotations

import hashlib
import re

DIGITS = 16
"""Of the hash, hexadecimal."""


def plain_name(text: str, longest: int) -> str:
    """`text` as a name of at most `longest` bytes, at least 40; other texts get other names."""
    name = _escaped(text)
    if len(name.encode()) <= longest:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    room = longest - DIGITS - 2
    kept = next(end for end in range(longest, 0, -1) if len(_escaped(text[:end]).encode()) <= room)
    return f"{_escaped(text[:kept])}..{digest}"


def _escaped(text: str) -> str:
    return re.sub(r"[^\w \-]", lambda found: f".{ord(found[0]):X}.", text) or ".empty."
