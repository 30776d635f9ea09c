"""maet: numbers in replies of many languages, wrong answers to choose from, scores of a choice."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubwright.evals._lib.choices import choice_scores
from hubwright.evals.maet.numbers import ascii_digits, distractors, exact_match, number_match, plain, readings
from hubwright.evals.maet.words import FLEXIBLE, WORDS
from hubwright.hub_sync.errors import DataError


@pytest.mark.parametrize(
    ("language", "reply", "gold", "strict", "flexible"),
    [
        # Each: (exact_match, number_match).
        ("en", "So 3 * 4 = 12. The answer is 12.", "12", (1, 1), (1, 1)),
        ("en", "The answer is $1,200 in all", "1200", (0, 0), (1, 1)),
        ("en", "The answer is 1,200.", "1200", (1, 1), (1, 1)),
        ("en", "The answer is 12 cups. Thanks to all 7 of you!", "12", (1, 1), (0, 0)),
        ("en", "The answer is -3.", "-3", (1, 1), (1, 1)),
        ("en", "The answer is 3.", "-3", (1, 0), (1, 0)),
        ("en", "The answer is 14.50.", "14.5", (0, 1), (0, 1)),
        ("en", "The answer is 145.", "14.5", (1, 0), (1, 0)),
        ("en", "Twelve.", "12", (0, 0), (0, 0)),
        ("en", "", "12", (0, 0), (0, 0)),
        ("de", "Die Antwort lautet 1.200 Euro.", "1200", (1, 1), (1, 1)),
        ("fr", "La réponse est 14,5 litres.", "14.5", (1, 1), (1, 1)),
        ("es", "La respuesta es 12.", "12", (1, 1), (1, 1)),
        ("ja", "答えは12です。", "12", (1, 1), (1, 1)),
        ("ja", "答えは12個です。", "12", (0, 0), (1, 1)),
        ("zh", "答案是 1,200。", "1200", (1, 1), (1, 1)),
        ("ru", "Ответ — 12.", "12", (1, 1), (1, 1)),
        ("th", "คำตอบคือ 12", "12", (1, 1), (1, 1)),
        # Upstream passes over other scripts' digits: both would be 0.
        ("th", "คำตอบคือ ๑๒", "12", (1, 1), (1, 1)),
        ("bn", "উত্তর হল ১,২০,০০০।", "120000", (1, 1), (1, 1)),
        ("bn", "The answer is 12.", "12", (1, 1), (1, 1)),
        ("te", "సమాధానం 12.", "12", (1, 1), (1, 1)),
        ("sw", "Jibu ni 12.", "12", (1, 1), (1, 1)),
    ],
)
def test_answers_in_replies(language, reply, gold, strict, flexible):
    from lm_eval.filters.extraction import RegexFilter

    for pattern, place, pair in ((WORDS[language].strict, 0, strict), (FLEXIBLE, -1, flexible)):
        ((found,),) = RegexFilter(pattern, place).apply([[reply]], [{}])
        assert (exact_match(found, gold), number_match(found, gold)) == pair, found


@settings(deadline=None)  # the first case imports lm-eval
@given(st.text(alphabet="0123456789.,$-aA ", min_size=1, max_size=8), st.integers(-99, 9999))
def test_exact_match_is_upstreams(found, gold):
    from lm_eval.api.metrics import exact_match_hf_evaluate

    theirs = exact_match_hf_evaluate([found], [str(gold)], ignore_case=True, ignore_punctuation=True)
    assert exact_match(found, str(gold)) == float(theirs["exact_match"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,200", [1200, Fraction("1.2")]),
        ("1.200", [1200, Fraction("1.2")]),
        ("1.200,5", [Fraction("1200.5")]),
        ("12,00,000.50", [Fraction("1200000.5")]),
        ("1,2,3", []),
        ("..", []),
        ("", []),
        ("๑๒", [12]),
        ("\N{MINUS SIGN}7.", [-7]),
        ("9" * 5000, []),
    ],
)
def test_readings(text, values):
    assert list(readings(text)) == values


def test_a_gold_answer_as_text():
    assert [plain(t) for t in ("8.0", "08", "-3.50", "-0.0", "০.5", "114200")] == [
        "8",
        "8",
        "-3.5",
        "0",
        "0.5",
        "114200",
    ]
    for text in ("1,200", "1/2", "", "twelve", "1e3"):
        with pytest.raises(DataError, match="not a number"):
            plain(text)


ANSWERS = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.decimals(-1000, 1000, places=2, allow_nan=False, allow_infinity=False).map(lambda d: plain(f"{d:f}")),
)


@given(
    st.lists(st.sampled_from(["3", "12", "1,200", "4.5", "৩", "0", "apples", "100"]), max_size=8).map(" ".join),
    ANSWERS,
)
def test_wrong_answers_are_three_that_look_like_the_right_one(question, answer):
    wrong = distractors(question, answer)
    assert wrong == distractors(question, answer) and len(set(wrong)) == 3
    gold = Fraction(answer)
    assert all(Fraction(text) != gold for text in wrong) and answer not in wrong
    assert {len(text.partition(".")[2]) for text in wrong} == {len(answer.partition(".")[2])}
    assert all((Fraction(text) < 0) == (gold < 0) and Fraction(text) != 0 for text in wrong)
    assert all(ascii_digits(text) == text for text in wrong)


def test_wrong_answers_come_from_the_question_and_are_as_long_as_the_right_one():
    made = set()
    for name in ("Ann", "Bob", "Eve", "Joe"):
        wrong = distractors(f"{name} has 70 sheep and sells 12, 5 die. How many are left?", "53")
        assert all(len(text) == 2 for text in wrong) and not {"70", "12"} & set(wrong)
        made |= {int(text) for text in wrong} & {82, 58, 75, 65, 17, 60, 87}
    assert len(made) > 2
    assert all(text.endswith("000") for text in distractors("No numbers here", "276000"))


def test_scores_of_a_choice():
    found = choice_scores([-1.0, -1.5, -4.0], ["ab", "abcdefgh", "é"], 1)
    assert (found["acc"], found["acc_norm"], found["loss_per_byte"]) == (0, 1, 1.5 / 8)
    assert found["choice_loss"] == pytest.approx(math.log(1 + math.exp(0.5) + math.exp(-2.5)))
    assert choice_scores([-7.0] * 4, list("ABCD"), 0)["choice_loss"] == pytest.approx(math.log(4))
    assert choice_scores([-1e9, -2e9], ["1", "2"], 1)["choice_loss"] == 1e9


def test_wrong_answers_of_mgsm_itself(shared_data):
    """Every question has three in every language, and neither the rank nor the length of a number gives it away."""
    folder = shared_data / "google-research" / "url-nlp" / "mgsm"
    if not folder.is_dir():
        pytest.skip("MGSM is not here")
    ranks, shortest, alike = [0] * 4, 0.0, 0
    for language in WORDS:
        rows = [
            line.split("\t") for line in (folder / f"mgsm_{language}.tsv").read_text(encoding="utf-8").splitlines()
        ]
        assert len(rows) == 250
        for question, answer in rows:
            gold = answer.replace(",", "")
            options = sorted([gold, *distractors(question, gold)], key=float)
            assert len(set(options)) == 4
            ranks[options.index(gold)] += 1
            alike += len(set(map(len, options))) == 1
            short = [option for option in options if len(option) == min(map(len, options))]
            shortest += (gold in short) / len(short)
    assert all(0.2 < count / 2750 < 0.3 for count in ranks) and 0.2 < shortest / 2750 < 0.3
    assert alike / 2750 > 0.9
