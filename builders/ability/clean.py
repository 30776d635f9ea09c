"""Nothing of the tests in what is trained on: not the question, not nearly it, not a translation of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._lib.near_duplicates import words
from .._lib.near_index import Hashes, NearIndex, shingle_hashes

SAME = "same question"
NEAR = "nearly the same"
TRANSLATION = "translation"
SIBLING = "translation of one left out"
RULES = (SAME, NEAR, TRANSLATION, SIBLING)
SPLITS = ("train", "validation", "test")


@dataclass
class Item:
    """A row on its way into the data set.

    Attributes:
        config: name of the config it goes into.
        split: train, validation or test.
        row: its columns.
        group: what it and its translations share; "" if there are none.
        left_out: the rule that left it out; "" if none did.
    """

    config: str
    split: str
    row: dict[str, Any]
    group: str
    left_out: str = ""


def clean(items: Sequence[Item], near: float | None) -> None:
    """Set `left_out` of train items by the test and validation items of any config, of validation items by the test's.

    In this order: SAME, a question with the same words; NEAR, question and choices with a Jaccard similarity of
    shingles of five words of at least `near` (None: not looked for), digits alike; TRANSLATION, one of a question that
    is held out; SIBLING, one of an item that the first two left out.
    """
    # Choices count, in an order of their own: short questions ("Which of these is true?") differ in them alone.
    texts = {id(item): " ".join((item.row["question"], *sorted(item.row["choices"]))) for item in items}
    hashes = {} if near is None else {name: shingle_hashes(text) for name, text in texts.items()}
    for split, held_out in (("validation", ("test",)), ("train", ("test", "validation"))):
        against = [item for item in items if item.split in held_out and not item.left_out]
        _leave_out([item for item in items if item.split == split], against, near, hashes)


def _leave_out(
    candidates: Sequence[Item], against: Sequence[Item], near: float | None, hashes: dict[int, Hashes]
) -> None:
    questions = {same_words(item.row["question"]) for item in against}
    held_groups = {item.group for item in against if item.group}
    # A test that is not taken holds nothing out; a test question that is the same as another holds out as one.
    index = NearIndex((hashes[id(item)] for item in against), near) if near is not None else None
    for item in candidates:
        if same_words(item.row["question"]) in questions:
            item.left_out = SAME
        elif index is not None and len(index.matches(hashes[id(item)])):
            item.left_out = NEAR
    gone = {item.group for item in candidates if item.left_out and item.group}
    for item in candidates:
        if not item.left_out and item.group:
            item.left_out = TRANSLATION if item.group in held_groups else SIBLING if item.group in gone else ""


def same_words(question: str) -> str:
    """A question's letters and digits, so that case, blanks, gaps to fill and marks make no difference; of one that
    has none, all of it."""
    return "".join(words(question, fold_digits=False)).replace("_", "") or question
