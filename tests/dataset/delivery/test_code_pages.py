from __future__ import annotations

import pytest

from pipeline.dataset.delivery import code_pages
from pipeline.dataset.delivery.code_pages import CODE_PAGES, JUDGED, CodePage, suggest

NAMES = {
    "cp866": "Норма Пневмония Туберкулёз снимки МАСКИ Рак",
    "cp1251": "норма Пневмония Туберкулёз снимки Больные",
    "koi8-r": "норма Пневмония туберкулёз",
    "cp437": "Lungenentzündung Neumonía niño Opacité bactérienne",
    "cp850": "Não Infecção Pulmão esquerdo Diagnóstico",
    "cp1252": "Lungenentzündung Pneumonie bactérienne Opacité Größe",
    "cp852": "Žádné Zánět Plíce zdravé",
    "cp1250": "Zdrowy człowiek Żółć Zapalenie płuc",
    "cp857": "Zatürre Sağlıklı Göğüs",
    "cp1254": "Zatürre Sağlıklı Göğüs",
    "cp737": "Φυσιολογικό Πνευμονία",
    "cp1253": "Φυσιολογικό Πνευμονία",
    "cp932": "正常 肺炎 ノーマル 新型コロナ 表",
    "gbk": "正常 肺炎 病毒性肺炎 数据集",
    "cp949": "정상 폐렴 바이러스성",
    "big5": "正常 肺炎 肺結核 資料",
    "cp862": "תקין דלקת ריאות",
    "cp720": "التهاب رئوي",
    "cp1256": "طبيعي التهاب رئوي",
    "cp874": "ปอดบวม โรคปอด",
}


@pytest.mark.parametrize("code_page", NAMES)
def test_names_suggest_the_code_page_that_they_were_written_in(code_page: str) -> None:
    names = [f"{name}/images/{name}-1.png".encode(code_page) for name in NAMES[code_page].split()]

    (found,) = suggest(names)

    assert [name.decode(found.code_page) for name in names] == [
        name.decode(code_page) for name in names
    ]


@pytest.mark.parametrize("word", ["Норма", "норма", "Пневмония", "КОВИД", "Снимки", "Рак"])
@pytest.mark.parametrize("code_page", ["cp866", "cp1251"])
def test_one_russian_word_is_enough(word: str, code_page: str) -> None:
    (found,) = suggest([word.encode(code_page)])

    assert found.words == (word,)


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        (b"Fen\x88tre", {"cp437": ("Fenêtre",), "cp852": ("Fenłtre",)}),
        (b"N\xe3o", {"cp1252": ("Não",), "cp1250": ("Năo",)}),
        ("肺".encode("gbk"), {"gbk": ("肺",), "cp949": ("로",)}),
    ],
)
def test_names_that_read_as_well_in_several_give_all_of_them(
    name: bytes, readings: dict[str, tuple[str, ...]]
) -> None:
    found = {one.code_page: one.words for one in suggest([name])}

    assert readings.items() <= found.items()


@pytest.mark.parametrize("name", [b"\x81\x9d\xb0\xb2", b"\xb0\xb1\xb2.png"])
def test_what_is_text_in_no_code_page_suggests_none(name: bytes) -> None:
    assert suggest([name]) == []


def test_of_thousands_of_names_some_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        f"Норма/Иванов{'аеиоу'[n % 5] * (n % 97)}-{n}.png".encode("cp866") for n in range(5_000)
    ]
    judged: list[str] = []
    score = code_pages._score

    def counted(word: str, page: CodePage) -> float:
        judged.append(word)
        return score(word, page)

    monkeypatch.setattr(code_pages, "_score", counted)

    (found,) = suggest(names)

    assert found.code_page == "cp866"
    assert 0 < len(judged) <= JUDGED * len(CODE_PAGES)
