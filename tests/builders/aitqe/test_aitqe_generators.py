"""Faults in captions: always a fault, always the one that is named, always the same for one seed."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders.aitqe.generators import GENERATORS, WORDS, NotApplicable, damage, key, same
from hubwright.builders.aitqe.neighbours import Neighbours
from hubwright.builders.aitqe.samples import ASPECTS, DAMAGES, TABLE, explanations_of, scores_of

CAPTIONS = [
    "Two small dogs sitting on a red couch in front of an open window.",
    "An elderly man in a blue jacket rides a bicycle past the Eiffel Tower.",
    'A white sign that says "BAKERY" above three wooden doors.',
]

# Kind, caption, other captions, what the result matches.
MADE = [
    ("colour", "A red bus.", [], r"A (?!red)\w+ bus\."),
    ("colour", "A RED BUS", [], r"A (?!RED)[A-Z]+ BUS"),
    ("colour", "Red bus", [], r"(?!Red)[A-Z][a-z]+ bus"),
    ("count", "Two cats.", [], r"(Three|Four|Five|Six|Seven|Eight|Nine|Ten) cats\."),
    ("count", "12 eggs", [], r"(?!12)\d+ eggs"),
    ("attribute", "An old barn.", [], r"A new barn\."),
    ("attribute", "A new barn.", [], r"An old barn\."),
    ("attribute", "Tables sitting outdoors.", ["A man running."], r"Tables sitting indoors\."),
    ("entity", "An elephant in mud.", [], r"An? (?!elephant)\w+ in mud\."),
    ("entity", "Many horses graze.", [], r"Many (cats|dogs|cows|sheep|elephants|giraffes|zebras|bears|birds|ducks|goats) graze\."),
    ("entity", "We stood before the Eiffel Tower at night.", [], r"We stood before the (?!Eiffel)[A-Z].* at night\."),
    ("wrong_text", 'A sign says "STOP".', [], r'A sign says "(?!STOP")[^"]+"\.'),
    ("wrong_text", "A cat", [], r'A cat\. .*".+".*\.'),
    ("truncation", "A man rides a bicycle past a tower", [], r"A man( \w+){0,4}(\.\.\.| …)?"),
    ("shuffle", "A man rides a bicycle.", [], r"(?!A man rides a bicycle)[\w ]+"),
    ("generic", "A cat.", [], r".+"),
    ("url", "A grey cat.", [], r"https://\S+\.(jpg|png|webp)"),
    ("file_name", "A grey cat.", [], r"\S+\.(jpg|png|webp)"),
    ("keywords", "A grey cat.", [], r".*(grey).*"),
    ("repetition", "A grey cat.", [], r".*\b(\w+)\b.* \1\b.*"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "caption", "others", "pattern"), MADE)
def test_fault_is_the_one_that_is_named(kind: str, caption: str, others: list[str], pattern: str) -> None:
    for seed in range(20):
        try:
            made = damage(kind, caption, random.Random(seed), others)
        except NotApplicable:
            assert kind in ("truncation", "keywords", "shuffle")
            continue
        assert re.fullmatch(pattern, made.text), made.text
        assert made.text != caption and damage(kind, caption, random.Random(seed), others) == made


NOT_APPLICABLE = [
    ("colour", "A cat.", []),
    ("colour", "A black and white photo.", []),
    ("colour", "An orange on a plate.", []),
    ("count", "A cat at 10:30 with 50 % and 1999.", []),
    ("count", "One cat.", []),
    ("attribute", "A cat.", []),
    ("attribute", "A large cat.", ["A small cat."]),
    ("entity", "An old thing.", []),
    ("truncation", "A cat.", []),
    ("shuffle", "A cat.", []),
    ("shuffle", "一只猫坐在桌子上", []),
    ("keywords", "A cat", []),
    ("repetition", "", []),
]


@pytest.mark.parametrize(("kind", "caption", "others"), NOT_APPLICABLE)
def test_caption_without_the_kind_is_not_applicable(kind: str, caption: str, others: list[str]) -> None:
    for seed in range(10):
        with pytest.raises(NotApplicable):
            damage(kind, caption, random.Random(seed), others)


def test_fault_is_nothing_that_another_caption_says() -> None:
    others = [
        "A blue bus, a green one and a white one.",
        "Yellow, black, brown, purple, pink, silver and beige buses.",
    ]
    assert {damage("colour", "A red bus.", random.Random(n), others).text for n in range(30)} == {"A grey bus."}
    others = ["Dogs, horses, cows, sheep, elephants, giraffes, zebras and a bear, a bird and ducks"]
    assert {damage("entity", "A cat.", random.Random(n), others).text for n in range(30)} == {"A goat."}


@given(
    st.text(max_size=80),
    st.lists(st.text(max_size=40), max_size=3),
    st.sampled_from(sorted(GENERATORS)),
    st.integers(0, 2**32),
)
def test_any_text_gets_a_fault_or_is_not_applicable(caption: str, others: list[str], kind: str, seed: int) -> None:
    try:
        made = damage(kind, caption, random.Random(seed), others)
    except NotApplicable:
        return
    assert made.text and not same(made.text, [caption, *others])
    assert damage(kind, caption, random.Random(seed), others) == made


def test_captions_of_other_images_are_never_of_the_same_one() -> None:
    texts = ["A red bus.", "The bus is red.", "A blue bus.", "Two cats.", "A red bus!"]
    captions = Neighbours(texts, [0, 0, 1, 2, 3])
    assert captions.nearest(0, ["The bus is red."]).text == "A blue bus."
    assert captions.nearest(2, []).text in ("A red bus.", "A red bus!")
    for seed in range(30):
        assert captions.random(0, random.Random(seed), ["The bus is red."]).text in ("A blue bus.", "Two cats.")
    with pytest.raises(NotApplicable):
        Neighbours(["A cat.", "A cat sits."], [0, 0]).nearest(0, ["A cat sits."])
    with pytest.raises(NotApplicable):
        Neighbours(["A cat.", "a cat"], [0, 1]).random(0, random.Random(0), [])
    with pytest.raises(NotApplicable):
        Neighbours(["!", "?"], [0, 1]).nearest(0, [])
    with pytest.raises(NotApplicable):
        Neighbours(["Cats.", "Dogs."], [0, 1]).nearest(0, [])


def test_table_has_scores_and_words_for_every_kind() -> None:
    assert set(DAMAGES) == {*GENERATORS, "random_caption", "neighbour_caption"} and set(DAMAGES.values()) == {
        "contrast",
        "raw",
    }
    good = scores_of(None)
    for kind in DAMAGES:
        scores = scores_of(kind)
        assert set(scores) == set(ASPECTS) and all(1 <= score <= 10 for score in scores.values())
        assert scores["overall"] < 7 <= good["overall"] and all(scores[name] <= good[name] for name in ASPECTS)
        explanations = explanations_of(kind, "red -> blue")
        assert set(explanations) == set(ASPECTS) and "{" not in "".join(explanations.values())
        if DAMAGES[kind] == "contrast":
            assert scores["text_quality"] == good["text_quality"]  # fluent and wrong
    assert set(TABLE["explanations"]) == {*ASPECTS} - {"overall"}


def test_words_that_are_exchanged_are_in_one_class_alone() -> None:
    words = [word for group in WORDS["entities"].values() for pair in group for word in set(pair)]
    assert len(words) == len(set(words))
    assert key("A red, RED bus!") == "a red red bus"
