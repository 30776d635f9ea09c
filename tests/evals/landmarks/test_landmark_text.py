"""Names in replies: what a normalisation may take away and what it must leave, in many scripts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals.landmarks.text import contains, is_match, is_refusal, normalise, score, token_f1, words_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Category:Notre-Dame_de_Paris", "notre dame de paris"),
        ("category: The Shard", "shard"),
        ("L'Arc de Triomphe", "arc de triomphe"),
        ("Basílica de la Sagrada Família", "basilica de la sagrada familia"),
        ("Trinity Church (Boston)", "trinity church"),
        ("Ｔｏｋｙｏ　Ｔｏｗｅｒ", "tokyo tower"),  # full width
        ("St. Peter’s", "st peters"),
        ("Straße", "strasse"),
        ("Łazienki", "lazienki"),
        ("Văn Miếu – Quốc Tử Giám", "van mieu quoc tu giam"),
        ("Đền Ngọc Sơn", "den ngoc son"),
        ("İstanbul", "istanbul"),
        ("Ακρόπολη", "ακροπολη"),
        ("Кремль", "кремль"),
        ("Исаакиевский собор", "исаакиевский собор"),  # й is no и with a mark
        ("紫禁城（北京）", "紫禁城"),
        ("東京タワー", "東京タワー"),  # a voiced sound mark is no accent
        ("경복궁", "경복궁"),
        ("ताज महल", "ताज महल"),
        ("क़ुतुब मीनार", unicodedata.normalize("NFC", unicodedata.normalize("NFKC", "क़ुतुब मीनार"))),
        ("மீனாட்சி அம்மன் கோயில்", "மீனாட்சி அம்மன் கோயில்"),
        ("วัดพระแก้ว", unicodedata.normalize("NFKC", "วัดพระแก้ว")),
        ("الأهرامات", "الأهرامات"),
        ("חומה", "חומה"),
        ("(Untitled)", "untitled"),
        ("The The", "the"),
        ("☆", "☆"),
        ("", ""),
        ("Die Hofburg", "hofburg"),
        ("Las Vegas Sign", "vegas sign"),
    ],
)
def test_normalised(name: str, expected: str) -> None:
    assert normalise(name) == expected


@given(st.text())
def test_any_text_is_normalised_and_what_has_a_letter_stays_something(text: str) -> None:
    result = normalise(text)
    assert result == " ".join(result.split())
    if any(unicodedata.category(char)[0] in "LN" for char in unicodedata.normalize("NFKC", text)):
        assert result
    assert 0 <= token_f1(text, [text]) <= 1


@given(st.text(min_size=1).filter(lambda text: normalise(text)))
def test_a_name_is_itself(name: str) -> None:
    assert is_match(name, [name]) and contains(name, [name]) and token_f1(name, [name]) == 1


def test_vowel_signs_tell_names_apart() -> None:
    assert not is_match("कल", ["काल"]) and not is_match("वह", ["वही"]) and not is_match("মাল", ["মালা"])


def test_another_disambiguator_is_another_place() -> None:
    answers = ["Trinity Church (Boston)"]
    assert is_match("Trinity Church", answers) and is_match("Trinity Church (boston)", answers)
    assert not is_match("Trinity Church (New York)", answers) and not contains("Trinity Church (New York)", answers)
    assert is_match("Trinity Church (New York)", [*answers, "Trinity Church (New York)"])


def test_contained_as_words_alone() -> None:
    assert contains("I think it's La Tour Eiffel!", ["Eiffel Tower", "tour Eiffel"])
    assert not contains("Romeo and Juliet", ["Rome"]) and not contains("", ["Rome"]) and not contains("Rome", [])
    assert contains("这座建筑是故宫博物院。", ["故宫"]) and contains("นี่คือวัดพระแก้ว", ["วัดพระแก้ว"])
    assert not contains("Big", ["Big Ben"]) and contains("Chua Mot Cot o Ha Noi", ["Chùa Một Cột"])


@pytest.mark.parametrize(
    "reply",
    ["I don't know.", "I don’t know", "Sorry, I cannot identify this landmark.", "unknown", "N/A", "", " \n", "...",
     "I'm not sure what this is", "我不知道", "Tôi không biết", "Je ne sais pas", "मुझे नहीं पता", "لا أعرف"],
)  # fmt: skip
def test_refusals(reply: str) -> None:
    assert is_refusal(reply) and score(reply, ["Big Ben"])["refusal"] == 1


@pytest.mark.parametrize("reply", ["Tomb of the Unknown Soldier", "Big Ben", "None Such Palace", "不知火"])
def test_names_are_no_refusals(reply: str) -> None:
    assert not is_refusal(reply)


def test_an_answer_with_doubts_is_no_refusal() -> None:
    assert score("I'm not sure, but it may be Big Ben", ["Big Ben"]) == {
        "exact": 0.0, "contains": 1.0, "f1": pytest.approx(4 / 11), "refusal": 0.0,
    }  # fmt: skip


def test_words_of_mixed_scripts() -> None:
    assert words_of("故宫ABC塔") == ("故", "宫", "abc", "塔")
    assert contains("这是ABC塔", ["ABC"])
