"""Which radiograph a row of a sheet means.

The rule: folders before the name and a suffix after it do not count, nor does the case of letters.
Where no file has just that name, only its letters and numbers are compared: neither the class's own
name at the beginning nor zeros before a number count, so that `Normal (1)`, `Normal-1` and `1` mean
`0001`. A name that can mean several files, or several names that can mean one, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PureWindowsPath

from pipeline.dataset.layout import same_name
from pipeline.dataset.metadata.folding import bare_words
from pipeline.errors import DatasetError

PICTURE = re.compile(r"(\.(png|jpe?g|dcm|dicom|dic|tiff?|bmp|gif|webp|jp2))+$")


def file_key(name: str) -> str:
    r"""What a name is compared by first: `Normal\images\NORMAL-1.PNG` is normal-1."""
    # Windows knows both kinds of slashes.
    key = same_name(PureWindowsPath(name.strip()).name.strip())
    return PICTURE.sub("", key) or key


def match_names(names: Collection[str], files: Collection[str], class_name: str) -> dict[str, str]:
    """The file of `files`, names without suffix, that each name means; without those of no file.

    Raises DatasetError for a name that may mean several files, or the reverse.
    """
    by_key: dict[str, list[str]] = {}
    for file in files:
        by_key.setdefault(file_key(file), []).append(file)
    matched = {}
    for name in names:
        found = by_key.get(file_key(name), [])
        if len(found) > 1:
            raise DatasetError(
                f"{name} may mean {' or '.join(found[:3])}, as case and suffixes do not count; "
                "rename one of them"
            )
        if found:
            matched[name] = found[0]
    left = sorted(set(files) - set(matched.values()))
    rest = sorted(set(names) - matched.keys())
    loose = _by_words(left, class_name)
    for words, alike in _by_words(rest, class_name).items():
        found = loose.get(words, [])
        if found and len(found) + len(alike) > 2:
            raise DatasetError(
                f"{' and '.join(alike[:3])} may mean {' or '.join(found[:3])}; write the names of "
                "the files as they are"
            )
        if found:
            matched[alike[0]] = found[0]
    return matched


def refuse_rivals(matched: Mapping[str, str], files: Collection[str], class_name: str) -> None:
    """Raise DatasetError for a file without a name that differs by no more from one with a name.

    The name may have meant it: it did before the other one came.
    """
    nameless = _by_words(sorted(set(files) - set(matched.values())), class_name)
    named = _by_words(matched, class_name)
    for words in sorted(nameless.keys() & named.keys()):
        name, file = named[words][0], nameless[words][0]
        raise DatasetError(
            f"{name} may mean {matched[name]} or {file}, which has no row; add a row for it, or "
            "rename one of them"
        )


def _by_words(names: Iterable[str], class_name: str) -> dict[tuple[str, ...], list[str]]:
    beginning = bare_words(same_name(class_name))
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        words = bare_words(file_key(name))
        rest = words[len(beginning) :]
        if words[: len(beginning)] == beginning and any(word.isdecimal() for word in rest):
            words = rest
        if words:
            groups.setdefault(words, []).append(name)
    return groups
