"""Words that stand where a sheet does not know the patient, the study or the source."""

from __future__ import annotations

import re

from pipeline.dataset.metadata.folding import letters_and_digits

UNKNOWN = frozenset(
    {
        *("", "na", "nan", "nat", "none", "null", "nil", "nd", "nk", "tbd", "x", "xx", "xxx"),
        *("unknown", "unk", "unkn", "unspecified", "undefined", "undisclosed", "missing", "empty"),
        *("notavailable", "notapplicable", "notknown", "notgiven", "notstated", "notspecified"),
        *("nopatient", "nodata", "noinfo", "anonymous", "anonymised", "anonymized", "anonym"),
        *("anon", "deidentified", "redacted", "removed", "withheld", "private", "confidential"),
        *("unbekannt", "keine", "keineangabe", "ka", "nichtbekannt", "fehlt"),
        *("неизвестно", "неизвестен", "неизвестныи", "нет", "нд", "нетданных", "аноним"),
        *("desconocido", "desconocida", "sindatos", "ninguno", "anonimo", "nodisponible"),
        *("inconnu", "inconnue", "aucun", "anonyme", "nonrenseigne", "nonconnu"),
    }
)
ZERO = re.compile(r"[-+]?0*(\.0*)?|-1")
"""Numbers that number nobody; -1 is the usual sign for a missing one."""


def is_unknown(text: str) -> bool:
    """Whether this names nobody and nothing: empty, `-`, `N/A`, `unknown`, 0, #N/A ..."""
    return bool(ZERO.fullmatch(text)) or is_word_of_nothing(text)


def is_word_of_nothing(text: str) -> bool:
    """The same of what is no number, for where one may be a code: empty, `-`, `N/A`, `unknown`."""
    return letters_and_digits(text) in UNKNOWN
