"""Measures of how far texts moved: known values, bounds, and orders."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon

from hubwright.evals.aitqe.shift import Shift, Texts, edit_share, frechet_distance, jensen_shannon

TEXTS = st.text(max_size=40)


def figures(pairs: list[tuple[str, str | None]]) -> dict[str, float]:
    shift = Shift()
    for before, after in pairs:
        shift.add(before, after)
    return shift.figures()


def test_the_same_texts_have_not_moved() -> None:
    result = figures([("A red bus in Rome", "A red bus in Rome"), ("two dogs", "two dogs")])
    assert result["keep_rate"] == result["present"] == 1 and result["edit_distance"] == 0
    assert result["length_jsd"] == result["unigram_jsd"] == 0 and math.isnan(result["entity_retention"])


def test_rows_that_are_left_out_move_the_distribution_and_no_text() -> None:
    result = figures([("A red bus in Rome", None), ("two dogs", "two dogs")])
    assert result["present"] == 0.5 and result["keep_rate"] == 1 and result["edit_distance"] == 0
    assert result["unigram_jsd"] > 0


def test_entities_are_counted_over_changed_texts_that_have_some() -> None:
    pairs = [("In Rome, 1889", "A street in Rome"), ("two dogs", "a cat"), ("In Paris", "In Paris")]
    assert figures(pairs)["entity_retention"] == pytest.approx(0.5)


def test_captions_by_template_are_counted() -> None:
    texts = Texts()
    for text in ("The image shows a dog", "a photo of Rome", "This picture depicts rain", "Imagery", "a dog"):
        texts.add(text)
    assert texts.figures()["template_rate"] == pytest.approx(0.6)


def test_an_empty_corpus_has_no_figures() -> None:
    assert all(math.isnan(value) for value in Shift().figures().values())
    assert math.isnan(figures([("a", None)])["keep_rate"])


@given(TEXTS, TEXTS)
@settings(max_examples=50)
def test_edit_share_is_symmetric_and_within_bounds(one: str, other: str) -> None:
    share = edit_share(one, other)
    assert 0 <= share <= 1 and share == pytest.approx(edit_share(other, one)) and (share == 0) == (one == other)


@pytest.mark.parametrize("seed", range(4))
def test_divergence_equals_scipys(seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(0, 9, (2, 12))
    expected = jensenshannon(one, other, base=2) ** 2
    assert jensen_shannon(dict(enumerate(one)), dict(enumerate(other))) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_equals_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(50, 5)) + 1
    first, second = np.cov(one, rowvar=False, ddof=0), np.cov(other, rowvar=False, ddof=0)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)
