"""The index finds what comparing every pair finds, and an ending that all texts share costs nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from hubwright.builders._lib import near_index
from hubwright.builders._lib.near_duplicates import shingles
from hubwright.builders._lib.near_index import HashFile, NearIndex, shingle_hashes

WORDS = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
ENDING = "how many of them are left in the end when all of this is over"


def text(rng: random.Random, length: int = 25) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def changed(rng: random.Random, original: str) -> str:
    found = original.split()
    for _ in range(rng.randrange(6)):
        found[rng.randrange(len(found))] = rng.choice(WORDS)
    return " ".join(found[rng.randrange(4) :])


def matches(
    folder: Path, texts: Iterable[str], others: Iterable[str], threshold: float, **more: int
) -> list[list[int]]:
    """The numbers of the texts that each of the others is a near duplicate of."""
    hashes, texts, others = HashFile(folder / "hashes"), list(texts), list(others)
    for one in (*texts, *others):
        hashes.add(one)
    index = NearIndex(hashes, np.arange(len(texts)), threshold, **more)
    found = {number: places.tolist() for number, places in index.matches(np.arange(len(others)) + len(texts))}
    return [found.get(number + len(texts), []) for number in range(len(others))]


def test_hashes_stand_for_shingles() -> None:
    rng = random.Random(1)
    texts = [text(rng, n) for n in range(40)] + ["", "a", "a b", "a a a a a a a", "x 1 2", "x 3 4", "火车 去 罗马"]
    hashes, counts = shingle_hashes(texts)
    parts = np.split(hashes, np.cumsum(counts)[:-1])
    for one, part in zip(texts, parts, strict=True):
        assert len(part) == len(shingles(one))
        assert shingle_hashes([one])[0].tolist() == part.tolist()
        for other, its in zip(texts, parts, strict=True):
            assert len(np.intersect1d(part, its)) == len(shingles(one) & shingles(other))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("ending", ["", ENDING])
def test_every_pair_at_the_threshold_is_found_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float, ending: str
) -> None:
    monkeypatch.setattr(near_index, "BATCH", 500)
    rng = random.Random(2)
    held_out = [f"{text(rng, rng.randrange(1, 30))} {ending}" for _ in range(150)]
    others = [
        changed(rng, rng.choice(held_out)) if rng.random() < 0.5 else f"{text(rng)} {ending}" for _ in range(400)
    ]
    sets = [shingles(one) for one in held_out]
    near = 0
    for other, places in zip(others, matches(tmp_path, held_out, others, threshold, most=10_000), strict=True):
        found = shingles(other)
        expected = [n for n, one in enumerate(sets) if len(one & found) >= threshold * len(one | found)]
        assert places == expected
        near += len(expected)
    assert near > 3


def test_a_pair_that_shares_only_what_very_many_share_is_missed(tmp_path: Path) -> None:
    same = [ENDING] * 30
    assert matches(tmp_path, same, [ENDING], 0.5) == [list(range(30))]
    assert matches(tmp_path, same, [ENDING], 0.5, most=20) == [[]]
    one_word = [f"{ENDING} {WORDS[n]}" for n in range(30)]
    assert matches(tmp_path, one_word, [one_word[3]], 0.5, most=20) == [[3]]


def test_digits_are_alike(tmp_path: Path) -> None:
    bill = "please tell me how much I should tip for a bill of {} dollars in Rome"
    assert matches(tmp_path, [bill.format(20)], [bill.format(35)], 1.0) == [[0]]


def test_of_no_texts_none_matches(tmp_path: Path) -> None:
    assert matches(tmp_path, [], ["a b c"], 0.5) == [[]]
    assert matches(tmp_path, ["a b c"], [], 0.5) == []


def test_a_shared_ending_makes_no_pair_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    compared: list[int] = []
    monkeypatch.setattr(NearIndex, "_similarity", lambda self, number, hashes: compared.append(number) or 0.0)
    texts = [f"{text(rng)} {ENDING}" for _ in range(600)]
    assert matches(tmp_path, texts[:500], texts[500:], 0.5) == [[]] * 100
    assert len(compared) < 5  # of 50,000 pairs


def test_hashes_in_a_file_are_those_that_were_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, file = random.Random(4), HashFile(tmp_path / "new" / "hashes")
    texts = [text(rng, n) for n in range(30)]
    added = [shingle_hashes([one])[0].tolist() for one in texts]
    monkeypatch.setattr(near_index, "_CHARS", 300)  # some are written together, some when they are read
    for number, one in enumerate(texts):
        file.add(one)
        assert number % 7 or file[number].tolist() == added[number]
    assert [file[n].tolist() for n in range(30)] == added
