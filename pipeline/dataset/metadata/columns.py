"""Which column of a sheet says what: its header is compared by its letters alone, in any case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline.dataset.metadata.cells import Cells, text_of
from pipeline.dataset.metadata.convention_names import slips
from pipeline.dataset.metadata.folding import folded
from pipeline.errors import DatasetError

FILE, PATIENT, STUDY, SOURCE, SPACING = "file", "patient", "study", "source", "spacing"
CONVENTION = "convention"
HEADERS = {
    FILE: (
        "FILE NAME, FILE, FILES, FILE NAMES, IMAGE FILE, IMAGE FILE NAME, IMAGE NAME, IMAGE ID,"
        "IMAGE INDEX, IMAGE, IMAGES, IMG, FILE PATH, IMAGE PATH, PATH, RADIOGRAPH, DICOM ID,"
        "DATEINAME, DATEI, BILDNAME, BILDDATEI, BILD, RÖNTGENBILD,"
        "ИМЯ ФАЙЛА, НАЗВАНИЕ ФАЙЛА, ФАЙЛ, ИМЯ СНИМКА, СНИМОК, ИЗОБРАЖЕНИЕ,"
        "NOMBRE DE ARCHIVO, NOMBRE DEL ARCHIVO, ARCHIVO, NOMBRE DE FICHERO, FICHERO, IMAGEN,"
        "NOMBRE DE IMAGEN, NOMBRE DE LA IMAGEN, RADIOGRAFÍA,"
        "NOM DE FICHIER, NOM DU FICHIER, FICHIER, NOM DE L'IMAGE, CLICHÉ, RADIOGRAPHIE"
    ),
    PATIENT: (
        "PATIENT ID, PATIENT IDENTIFIER, PATIENT NUMBER, PATIENT NO, PATIENT NR, PATIENT NUM,"
        "PATIENT CODE, PATIENT KEY, PATIENT, PATIENTS, PATIENT'S ID, PAT ID, PAT NO, PAT NR, PAT,"
        "PID, PT ID, PT NO, PT, ID PATIENT, ID OF PATIENT, MRN, MEDICAL RECORD NUMBER,"
        "SUBJECT ID, SUBJECT NUMBER, SUBJECT NO, SUBJECT, SUBJECTS, PARTICIPANT ID, PARTICIPANT,"
        "PERSON ID, PERSON, PATIENT NAME, PATIENT'S NAME, NAME OF PATIENT,"
        "PATIENTENNUMMER, PATIENTENNR, PATIENTEN-ID, PATIENTENKENNUNG, PATIENTENPSEUDONYM,"
        "PATIENTEN, PATIENTIN, PATIENTENNAME,"
        "ID ПАЦИЕНТА, ИД ПАЦИЕНТА, НОМЕР ПАЦИЕНТА, № ПАЦИЕНТА, КОД ПАЦИЕНТА, ПАЦИЕНТ ID,"
        "ПАЦИЕНТ, ПАЦИЕНТЫ, БОЛЬНОЙ, ФИО ПАЦИЕНТА, ФИО,"
        "ID PACIENTE, ID DE PACIENTE, ID DEL PACIENTE, PACIENTE ID, NÚMERO DE PACIENTE, NHC,"
        "NÚMERO DEL PACIENTE, CÓDIGO DE PACIENTE, PACIENTE, PACIENTES, NOMBRE DEL PACIENTE,"
        "IDENTIFIANT PATIENT, IDENTIFIANT DU PATIENT, ID DU PATIENT, NUMÉRO PATIENT,"
        "NUMÉRO DE PATIENT, NUMÉRO DU PATIENT, CODE PATIENT, PATIENTE, NOM DU PATIENT, SUJET"
    ),
    STUDY: (
        "STUDY INSTANCE UID, STUDY UID, STUDY ID, ACCESSION NUMBER, ACCESSION NO, ACCESSION,"
        "STUDY NUMBER, STUDY NO, STUDY, EXAM ID, EXAM, EXAMINATION ID, EXAMINATION, CASE ID,"
        "CASE NUMBER, CASE NO, CASE, ENCOUNTER ID, ENCOUNTER, VISIT ID, ADMISSION ID,"
        "STUDIE, STUDIEN-ID, UNTERSUCHUNG, UNTERSUCHUNGSNUMMER, FALLNUMMER, FALLNR, FALL-ID, FALL,"
        "ИССЛЕДОВАНИЕ, НОМЕР ИССЛЕДОВАНИЯ, ID ИССЛЕДОВАНИЯ, НОМЕР ИСТОРИИ БОЛЕЗНИ,"
        "ESTUDIO, ID ESTUDIO, ID DEL ESTUDIO, NÚMERO DE ESTUDIO, EXAMEN, ÉTUDE, ID ÉTUDE,"
        "NUMÉRO D'EXAMEN, NUMÉRO DE DOSSIER"
    ),
    SOURCE: (
        "URL, SOURCE URL, SOURCE, LINK, WEB LINK, WEBSITE, QUELLE, HERKUNFT, ИСТОЧНИК, ССЫЛКА,"
        "FUENTE, ENLACE, LIEN, PROVENANCE"
    ),
    SPACING: "PIXEL SPACING",
    CONVENTION: (
        "CONVENTION, ANNOTATION CONVENTION, MASK CONVENTION, SEGMENTATION CONVENTION,"
        "LABELLING CONVENTION, LABELING CONVENTION, CONVENTION OF ANNOTATION, CONVENTIONS,"
        "KONVENTION, ANNOTATIONSKONVENTION, SEGMENTIERUNGSKONVENTION, MASKENKONVENTION,"
        "КОНВЕНЦИЯ, КОНВЕНЦИЯ РАЗМЕТКИ, ПРАВИЛА РАЗМЕТКИ,"
        "CONVENCIÓN, CONVENCIÓN DE ANOTACIÓN, CONVENCIÓN DE SEGMENTACIÓN,"
        "CONVENTION D'ANNOTATION, CONVENTION DE SEGMENTATION"
    ),
}
"""The usual headers of each, the better one first where a sheet has several."""
PERSON_WORDS = ("patient", "pacient", "пациент", "subject", "sujet", "participant", "proband")
NOT_WHO = (
    *("age", "alter", "возраст", "edad", "sex", "пол", "gender", "geschlecht", "genre", "birth"),
    *("dob", "geburt", "рожд", "nacim", "naiss", "date", "datum", "дата", "fecha", "time"),
    *("weight", "height", "size", "bmi", "gewicht", "вес", "рост", "peso", "poids", "taille"),
    *("position", "orientation", "view", "comment", "note", "history", "diagnos", "symptom"),
    *("status", "state", "condition", "outcome", "surviv", "type", "group", "class", "category"),
    *("country", "city", "region", "address", "hospital", "race", "ethnic", "smok", "consent"),
    *("count", "numberof", "inpatient", "outpatient", "anzahl", "data", "info", "report"),
)
"""What a header that names a patient may say of them besides who they are."""
CONVENTION_WORDS = ("convention", "konvention", "конвенци", "convencion")
IDS = ("id", "uid", "identifier", "pseudonym", "kennung", "identificador", "identifiant", "name")
"""Headers of whatever has a number: a patient where one stands in several rows."""
TITLES = 10
"""Lines in which the header is looked for."""


def letters(header: object) -> str:
    """The letters of a header without case and accents: `Patient-ID` is patientid.

    A header without any letter stands for itself.
    """
    plain = folded(str(header))
    return "".join(letter for letter in plain if letter.isalpha()) or plain.strip()


USUAL = {role: [letters(one) for one in text.split(",")] for role, text in HEADERS.items()}


@dataclass(frozen=True)
class Columns:
    """Where the header is and what its columns say; columns are counted from 1."""

    line: int
    """Of the header."""
    headers: dict[int, str]
    by_role: dict[str, tuple[int, ...]]
    """The columns of each role, the best one first."""
    chosen: frozenset[str] = frozenset()
    """Roles whose best column the project names."""

    @property
    def file(self) -> int:
        """The column of the file names."""
        return self.by_role[FILE][0]


def find_columns(cells: Cells, names: Mapping[str, Sequence[str]]) -> Columns:
    """Find the header among the first lines; `names` are further headers by role.

    Those come before the usual headers, and have no other role. Raises DatasetError when no column
    names the files, or when one header stands twice.
    """
    candidates = [
        _columns(number, {column: text_of(value) for column, value in line.items()}, names)
        for number, line in islice(cells.lines.items(), TITLES)
    ]
    named = [one for one in candidates if FILE in one.by_role]
    if not named:
        first = ", ".join(candidates[0].headers.values()) if candidates else "missing"
        raise DatasetError(
            f"columns are {first[:200]}; expected 'FILE NAME' or a like one, give yours in "
            "validate.file_columns of params.yaml"
        )
    best = max(named, key=lambda one: (len(one.by_role), -one.line))
    headers = list(best.headers.values())
    if twice := sorted({header for header in headers if headers.count(header) > 1}):
        raise DatasetError(f"the column {twice[0]} stands twice; rename or remove one")
    return best


def _columns(line: int, headers: dict[int, str], names: Mapping[str, Sequence[str]]) -> Columns:
    keys = {column: letters(header) for column, header in headers.items()}
    by_role: dict[str, tuple[int, ...]] = {}
    chosen: set[str] = set()
    given = {letters(name) for known in names.values() for name in known}
    for role, usual in USUAL.items():
        own = _in_order(keys, [letters(name) for name in names.get(role, ())])
        found = own + _in_order(keys, [key for key in usual if key not in given])
        if found:
            by_role[role] = found
            chosen |= {role} if own else set()
    return Columns(line, headers, by_role, frozenset(chosen))


def _in_order(keys: Mapping[int, str], wanted: Sequence[str]) -> tuple[int, ...]:
    return tuple(column for name in wanted for column, key in keys.items() if key == name)


def looks_like_patient(header: str, values: Iterable[str]) -> bool:
    """Whether a column with this header and these values may say who the patient is."""
    key = letters(header)
    if key in IDS:
        known = [value for value in values if value]
        return len(set(known)) < len(known)
    person = next((word for word in PERSON_WORDS if word in key), None)
    return person is not None and not any(word in key.replace(person, "", 1) for word in NOT_WHO)


def looks_like_convention(header: str) -> bool:
    """Whether a column with this header may say the convention, also misspelt by one letter."""
    key = letters(header)
    return any(word in key or slips(word, key) == 1 for word in CONVENTION_WORDS)
