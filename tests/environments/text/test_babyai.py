"""BabyAI in words: without pygame, with an expert that finds back."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from hubwright.environments.text.interface import SPLITS
from hubwright.environments.text.registry import open_game
from hubwright.hub_sync.errors import UsageError

pytestmark = pytest.mark.skipif(find_spec("minigrid") is None, reason="minigrid is not here: pip install --no-deps it")


def finish(game):
    """Follow the expert to the end."""
    while game.steps < game.max_steps:
        outcome = game.step(game.expert())
        assert outcome.valid
        if outcome.done:
            return
    raise AssertionError("the expert wanders")


@pytest.mark.parametrize("level", ["GoToLocal", "PickupLoc", "PutNextLocal", "UnlockPickup", "GoToSeq"])
def test_expert_reaches_the_goal_also_after_random_actions(level):
    game = open_game(f"babyai/{level}")
    for number, task in enumerate(["0", "1005", "1105"]):
        for wander in (0, 8):
            game.reset(0, task)
            rng = random.Random(number)
            for _ in range(wander):
                # Not toggle: an opened box ends what the bot can do.
                if game.step(rng.choice([one for one in game.admissible() if one != "toggle"])).done:
                    break
            else:
                finish(game)
                assert game.success() and game.score() == 1.0


def test_expert_a_level_the_bot_cannot_do_gives_none():
    game = open_game("babyai/KeyInBox")
    game.reset(0, "1")
    while (action := game.expert()) is not None:
        game.step(action)
    assert game.expert_distribution() == {}
    assert game.step("turn left").valid  # the game goes on


def test_play_the_same_task_gives_the_same_words():
    game, other = open_game("babyai/BossLevel"), open_game("babyai/BossLevel")
    texts = []
    for one in (game, other, game):
        first = one.reset(5, "3")
        texts.append([first] + [one.step(one.expert()).observation for _ in range(25)])
    assert texts[0] == texts[1] == texts[2] and len(set(texts[0])) > 15


def test_admissible_is_what_changes_something():
    game = open_game("babyai/GoToLocal", {"view": "full"})
    rng = random.Random(1)
    for task in ("4", "9"):
        game.reset(0, task)
        for _ in range(30):
            before, admissible = game.state(), game.admissible()
            outside = sorted({"go forward", "pick up", "drop", "toggle", "done"} - set(admissible))
            refused = game.step(rng.choice(outside))
            assert not refused.valid and game.state() == before and refused.observation.endswith(before)
            outcome = game.step(rng.choice(admissible))
            assert outcome.valid and outcome.observation != before
            if outcome.done:
                break


def test_state_words_say_what_is_ahead():
    game = open_game("babyai/GoToLocal")
    first = game.reset(0, "0")
    assert re.search(
        r"^Mission: go to the [a-z]+ [a-z]+\. You see (a [a-z ]+ \d (ahead|left|right)[^.]*|nothing)\. You carry nothing\.$",
        first,
    )
    longest = 0
    for level in ("GoToLocal", "BossLevel", "PutNextLocal"):
        game = open_game(f"babyai/{level}")
        for task in map(str, range(20)):
            longest = max(longest, len(re.findall(r"\w+|[^\w\s]", game.reset(0, task))))
    assert longest <= 110


def test_state_full_view_tells_a_carried_thing_and_every_object():
    game = open_game("babyai/PickupLoc", {"view": "full"})
    first = game.reset(0, "0")
    assert re.search(r"You are at \d \d, facing (east|south|west|north)\. There is a .* You carry nothing\.$", first)
    finish(game)
    assert re.search(r"You carry a [a-z]+ [a-z]+\.$", game.state())


def test_tasks_splits_are_disjoint_and_give_their_missions():
    game = open_game("babyai/GoToLocal")
    parts = [set(game.tasks(split)) for split in SPLITS]
    assert [len(part) for part in parts] == [1000, 100, 100] and len(set().union(*parts)) == 1200


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("babyai", "game babyai: write babyai/LEVEL; known: ActionObjDoor, "),
        ("babyai/GotoLocal", "game babyai/GotoLocal: write babyai/LEVEL; did you mean 'GoToLocal'?"),
        ("babyai/BabyAI-GoToLocal-v0", "game babyai/BabyAI-GoToLocal-v0: write babyai/LEVEL; did you mean 'GoToLocal"),
    ],
)
def test_open_game_unknown_level_is_refused(name, message):
    with pytest.raises(UsageError) as error:
        open_game(name)
    assert str(error.value).startswith(message)


def test_minigrid_is_imported_without_pygame_and_leaves_no_stand_in():
    code = (
        "import sys, importlib.abc\n"
        "class No(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'pygame': raise ModuleNotFoundError(name)\n"
        "import importlib.util as u\n"
        "from hubwright.environments.text import babyai\n"
        "babyai.find_spec = lambda name: None\n"
        "sys.meta_path.insert(0, No())\n"
        "from hubwright.environments.text.registry import open_game\n"
        "game = open_game('babyai/GoToLocal')\n"
        "print(game.reset(0, '0')[:8], [name for name in sys.modules if name.startswith('pygame')])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "Mission: []\n"
