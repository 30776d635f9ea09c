"""The panel is one list, whoever asks and in whatever order tasks are listed."""

from __future__ import annotations

import random

import pytest

from hubwright.environments.text.panel import panel, panel_hash
from hubwright.environments.text.pool import GamePool
from hubwright.environments.text.registry import open_game, versions
from hubwright.hub_sync.errors import UsageError


class Listed:
    title = "listed"

    def __init__(self, tasks):
        self._tasks = tasks

    def tasks(self, split):
        return self._tasks


def test_panel_order_of_the_tasks_changes_nothing():
    tasks = [f"game-{number}.z8" for number in range(30)]
    hashes = set()
    for number in range(5):
        random.Random(number).shuffle(tasks)
        hashes.add(panel_hash(panel(Listed(tasks), "test", 70), {"listed": "1"}))
    assert len(hashes) == 1


def test_panel_workers_change_nothing():
    hashes = set()
    for workers in (1, 2, 4):
        with GamePool("frozen_lake", {"size": 5}, workers=workers) as pool:
            hashes.add(panel_hash(panel(pool, "dev", 150, seed=3), versions("frozen_lake"), pool.options))
    game = open_game("frozen_lake", {"size": 5})
    hashes.add(panel_hash(panel(game, "dev", 150, seed=3), versions("frozen_lake"), game.options.model_dump()))
    assert len(hashes) == 1


def test_panel_every_task_once_before_one_comes_again():
    game = open_game("taxi")
    rows = panel(game, "train", 20)
    assert sorted(one.task for one in rows[:8]) == game.tasks("train")
    assert len({(one.task, one.seed) for one in rows}) == 20 and panel(game, "train", 5) == rows[:5]


def test_panel_seed_and_split_change_the_seeds():
    game = open_game("taxi")
    first, other = panel(game, "train", 8), panel(game, "train", 8, seed=1)
    assert not {one.seed for one in first} & {one.seed for one in other}
    assert {one.task for one in panel(game, "test", 9)} == {"blue to red", "red to blue"}


def test_panel_hash_names_versions_parameters_and_order():
    rows = panel(open_game("taxi"), "test", 4)
    hashes = {
        panel_hash(rows, {"gymnasium": "1"}), panel_hash(rows, {"gymnasium": "2"}),
        panel_hash(rows[::-1], {"gymnasium": "1"}), panel_hash(rows, {"gymnasium": "1"}, {"rainy": True}),
    }  # fmt: skip
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("split", "episodes", "seed", "message"),
    [
        ("valid", 3, 0, "split 'valid' is none of train, dev, test"),
        ("test", 0, 0, "episodes 0 is not a whole number of at least 1"),
        ("test", True, 0, "episodes True is not"),
        ("test", "3", 0, "episodes '3' is not"),
        ("test", 3, -1, "seed -1 of a panel is not a whole number of at least 0"),
    ],
)
def test_panel_wrong_arguments_are_refused(split, episodes, seed, message):
    with pytest.raises(UsageError) as error:
        panel(open_game("taxi"), split, episodes, seed)
    assert str(error.value).startswith(message)


def test_panel_split_without_tasks_is_refused():
    with pytest.raises(UsageError, match=r"^game listed has no tasks in 'dev'$"):
        panel(Listed([]), "dev", 1)
