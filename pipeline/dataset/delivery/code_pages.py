"""The code page that names suggest which were written down without one.

A name is decoded in every code page that packers have used, and the text is judged as a reader
would: letters of one alphabet, the frequent ones above all, small ones after the first, and no
frames or fractions within words. Which letters count is of the languages that use the code page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CLEAR = 1.5
"""By how much the sum of the best code page must exceed that of the next one."""
READABLE = 1.0
"""Below this mean no code page gives words."""
USUAL = 2.0
"""What counts a character of two bytes that is in the usual set; a frequent letter counts 3."""
RARER = 0.3
"""How much better a code page of few users must read, for each letter."""
CAPITAL = 0.2
"""How much less a capital counts: some code pages have them where others have small letters."""
UNEXPECTED, BROKEN, NO_LETTER = -1.0, -4.0, -6.0
"""What counts a letter that the language does not use, a word that no person writes, and a frame or
fraction."""
JUDGED = 100
"""Words at most, spread over all: a delivery may name each file after a patient."""
PUNCTUATION = "№–—«»’°・、。（）【】"
"""What stands in names beside letters, and says little."""
BETWEEN_WORDS = re.compile(rb"[/0-9 .()-]+")
"""None of these is ever the second byte of a character, as a backslash may be."""

# Letters beyond ASCII, the frequent ones first; of CJK those of the words of chest radiographs.
RUSSIAN = "оеаинтсрвлкмпдуяыьгзбчйхжшюцщэфъёіїєґў"
GREEK = "αοιετσνηυρκπμλόίάέύωςήγδχθφώβξζψϊϋ"
WESTERN = ("éèàêçâîôùûëïœæ", "üäöß", "óíáñéúü", "ãçáéíóêâõúôàü", "àèìòùé", "äöåøæéü", "äõöüšž")
CENTRAL = ("łóężąśćńź", "áíéěřšžčýůúóňťď", "áéöóőüíúű", "áéíčšžýúľťôňďäóĺŕ", "čšžćđ", "ăîâşţșț")
TURKISH = ("ıüşöğçâ",)
HEBREW = "יוהלאתרמבשנםדעחקפכגסזטצןךףץ"
ARABIC = "اليمنرتوبعدسفهكقحجشصطخضذثزغةأىئإءظؤآ"
THAI = "านรกอเงมยลวดทตสปบคหแจพชขใไโผซธศณฟถภญิี้่ัำุะื์ูึ็๊"
JAPANESE = "肺正常炎結核画像影感染患者男女左右陽陰性新型写真胸部" + "".join(
    map(chr, range(0x3041, 0x30FF))
)
SIMPLIFIED = "肺正常炎结核病人影像图片掩膜感染新冠阴阳性数据左右男女患者胸部标注"
TRADITIONAL = "肺正常炎結核病人影像圖片遮罩感染新冠陰陽性資料左右男女患者胸部標註"
KOREAN = "정상폐렴결핵환자영상마스크코로나음성양데이터왼오른쪽흉부좌우바러"


@dataclass(frozen=True)
class CodePage:
    """A code page and the letters that its users write."""

    name: str
    """Of Python's codec."""
    languages: tuple[str, ...]
    slope: float = 1
    """By how much the last letter of a language counts less than the first."""
    usual: tuple[tuple[int, int], ...] = ()
    """Of two bytes to a character: where the usual ones lie."""
    handicap: float = 0


