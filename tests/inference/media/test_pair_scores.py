"""Replies of a scorer: every target is read back, and what is not one says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.inference.media.pair_scores import ASPECTS, begin, prompt, read, recaption_of, target

SCORES = st.fixed_dictionaries({"overall": st.integers(1, 10)}, optional={n: st.integers(1, 10) for n in ASPECTS[1:]})
CAPTIONS = st.none() | st.text(min_size=1, max_size=60).map(lambda text: " ".join(text.split())).filter(bool)


@given(SCORES, CAPTIONS)
def test_every_target_is_read_back(scores: dict[str, int], recaption: str | None) -> None:
    reply = read(target(scores, recaption))
    assert reply.fault is None and dict(reply.scores) == scores and reply.recaption == recaption


@given(SCORES, CAPTIONS)
def test_targets_begin_as_replies_are_begun(scores: dict[str, int], recaption: str | None) -> None:
    text = target(scores, recaption)
    assert text.startswith(begin())
    if recaption is not None:
        assert text.startswith(begin(scores["overall"], rewrite=True))


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("", "no JSON"),
        ("I think it is good.", "no JSON"),
        ("{}", "no overall score"),
        ('{"overall": ', "overall is not a whole number"),
        ('{"overall": null}', "overall is not a whole number"),
        ('{"overall": "seven"}', "overall is not a whole number"),
        ('{"overall": 0}', "overall is not a whole number"),
        ('{"overall": 11}', "overall is not a whole number"),
        ('{"overall": 7.5}', "overall is not a whole number"),
        ('{"overall": -3}', "overall is not a whole number"),
        ('{"overall": 7, "matching": 99}', "matching is not a whole number"),
        ("<score>-25.0.0.5.6.6.6.6", "no JSON"),
        ('{"overall": 555555555555555555555', "overall is not a whole number"),
        ('{"recaption": "say \\"overall\\": 3"}', "no overall score"),
    ],
)
def test_a_reply_that_is_not_one_says_why(reply: str, fault: str) -> None:
    result = read(reply)
    assert result.fault is not None and result.fault.startswith(fault) and not result.scores


def test_a_reply_that_is_cut_off_keeps_what_was_said() -> None:
    assert read('{"overall": 3, "recaption": "A red b').recaption is None
    assert read('{"overall": 3, "recaption": "A red b').scores == {"overall": 3}
    assert read('```json\n{"overall": 10, "matching": 9, "sem').scores == {"overall": 10, "matching": 9}
    assert recaption_of('x "recaption": "two\\nlines"') == "two lines"
    assert recaption_of('"recaption": "   "') is None


def test_numbers_in_quotes_are_read() -> None:
    assert read('{"overall": "7", "matching" : "3"}').scores == {"overall": 7, "matching": 3}


def test_a_caption_with_braces_and_quotes_is_shown_as_it_is() -> None:
    assert '{"overall": 1}' in prompt('{"overall": 1}')
