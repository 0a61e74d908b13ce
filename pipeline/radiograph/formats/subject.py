"""Whether a DICOM header says that the picture is no frontal chest radiograph for people to read.

Each element is judged by what it excludes: words known for other parts, views and modalities refuse
the file, words that are not known are noted (the table is in docs/data.md). Descriptions are typed
by people, and may name one: they are never quoted.
"""

from __future__ import annotations

from typing import NamedTuple

from pydicom import Dataset

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.elements import bare, plain, spoken, text
from pipeline.radiograph.formats.words import (
    OTHER_MODALITIES,
    RADIOGRAPHY,
    Words,
    part_words,
    view_words,
)

SUBJECT_TAGS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "PresentationIntentType",
    "Modality",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
)
FOR_PROCESSING = ("1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2.1")
"""Of digital X-ray and of mammography; the SOP classes of raw detector data."""
PLANES = {frozenset("AF"): "lateral", frozenset("AL"): "axial", frozenset("FL"): ""}
SAME_AXIS = str.maketrans("PHR", "AFL")
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription")


class Said(NamedTuple):
    """What an element says, and how a message may show that."""

    keyword: str
    shown: str
    words: str


def judge_subject(header: Dataset) -> list[str]:
    """What a person should know; raises UnreadableError for what the header excludes."""
    _refuse_raw_data(header)
    notes = _judge_modality(text(header, "Modality"))
    notes += _judge_orientation(header)
    parts = [_of_element(header, "BodyPartExamined"), *_of_codes(header, "AnatomicRegionSequence")]
    views = [_of_element(header, "ViewPosition"), *_of_codes(header, "ViewCodeSequence")]
    notes += _judge(parts, part_words, "part of the body")
    notes += _judge(views, view_words, "view")
    for keyword in DESCRIPTIONS:
        notes += _judge_description(header, keyword, parts, views)
    return notes


def _refuse_raw_data(header: Dataset) -> None:
    intent, kind = text(header, "PresentationIntentType"), str(header.get("SOPClassUID", ""))
    if "PROCESSING" in intent or kind in FOR_PROCESSING:
        raise UnreadableError(
            "for_processing",
            "is raw detector data (FOR PROCESSING), expected the picture that people read; export "
            "the image FOR PRESENTATION",
        )


def _judge_modality(found: str) -> list[str]:
    if OTHER_MODALITIES.fullmatch(found):
        raise _other("Modality", found)
    if not found or RADIOGRAPHY.fullmatch(found):
        return []
    return [f"Modality is {found}, which is not known: taken for a radiograph"]


def _judge_orientation(header: Dataset) -> list[str]:
    """Rows and columns of a frontal radiograph run from side to side and from head to feet."""
    directions = header.get("PatientOrientation") or ()
    if isinstance(directions, str):
        return []
    first = [str(one).upper()[:1] for one in directions]
    plane = PLANES.get(frozenset(one.translate(SAME_AXIS) for one in first))
    if len(first) != 2 or plane is None:
        return []
    shown = plain("/".join(map(str, directions)))
    if plane:
        raise _other("PatientOrientation", f"{shown}, a {plane} view")
    if first[1] == "F":
        return []
    return [f"PatientOrientation is {shown}: the picture is not upright, and is read as it lies"]


def _of_element(header: Dataset, keyword: str) -> Said:
    return Said(keyword, text(header, keyword), spoken(header, keyword))


def _of_codes(header: Dataset, keyword: str) -> list[Said]:
    """What the codes of a sequence, and those that modify them, mean."""
    found = []
    for item in header.get(keyword) or ():
        modifiers = item.get("ViewModifierCodeSequence") or ()
        for code in (item, *modifiers):
            meaning, value = str(code.get("CodeMeaning") or ""), str(code.get("CodeValue") or "")
            found.append(Said(keyword, plain(f"{meaning} ({value})"), bare(f"{meaning} {value}")))
    return found


def _judge(elements: list[Said], words: Words, kind: str) -> list[str]:
    notes = []
    for keyword, shown, said in elements:
        wanted, other = words.wanted(said), words.other(said)
        if (other and not wanted) or words.always_other(said):
            raise _other(keyword, shown)
        if other:
            notes.append(f"{keyword} is {shown}, which names another {kind} as well")
        elif said and not wanted:
            notes.append(f"{keyword} is {shown}, which is no known {kind}")
    return notes


def _judge_description(
    header: Dataset, keyword: str, parts: list[Said], views: list[Said]
) -> list[str]:
    """Of a description only the words that exclude something count."""
    said = spoken(header, keyword)
    notes = []
    for words, kind, elements in (
        (part_words, "another part of the body", parts),
        (view_words, "another view", views),
    ):
        if words.wanted(said) or not words.other(said):
            continue
        # A study has several radiographs, and its description is of all of them.
        if keyword != "StudyDescription" or not any(words.wanted(one.words) for one in elements):
            raise _other(keyword, kind)
        notes.append(f"{keyword} names {kind}")
    return notes


def _other(keyword: str, found: str) -> UnreadableError:
    return UnreadableError(
        "not_chest",
        f"{keyword} is {found}, expected a frontal chest radiograph (CR or DX, CHEST, PA or AP); "
        "take it out, or correct its header if that is wrong",
    )