# Those of consoles first: Windows' own packer and most others write names in these.
CODE_PAGES = (
    CodePage("cp437", WESTERN),
    CodePage("cp850", WESTERN),
    CodePage("cp852", CENTRAL),
    CodePage("cp857", TURKISH, handicap=RARER),
    CodePage("cp866", (RUSSIAN,), slope=2),
    CodePage("cp737", (GREEK,), slope=2, handicap=RARER),
    CodePage("cp932", (JAPANESE,), slope=0, usual=((0x889F, 0x9872),)),
    CodePage("gbk", (SIMPLIFIED,), slope=0, usual=((0xB0A1, 0xD7F9),)),
    CodePage("cp949", (KOREAN,), slope=0, usual=((0xB0A1, 0xC8FE),)),
    CodePage("big5", (TRADITIONAL,), slope=0, usual=((0xA440, 0xC67E),)),
    CodePage("cp1252", WESTERN),
    CodePage("cp1250", CENTRAL),
    CodePage("cp1254", TURKISH, handicap=RARER),
    CodePage("cp1251", (RUSSIAN,), slope=2),
    CodePage("cp1253", (GREEK,), slope=2, handicap=RARER),
    CodePage("koi8-r", (RUSSIAN,), slope=2),
    CodePage("cp862", (HEBREW,), slope=2, handicap=RARER),
    CodePage("cp1255", (HEBREW,), slope=2, handicap=RARER),
    CodePage("cp720", (ARABIC,), slope=2, handicap=RARER),
    CodePage("cp1256", (ARABIC,), slope=2, handicap=RARER),
    CodePage("cp874", (THAI,), slope=2, handicap=RARER),
)


@dataclass(frozen=True)
class Suggestion:
    """A code page, and the words beyond ASCII that it makes of the names."""

    code_page: str
    words: tuple[str, ...]
    score: float
    """A sum; the higher, the better it reads."""


def suggest(names: Iterable[bytes]) -> list[Suggestion]:
    """The readings of these names that are about as good as the best; none that is no text.

    Code pages that give the same text count as one, under the first one's name.
    """
    parts = sorted({part for name in names for part in BETWEEN_WORDS.split(name)})
    parts = [part for part in parts if not part.isascii()]
    found: dict[tuple[str, ...], Suggestion] = {}
    for page in CODE_PAGES:
        try:
            words = tuple(part.decode(page.name) for part in parts)
        except UnicodeDecodeError:
            continue
        score = sum(_score(word, page) for word in words[:: 1 + len(words) // JUDGED])
        if words not in found or found[words].score < score:
            found[words] = Suggestion(page.name, words, score)
    ranked = sorted(found.values(), key=lambda one: -one.score)
    judged = parts[:: 1 + len(parts) // JUDGED]
    least = READABLE * sum(byte >= 0x80 for part in judged for byte in part)
    if not ranked or ranked[0].score < least:
        return []
    return [one for one in ranked if one.score > ranked[0].score - CLEAR]


def _score(word: str, page: CodePage) -> float:
    """Three or less for each byte of a letter beyond ASCII, in the language that suits best."""
    beyond = [(char, len(char.encode(page.name))) for char in word if not char.isascii()]
    letters = max(
        sum(weight * _score_of_char(char, page, language) for char, weight in beyond)
        for language in page.languages
    )
    return letters + BROKEN * sum(map(_breaks, f" {word}", word, f"{word[1:]} "))


def _score_of_char(char: str, page: CodePage, language: str) -> float:
    place = language.find(char.lower())
    if place >= 0:
        rarity = page.slope * place / len(language)
        return 3 - rarity - page.handicap - CAPITAL * char.isupper()
    if char in PUNCTUATION:
        return 0
    if not char.isalpha():
        return NO_LETTER
    code = int.from_bytes(char.encode(page.name))
    return USUAL if any(first <= code <= last for first, last in page.usual) else UNEXPECTED


def _breaks(before: str, letter: str, after: str) -> bool:
    """Whether no person writes these side by side: aБ, АБв, or an alphabet within another."""
    if (before + letter + after).isascii() or not letter.isalpha():
        return False
    if before.isalpha() and (
        (before.islower() and letter.isupper()) or _alphabet(before) != _alphabet(letter)
    ):
        return True
    return before.isupper() and letter.isupper() and after.islower()


def _alphabet(letter: str) -> int:
    """0 Latin, 1 Greek, 2 Cyrillic, 3 beyond, whose scripts stand side by side."""
    return sum(ord(letter) >= first for first in (0x370, 0x400, 0x590))
