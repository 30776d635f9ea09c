"""Intervals that draw landmarks, McNemar's test, the hierarchy, and wrong options by hash."""

from __future__ import annotations

import math

import numpy as np
import pytest
from landmark_eval_parts import landmarks
from scipy.stats import binom

from hubwright.evals.landmarks.choices import draw, name_options, shuffled
from hubwright.evals.landmarks.figures import clustered_mean, mcnemar
from hubwright.evals.landmarks.hierarchy import Facts, Hierarchy, consistency


def test_intervals_of_clusters_are_wider_than_those_of_questions() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(30)
    clusters = [f"L{n}" for n in range(30) for _ in range(20)]
    values = (rng.random(600) < np.repeat(chance, 20)).astype(float)
    together = clustered_mean(values, clusters, 2000, 0)
    alone = clustered_mean(values, [str(n) for n in range(600)], 2000, 0)
    assert together.value == alone.value == values.mean() and together.clusters == 30
    assert together.high - together.low > 2 * (alone.high - alone.low)
    means = values.reshape(30, 20).mean(axis=1)
    assert (together.high - together.low) / 3.92 == pytest.approx(means.std() / math.sqrt(30), rel=0.1)
    assert not together.is_descriptive and clustered_mean(values[:380], clusters[:380], 10, 0).is_descriptive


def test_figures_without_values_or_with_one_cluster() -> None:
    nothing = clustered_mean([math.nan], ["a"], 100, 0)
    assert math.isnan(nothing.value) and nothing.number == 0
    one = clustered_mean([1.0, 0.0], ["a", "a"], 100, 0)
    assert one.value == 0.5 and math.isnan(one.low) and one.is_descriptive
    assert clustered_mean([1.0, math.nan, 0.0], ["a", "b", "c"], 0, 0).number == 2


@pytest.mark.parametrize(("b", "c"), [(6, 0), (3, 9), (5, 5), (1, 0), (0, 0)])
def test_mcnemar_is_the_binomial_tail(b: int, c: int) -> None:
    first = [1] * b + [0] * c + [1, 0]
    second = [0] * b + [1] * c + [1, 0]
    result = mcnemar(first, second)
    expected = min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)) if b + c else 1.0
    assert result[:4] == (1, b, c, 1) and result.p == pytest.approx(expected)
    assert mcnemar(second, first).p == pytest.approx(result.p)


@pytest.fixture
def hierarchy() -> Hierarchy:
    words = [("natural_or_human_made", "natural", ["tự nhiên"]), ("supercategory", "tower", ["tháp"])]
    return Hierarchy(map(Facts.of, landmarks()), words)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ({"name": "red tower", "supercategory": "It is a tower.", "natural_or_human_made": "human-made"}, True),
        ({"name": "Tour Rouge", "supercategory": "tháp"}, True),
        ({"name": "Red Tower", "supercategory": "bridge"}, False),  # a right name and a wrong parent
        ({"name": "Blue Peak", "natural_or_human_made": "tự nhiên"}, True),
        ({"supercategory": "mountain", "natural_or_human_made": "human-made"}, False),
        ({"supercategory": "mountain", "hierarchical_label": "landforms"}, True),
        ({"name": "Red Tower", "supercategory": "castle"}, False),  # no value of its level
        ({"name": "Eiffel Tower", "supercategory": "tower"}, False),  # no landmark here
        ({"name": "Red Tower", "natural_or_human_made": "natural or human-made"}, False),  # both
        ({"name": "White Lake", "supercategory": "bridge"}, True),  # its parent is not known
        ({"name": "I don't know", "supercategory": "tower"}, None),
        ({"name": "Red Tower"}, None),
        ({"name": "Red Tower", "caption": "a photo of a bridge"}, None),
        ({}, None),
    ],
)
def test_consistency(hierarchy: Hierarchy, replies: dict[str, str], expected: bool | None) -> None:
    assert hierarchy.is_consistent(replies) is expected


def test_share_of_images_that_are_consistent(hierarchy: Hierarchy) -> None:
    replies = [
        ("a", "name", "Red Tower"), ("a", "supercategory", "tower"), ("b", "name", "Red Tower"),
        ("b", "supercategory", "bridge"), ("c", "name", "Red Tower"),
    ]  # fmt: skip
    assert consistency(replies, hierarchy) == 0.5 and math.isnan(consistency(replies[-1:], hierarchy))


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        ("red tower", "name"), ("The white tower in Rome", "supercategory"), ("白塔", "supercategory"),
        ("Red Bridge", "hierarchical_label"), ("Blue Peak", "none"), ("unknown", "refused"), ("", "refused"),
        ("Eiffel Tower", "no such name"), ("Red Bridge or Green Bridge", "no such name"),
        ("I'm not sure: Red Tower?", "name"),
    ],
)  # fmt: skip
def test_finest_level_that_two_landmarks_share(hierarchy: Hierarchy, reply: str, level: str) -> None:
    assert hierarchy.shared_level(reply, Facts.of(landmarks()[0])) == level


def test_a_name_within_a_longer_one_is_none_of_its_own() -> None:
    hierarchy = Hierarchy([Facts("Tower Bridge"), Facts("Bridge"), Facts("London")])
    assert [one.name for one in hierarchy.named("It is Tower Bridge")] == ["Tower Bridge"]
    assert hierarchy.named("Tower Bridge, London") == []


def test_one_name_of_two_landmarks_is_consistent_with_either() -> None:
    hierarchy = Hierarchy([Facts("Old Church", (), "church"), Facts("Old Church", (), "museum")])
    assert hierarchy.is_consistent({"name": "Old Church", "supercategory": "museum"})
    assert len(hierarchy.named("old church")) == 2


def test_a_large_hierarchy_names_quickly() -> None:
    import time

    hierarchy = Hierarchy(Facts(f"Landmark {n} of the valley", (), f"kind {n % 50}") for n in range(20_000))
    begin = time.perf_counter()
    for n in range(200):
        assert hierarchy.named(f"I see Landmark {n} of the valley, I think")[0].name == f"Landmark {n} of the valley"
    assert time.perf_counter() - begin < 5


def test_wrong_options_do_not_follow_from_what_else_there_is() -> None:
    names = [f"name {n}" for n in range(50)]
    first = draw("image 1", "name 3", names, 3)
    assert len(set(first)) == 3 and "name 3" not in first
    assert first == draw("image 1", "name 3", reversed(names), 3) == draw("image 1", "name 3", [*names, *names], 3)
    assert len({tuple(draw(f"image {n}", "name 3", names, 3)) for n in range(20)}) == 20
    assert draw("image 1", "name 3", names, 3, seed=1) != first and draw("a", "b", ["b"], 3) == []
    without = [name for name in names if name not in first]
    assert len(set(draw("image 1", "name 3", [*without, *first[:2]], 3)) & set(first)) == 2
    assert sorted(shuffled("image 1", names)) == sorted(names) != shuffled("image 1", names)


def test_wrong_names_are_of_the_same_supercategory_first() -> None:
    everything = [Facts.of(one) for one in landmarks()]
    options, near = name_options("i", everything[0], everything, 3, 0)
    assert near == 3 and set(options) == {"Green Tower", "Blue Tower (Hanoi)", "White Tower"}
    options, near = name_options("i", everything[4], everything, 3, 0)
    assert near == 1 and options[0] == "Green Bridge" and len(set(options)) == 3
    assert name_options("i", everything[7], everything, 3, 0)[1] == 0
    assert name_options("i", everything[0], everything[:1], 3, 0) == ([], 0)
