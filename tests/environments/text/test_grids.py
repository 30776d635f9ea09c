"""The grids: words for every state, and an expert that is exactly optimal."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hubwright.environments.text.interface import SPLITS
from hubwright.environments.text.registry import open_game

GAMES = [
    ("taxi", {}), ("taxi", {"rainy": True}), ("frozen_lake", {}), ("frozen_lake", {"slippery": True}),
    ("frozen_lake", {"size": 8}), ("cliff_walking", {}), ("cliff_walking", {"slippery": True}),
]  # fmt: skip


def play_expert(game, seed, task, limit=400):
    game.reset(seed, task)
    total = 0.0
    for steps in range(1, limit):
        outcome = game.step(game.expert())
        assert outcome.valid
        total += outcome.reward
        if outcome.done:
            return steps, total
    raise AssertionError("the expert wanders")


@pytest.mark.parametrize(("name", "options"), GAMES)
def test_tables_are_the_engines_process_and_an_optimal_policy(name, options):
    game = open_game(name, options)
    task = game.tasks("train")[5]
    game.reset(0, task)
    tables = game.tables()
    assert np.allclose(tables.transitions.sum(2) + tables.ends, 1) and np.isclose(tables.start.sum(), 1)
    assert np.allclose(tables.policy.sum(1), 1)
    # Bellman's equation, and no action better than those the expert takes.
    values = tables.values.max(1)
    assert np.allclose(tables.values, tables.rewards + 0.99 * tables.transitions @ values)
    assert np.allclose((tables.policy * tables.values).sum(1), values)
    for state, by_action in game._engine.P.items():
        for action, outcomes in by_action.items():
            assert np.isclose(tables.rewards[state, action], sum(chance * reward for chance, _, reward, _ in outcomes))


@pytest.mark.parametrize(("name", "options"), GAMES)
def test_states_every_state_has_its_own_short_text(name, options):
    game = open_game(name, options)
    tables = game.tables(game.tasks("train")[0])
    assert len(set(tables.states)) == len(tables.states)
    # A word, a number or a mark is a token of a small tokenizer, or two.
    assert max(len(re.findall(r"\w+|[^\w\s]", text)) for text in tables.states) <= (100 if options.get("size") else 64)


@pytest.mark.parametrize(("name", "options"), GAMES)
def test_tasks_splits_are_disjoint(name, options):
    game = open_game(name, options)
    parts = [game.tasks(split) for split in SPLITS]
    assert all(part and len(part) == len(set(part)) for part in parts)
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_expert_deterministic_grids_reaches_every_goal_with_the_value_of_its_start():
    for name in ("taxi", "frozen_lake", "cliff_walking"):
        game = open_game(name)
        for split in SPLITS:
            for task in game.tasks(split)[:12]:
                steps, total = play_expert(game, 1, task)
                assert game.success() and game.score() == 1.0 and steps <= game.max_steps
                assert name != "cliff_walking" or total > -100  # it never falls


def test_expert_taxi_return_from_every_start_is_that_of_the_shortest_way():
    game = open_game("taxi")
    game.reset(0, "blue to red")
    tables = game.tables()
    mean = tables.start @ tables.values.max(1)
    returns = []
    for state in np.flatnonzero(tables.start):
        game.reset(0, "blue to red")
        game._engine.s = int(state)
        total, factor = 0.0, 1.0
        while True:
            outcome = game.step(game.expert())
            total, factor = total + factor * outcome.reward, factor * 0.99
            if outcome.done:
                break
        returns.append(total)
    assert np.isclose(np.mean(returns), mean)


def test_expert_distribution_is_uniform_over_ties_and_expert_the_first_of_them():
    game = open_game("taxi")
    game.reset(0, "red to green")
    game._engine.s = game._engine.encode(2, 1, 0, 1)  # north then west, or west then north
    assert game.expert_distribution() == {"move north": 0.5, "move west": 0.5} and game.expert() == "move north"


def test_reset_seed_places_the_taxi_and_draws_the_ice():
    taxi, lake = open_game("taxi"), open_game("frozen_lake", {"slippery": True})
    assert len({taxi.reset(seed, "red to green") for seed in range(40)}) > 12
    assert taxi.reset(7, "red to green") == taxi.reset(7, "red to green")

    def way(seed):
        lake.reset(seed, "map 3")
        return [lake.step("move right").observation for _ in range(2)]

    assert way(1) == way(1) and len({tuple(way(seed)) for seed in range(12)}) > 1


def test_success_a_hole_ends_the_episode_without_it():
    lake = open_game("frozen_lake")
    lake.reset(0, "map 0")
    tables = lake.tables()
    state, action = np.argwhere((tables.ends > 0) & (tables.rewards == 0))[0]
    lake._engine.s = int(state)
    outcome = lake.step(tables.actions[action])
    assert outcome.done and not lake.success() and lake.score() == 0.0
