"""The interface: what is made of a model's reply, and what is refused."""

from __future__ import annotations

import pytest

from hubwright.environments.text.interface import Outcome, TextGame, action_of, as_messages
from hubwright.environments.text.registry import open_game
from hubwright.hub_sync.errors import UsageError


class Bell(TextGame):
    name, max_steps = "bell", 3

    def tasks(self, split):
        return {"train": ["a"], "dev": ["b"], "test": ["c"]}[split]

    def begin(self, seed, task):
        self.rung = False
        return "A bell hangs here."

    def admissible(self):
        return ["ring", "wait"]

    def gold(self):
        return ["wait", "ring"]

    def score(self):
        return float(self.rung)

    def act(self, action):
        if action not in self.admissible():
            return self.invalid(action)
        self.rung = action == "ring"
        return Outcome("It rings." if self.rung else "Silence.", float(self.rung), self.rung)


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("move north", "move north"),
        ("  Move   North. ", "Move North"),
        ('"move north"', "move north"),
        ("`move north`.", "move north"),
        ("“move north.”", "move north"),
        ("Action: move north", "move north"),
        ("**Action:** move north", "move north"),
        ("Thought: east?\nAction: go east\nThought: no\nAction: move north\n", "move north"),
        ("Thought: the last reaction: none\nACTION:\n\n  move north.", "move north"),
        ("\n\nmove north\nbecause it is near", "move north"),
        ("", ""),
        (" \n\t ", ""),
        ("...", ""),
        ("日本へ行く。", "日本へ行く。"),
    ],
)
def test_action_of_reply_gives_its_action(reply, action):
    assert action_of(reply) == action


@pytest.mark.parametrize(
    "reply", ["Move North", "move north.", "'move north'", "Action: move north", "Thought: up\nAction: MOVE  NORTH!"]
)
def test_step_action_in_a_sloppy_form_is_taken(reply):
    game = open_game("taxi")
    game.reset(3, "red to green")
    assert game.step(reply).valid


@pytest.mark.parametrize(
    "reply", ["", "   ", "fly", "x" * 10_240, "mové nörth", "北へ", "move north, move north", "\x00"]
)
def test_step_text_that_is_no_action_costs_a_step_and_changes_nothing(reply):
    game = open_game("taxi")
    first = game.reset(3, "red to green")
    outcome = game.step(reply)
    assert not outcome.valid and not outcome.done and len(outcome.observation) < 300
    assert game.state() == first and game.steps == 1 and outcome.reward == -1


@pytest.mark.parametrize("action", [None, 3, b"move north", ["move north"]])
def test_step_what_is_no_text_is_refused(action):
    game = open_game("taxi")
    game.reset(3, "red to green")
    with pytest.raises(UsageError, match=r"^game taxi: an action is text, not "):
        game.step(action)


@pytest.mark.parametrize("seed", [-1, 2**31, 10**30, 1.0, "1", None, True])
def test_reset_bad_seed_is_refused(seed):
    with pytest.raises(UsageError, match=r"^game taxi: seed .* is not a whole number from 0 to 2147483647$"):
        open_game("taxi").reset(seed, "red to green")


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("red to gren", "; did you mean 'red to green'?"),
        ("Red to Green", "; did you mean 'red to green'?"),
        ("", "; its 12 tasks are like 'blue to green' and 'yellow to red'"),
        (None, "; its 12 tasks are like"),
        (7, "; its 12 tasks are like"),
    ],
)
def test_reset_unknown_task_is_refused(task, hint):
    with pytest.raises(UsageError) as error:
        open_game("taxi").reset(0, task)
    assert str(error.value).startswith(f"game taxi: no task is called {task!r}{hint}")


def test_step_before_reset_and_after_the_end_is_refused():
    game = Bell()
    with pytest.raises(UsageError, match=r"^game bell: step before reset"):
        game.step("ring")
    game.reset(0, "a")
    assert game.step("Ring!").done
    with pytest.raises(UsageError, match=r"^game bell: the episode is over"):
        game.step("ring")
    assert game.reset(0, "a") == "A bell hangs here." and game.step("wait").observation == "Silence."


def test_expert_of_a_gold_path_answers_along_it_alone():
    game = Bell()
    game.reset(0, "a")
    assert game.expert() == "wait" and game.expert_distribution() == {"wait": 1.0}
    game.step("dance")  # changed nothing
    game.step("wait")
    assert game.expert() == "ring"
    game.step("wait")
    assert game.expert() is None and game.expert_distribution() == {}


def test_as_messages_episode_ends_with_the_last_observation():
    messages = as_messages("Ring it.", ["A bell.", "Silence."], ["Action: wait"])
    assert [one["role"] for one in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == "Ring it.\n\nA bell." and messages[1]["content"] == "Action: wait"
    with pytest.raises(ValueError, match=r"shorter|longer"):
        as_messages("", ["A bell."], ["wait"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("taxi", {"slippery": True}, "game taxi: unknown parameter 'slippery'; known: rainy"),
        ("taxi", {"rain": True}, "game taxi: unknown parameter 'rain'; did you mean 'rainy'?"),
        ("taxi", {"rainy": "yes"}, "game taxi: parameter rainy: Input should be a valid boolean (found 'yes')"),
        ("taxi", {"rainy": 1}, "game taxi: parameter rainy: Input should be a valid boolean (found 1)"),
        ("taxi", ["rainy"], "game taxi: parameters are a dict, not ['rainy']"),
        ("frozen_lake", {"size": 2}, "game frozen_lake: parameter size: Input should be greater than or equal to 3"),
        ("frozen_lake", {"size": 4.0}, "game frozen_lake: parameter size: Input should be a valid integer"),
    ],
)
def test_open_game_wrong_parameters_are_refused(name, options, message):
    with pytest.raises(UsageError) as error:
        open_game(name, options)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
