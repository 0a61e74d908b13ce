"""Text of sheets as it is compared: without what one person writes and another one does not."""

from __future__ import annotations

import re
import unicodedata

WORDS = re.compile(r"\d+|[^\W\d_]+")


def bare_words(text: str) -> tuple[str, ...]:
    """Letters and numbers apart, numbers without the zeros before them: `p-007b` is p, 7, b."""
    found = WORDS.findall(text)
    return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in found)


def folded(text: str) -> str:
    """Without case, and with letters and their accents apart."""
    return unicodedata.normalize("NFKD", text).casefold()


def letters_and_digits(text: str) -> str:
    """Those alone, without case and accents: `N/A` is na."""
    return "".join(letter for letter in folded(text) if letter.isalnum())
