"""TextWorldExpress and ScienceWorld, a few tiny episodes of each in worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

from hubwright.environments.text.interface import SPLITS, Episode
from hubwright.environments.text.panel import panel
from hubwright.environments.text.play import play
from hubwright.environments.text.pool import GamePool
from hubwright.environments.text.registry import versions
from hubwright.hub_sync.errors import UsageError

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="java is not here")


def expert(views):
    return [view.answers["expert"] for view in views]


@pytest.fixture(scope="module")
def coin():
    with GamePool("textworld_express/coin", {"parameters": "numLocations=4, includeDoors=1"}, workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def science():
    with GamePool("scienceworld/lifespan-longest-lived", workers=1) as pool:
        yield pool


@pytest.mark.parametrize("variant", ["simonsays", "twc"])
def test_play_gold_path_of_an_express_game_reaches_the_goal(variant):
    with GamePool(f"textworld_express/{variant}", workers=1) as pool:
        rows = play(pool, panel(pool, "test", 3), expert, asked=["expert", "admissible"])
    assert all(row.success and row.score == 1.0 and row.end == "done" and all(row.valid) for row in rows)
    for row in rows:
        assert all(action in answer["admissible"] for action, answer in zip(row.actions, row.answers, strict=True))
        assert abs(sum(row.rewards) - 1.0) < 1e-9


def test_play_express_text_that_is_no_action_costs_a_step(coin):
    wrong, right = (
        ["", "fly", "x" * 10_000, "見る"],
        ["Look Around", "look around.", "'look around'", "Action: look around"],
    )
    replies = iter(wrong + right)
    (row,) = play(coin, [Episode(coin.title, "10007", 0)], lambda views: [next(replies)], max_steps=8)
    assert row.valid == [False] * 4 + [True] * 4 and row.actions[4:] == ["look around"] * 4
    assert row.replies == wrong + right and row.end == "max_steps" and row.score == 0.0


def test_reset_express_goal_is_in_the_first_observation_and_folds_are_the_engines(coin):
    frames = coin.reset({0: Episode("textworld_express/coin", "3", 0)}, ["gold", "state"])
    assert frames[0].observation.startswith("Your task is to search the environment and find the coin.")
    assert frames[0].answers["gold"][-1] == "take coin" and "Inventory" in frames[0].answers["state"]
    parts = [coin.tasks(split) for split in SPLITS]
    assert [len(part) for part in parts] == [1000] * 3 and len({one for part in parts for one in part}) == 3000
    assert set(versions("textworld_express/coin")) == {"hubwright", "textworld-express"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("textworld_express", {}, "game textworld_express: write textworld_express/NAME; known: arithmetic, coin"),
        ("textworld_express/coins", {}, "game textworld_express/coins: write textworld_express/NAME; did you mean 'coin'?"),
        ("textworld_express/coin", {"parameters": "rooms=3"}, "game textworld_express/coin: parameters 'rooms=3': "),
    ],
)  # fmt: skip
def test_pool_wrong_name_or_engine_parameter_is_refused_in_one_line(name, options, message):
    with pytest.raises(UsageError) as error:
        GamePool(name, options)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_play_science_gold_path_reaches_the_goal(science):
    episodes = [Episode(science.title, "lifespan-longest-lived:3", 0)]
    (row,) = play(science, episodes, expert, asked=["expert", "admissible", "state"])
    assert row.success and row.end == "done" and all(row.valid) and len(row.actions) < 12
    assert row.observations[0].startswith("Your task is to find the animal with the longest life span.")
    assert all(action in answer["admissible"] for action, answer in zip(row.actions, row.answers, strict=True))
    assert len(row.answers[0]["admissible"]) > 100 and "In your inventory" in row.answers[0]["state"]


def test_play_science_text_that_is_no_action_costs_a_step(science):
    replies = iter(["", "fly", "x" * 10_000, "Action: LOOK AROUND."])
    episode = Episode(science.title, "lifespan-longest-lived:0", 0)
    (row,) = play(science, [episode], lambda views: [next(replies)], max_steps=4)
    assert row.valid == [False, False, False, True]
    with pytest.raises(UsageError, match=r"no task is called 'lifespan-longest-lived:125'"):
        play(science, [Episode(science.title, "lifespan-longest-lived:125", 0)], expert)


def test_tasks_science_splits_are_the_engines_and_disjoint(science):
    parts = [science.tasks(split) for split in SPLITS]
    assert [len(part) for part in parts] == [62, 31, 32] and len({one for part in parts for one in part}) == 125


def test_play_java_that_is_killed_is_replaced_and_nothing_differs():
    name = "textworld_express/simonsays"  # the same in every run
    with GamePool(name) as pool:
        episodes = panel(pool, "train", 3)
        whole = play(pool, episodes, expert, batch=3, asked=["expert"])
        killed = 0

        def kill_then_answer(views):
            nonlocal killed
            if not killed and len(views[0].actions) == 2:
                listed = subprocess.run(
                    ["pgrep", "-g", str(pool._workers[0].process.pid), "java"], capture_output=True
                )
                killed = int(listed.stdout)
                os.kill(killed, signal.SIGKILL)
            return expert(views)

        assert play(pool, episodes, kill_then_answer, batch=3, asked=["expert"]) == whole and killed
    assert all(row.success for row in whole)
