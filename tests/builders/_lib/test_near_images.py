"""Images that look the same, found without comparing all with all."""

from __future__ import annotations

import io
import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from url_parts import picture

from hubwright.builders._lib.near_images import bits, near_groups, perceptual_hash


def all_with_all(hashes: list[int], distance: int) -> list[int]:
    """The groups by comparing every pair."""
    parent = {value: value for value in hashes}

    def root(value: int) -> int:
        while parent[value] != value:
            value = parent[value]
        return value

    for one, other in itertools.combinations(sorted(parent), 2):
        if one and other and (one ^ other).bit_count() <= distance:
            low, high = sorted((root(one), root(other)))
            parent[high] = low
    return [root(value) for value in hashes]


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=9)), max_size=12),
    st.integers(0, 8),
)
def test_groups_are_those_of_all_pairs(seeds: list[int], flips: list[tuple[int, set[int]]], distance: int) -> None:
    hashes = list(seeds)
    for place, positions in flips:
        if place < len(hashes):
            hashes.append(hashes[place] ^ sum(1 << position for position in positions))
    groups = near_groups(np.array(hashes, np.uint64), distance)
    assert groups.tolist() == all_with_all(hashes, distance)


def test_bits_are_counted_over_all_64() -> None:
    values = np.array([0, 1, 2**64 - 1, 1 << 63, 0xF0F0], np.uint64)
    assert bits(values).tolist() == [0, 1, 64, 1, 8]


def test_time_grows_with_the_hashes_and_not_with_their_square() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**63, 200_000).astype(np.uint64)
    hashes = np.append(hashes, hashes[:1000] ^ np.uint64(0b111))
    started = time.process_time()
    groups = near_groups(hashes, 3)
    assert time.process_time() - started < 20
    assert (groups[-1000:] == groups[:1000]).all() and len(np.unique(groups)) == 200_000


def test_many_hashes_of_one_look_are_few_groups_in_bounded_time() -> None:
    """Hashes that differ in their last 16 bits alone share all but one block."""
    hashes = (np.uint64(0xABCD << 48)) + np.arange(20_000, dtype=np.uint64)
    started = time.process_time()
    groups = near_groups(hashes, 3)
    assert time.process_time() - started < 20 and len(np.unique(groups)) <= 4


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((200, 200)),
        lambda image: image.resize((31, 31)),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        lambda image: Image.eval(image, lambda value: min(255, value + 12)),
    ],
)
def test_image_that_was_changed_a_little_has_a_near_hash(change) -> None:
    for seed in range(5):
        image = Image.open(io.BytesIO(picture(seed, size=128))).convert("RGB")
        before, after = perceptual_hash(image), perceptual_hash(change(image))
        assert (before ^ after).bit_count() <= 3
        assert (before ^ perceptual_hash(Image.open(io.BytesIO(picture(seed + 99))).convert("RGB"))).bit_count() > 8


def test_image_of_one_colour_has_no_hash_and_looks_like_none() -> None:
    assert [perceptual_hash(Image.new("RGB", (64, 48), colour)) for colour in ("white", "black", "red")] == [0, 0, 0]
    assert near_groups(np.array([0, 0, 5], np.uint64), 8).tolist() == [0, 0, 5]
    assert not len(near_groups(np.empty(0, np.uint64), 3))
