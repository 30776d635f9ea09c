"""Draws of domains and rows: by seed and number alone, identical on all ranks, and exactly where the schedule says."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from hubwright.trainers.versatune.sampler import BLOCK, DomainSampler, generator, uniforms
from hubwright.trainers.versatune.schedule import Schedule

SIZES = {"code": 50, "law": 7, "other": 1000}
WEIGHTS = np.array([0.5, 0.2, 0.3])


def sampler(weights: Any = WEIGHTS, start: int = 0, length: int = 3 * BLOCK, **options: Any) -> DomainSampler:
    sizes = options.pop("sizes", SIZES)
    schedule = Schedule(list(sizes))
    schedule.add(0, np.array(weights))
    return DomainSampler(sizes, schedule, options.pop("seed", 0), length, lambda: start, **options)


def domains(indices: Any, sizes: dict[str, int] = SIZES) -> np.ndarray:
    return np.searchsorted(np.cumsum(list(sizes.values())), np.array(indices), side="right")


def test_constant_weights_draw_what_a_plain_weighted_choice_draws() -> None:
    """numpy's own choice over the same generator, and a new permutation of the rows for every pass."""
    drawn = list(sampler(length=2 * BLOCK))
    plain = np.concatenate([generator(0, "draws", block).choice(3, BLOCK, p=WEIGHTS) for block in range(2)])
    assert (domains(drawn) == plain).all()
    law = np.array(drawn)[plain == 1] - 50
    for turn in range(len(law) // 7):
        assert (law[7 * turn : 7 * turn + 7] == generator(0, "rows/law", turn).permutation(7)).all()


def test_one_domain_is_a_plain_shuffled_sampler_with_another_order_in_every_epoch() -> None:
    epochs = [list(sampler([1.0], 100 * epoch, 100, sizes={"all": 100})) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(100)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[1] == list(sampler([1.0], 100, 100, sizes={"all": 100}))
    assert epochs[1] != list(sampler([1.0], 100, 100, sizes={"all": 100}, seed=1))


@pytest.mark.parametrize("start", [1, 100, BLOCK - 1, BLOCK, 2 * BLOCK + 17])
def test_draws_from_any_start_are_those_of_the_whole(start: int) -> None:
    assert list(sampler(start=start, length=500)) == list(sampler())[start : start + 500]


def test_draw_far_away_follows_from_its_number_alone() -> None:
    assert uniforms(0, 10**12).tolist() == uniforms(0, 10**12).tolist() != uniforms(0, 10**12 + 1).tolist()


@pytest.mark.parametrize("switch", [1, 96, BLOCK, BLOCK + 5])
def test_weights_added_while_drawing_act_from_their_draw_on(switch: int) -> None:
    one = sampler([1.0, 0.0, 0.0])
    rows = iter(one)
    before = list(islice(rows, switch - 1))
    one.schedule.add(switch, np.array([0.0, 0.0, 1.0]))
    after = list(rows)
    assert one.drawn == one.length
    assert set(domains([*before, after[0]])) == {0} and set(domains(after[1:])) == {2}
    assert one.counts(one.length).tolist() == [switch, 0, one.length - switch]
    assert list(one) == [*before, *after]  # as a resumed run draws it


@pytest.mark.parametrize("weights", [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
def test_domain_of_weight_zero_is_never_drawn_and_never_hangs(weights: list[float]) -> None:
    drawn = domains(list(sampler(weights)))
    assert set(drawn) == set(np.flatnonzero(weights))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_draw_one_global_order(processes: int) -> None:
    """What accelerate hands to the ranks, put together, is the order of one process with the larger batch."""
    shards = [
        BatchSamplerShard(BatchSampler(sampler(length=960), 8, False), processes, rank) for rank in range(processes)
    ]
    steps = [[*chain.from_iterable(batches)] for batches in zip(*shards, strict=True)]
    assert steps == list(BatchSampler(sampler(length=960), 8 * processes, False))


def test_counts_and_tokens_are_those_of_the_draws() -> None:
    one, lengths = sampler(), np.random.default_rng(0).integers(1, 500, sum(SIZES.values()))
    one.schedule.add(5000, np.array([0.1, 0.8, 0.1]))
    for stop in (0, 1, 100, 4999, 5003, 3 * BLOCK):
        drawn = np.array(list(islice(one, stop)), dtype=np.int64)
        assert one.counts(stop).tolist() == np.bincount(domains(drawn), minlength=3).tolist()
        assert one.totals(stop, lengths).tolist() == np.bincount(domains(drawn), lengths[drawn], minlength=3).tolist()


def test_realised_shares_are_those_asked_for_within_chance() -> None:
    for seed in range(5):
        shares = sampler(length=100_000, seed=seed).counts(100_000) / 100_000
        assert np.abs(shares - WEIGHTS).max() < 4 * np.sqrt(0.25 / 100_000)


def test_weights_by_tokens_become_shares_of_tokens() -> None:
    tokens = np.array([100.0, 10.0, 1.0])
    counts = sampler(row_size=tokens, length=100_000).counts(1_000_000) * tokens
    assert counts / counts.sum() == pytest.approx(WEIGHTS, rel=0.03)


def test_order_of_a_domain_does_not_change_with_the_other_domains() -> None:
    sizes = {name: SIZES[name] for name in ("law", "other")}
    law = [i for i in sampler([0.5, 0.5], sizes=sizes) if i < 7][:70]
    assert law == [i - 50 for i in sampler() if 50 <= i < 57][:70]
