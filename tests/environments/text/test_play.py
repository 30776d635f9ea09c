"""Episodes in worker processes: the same whatever the workers, and unharmed by what hangs, dies or raises beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubwright.environments.text.interface import Episode
from hubwright.environments.text.panel import panel
from hubwright.environments.text.play import play
from hubwright.environments.text.pool import GamePool, Lost
from hubwright.environments.text.registry import open_game
from hubwright.hub_sync.errors import DataError, UsageError


def go(views):
    return ["go"] * len(views)


def odd_episodes(*kinds):
    return [Episode("odd", f"{kind}:{number}", number) for number, kind in enumerate(kinds)]


def expert(views):
    return [view.answers["expert"] for view in views]


@pytest.fixture
def odd_pool(odd):
    with GamePool("odd", odd, workers=2, step_seconds=1, reset_seconds=20) as pool:
        yield pool


def test_play_workers_and_batch_change_no_trajectory():
    results = []
    for workers, batches in ((1, [3]), (2, [3, 1, 64])):
        with GamePool("cliff_walking", workers=workers) as pool:
            episodes, asked = panel(pool, "dev", 7), ["expert", "admissible"]
            results += [play(pool, episodes, expert, batch, asked) for batch in batches]
    assert all(rows == results[0] for rows in results)
    assert [row.episode for row in results[0]] == panel(open_game("cliff_walking"), "dev", 7)
    assert all(row.success and row.end == "done" and all(row.valid) for row in results[0])
    one = results[0][0]
    assert len(one.observations) == len(one.actions) + 1 == len(one.answers) + 1 == len(one.rewards) + 1


def test_play_policy_sees_all_live_episodes_at_once_in_order():
    seen = []

    def policy(views):
        seen.append([view.episode.seed for view in views])
        return [None if len(view.actions) == view.episode.seed else "Action: Go." for view in views]

    episodes = [Episode("frozen_lake", "map 1", seed) for seed in (0, 2, 1, 1)]
    with GamePool("frozen_lake", workers=2) as pool:
        rows = play(pool, episodes, policy, batch=2)
    assert seen == [[0, 2], [2, 1], [2, 1], [1], [1]]
    assert [row.end for row in rows] == ["refused"] * 4 and [len(row.actions) for row in rows] == [0, 2, 1, 1]
    assert rows[1].replies == ["Action: Go."] * 2 and rows[1].actions == ["go"] * 2 and rows[1].valid == [False] * 2
    assert rows[1].score == 0.0 and not rows[1].success


def test_play_max_steps_cuts_an_episode_and_never_lengthens_it(odd_pool):
    short = play(odd_pool, odd_episodes("calm"), go, max_steps=3, asked=["expert"])[0]
    assert short.end == "max_steps" and len(short.actions) == 3 and len(short.answers) == 4 and short.score == 0.75
    idle = play(odd_pool, odd_episodes("calm"), lambda views: ["stay"] * len(views), max_steps=50)[0]
    assert idle.end == "max_steps" and len(idle.actions) == 6  # the game's own limit


@pytest.mark.parametrize("kind", ["die once", "hang once"])
def test_play_worker_that_fails_once_is_replaced_and_nothing_differs(odd_pool, kind):
    episodes = odd_episodes("calm", "calm", kind, "calm", "calm")
    rows = play(odd_pool, episodes, go, batch=5)
    assert [row.end for row in rows] == ["done"] * 5 and [row.restarts for row in rows] == [0] * 5
    plain = [f"{number} done with 2." for number in range(1, 5)]
    assert rows[2].observations == [f"{kind}:2 2: nothing done.", *plain]


def test_play_reset_that_hangs_ends_its_episode_alone(odd):
    with GamePool("odd", odd, workers=2, step_seconds=5, reset_seconds=1.5) as pool:
        rows = play(pool, odd_episodes("calm", "slow reset", "calm"), go)
    assert [row.end for row in rows] == ["done", "crashed: no answer to reset within 1.5 s", "done"]
    assert rows[1].observations == [] and rows[1].actions == []


def test_play_replay_that_differs_begins_the_episode_again(odd_pool):
    rows = play(odd_pool, odd_episodes("drift", "calm", "calm", "calm"), go)
    assert [row.end for row in rows] == ["done"] * 4
    assert [row.restarts for row in rows] == [1, 0, 0, 0]
    assert len({text.rpartition(" ")[2] for text in rows[0].observations[1:]}) == 1  # of one process alone


def test_play_episode_that_fails_twice_ends_with_its_reason_alone(odd_pool):
    kinds = ["calm", "die", "hang", "raise", "die once", "calm", "calm", "calm"]
    rows = play(odd_pool, odd_episodes(*kinds), go, batch=8)
    ended = {
        1: "crashed: its process ended (signal 9)",
        2: "crashed: no answer to step within 1 s",
        3: "crashed: ValueError: the door is",
    }
    assert [row.end for row in rows] == [ended.get(number, "done") for number in range(8)]
    for number, row in enumerate(rows):
        assert row.restarts == 0 and len(row.actions) == len(row.replies) == (1 if number in ended else 4)
        assert len(row.observations) == len(row.actions) + 1


def test_play_killed_workers_at_any_step_give_the_same_rows():
    with GamePool("taxi", workers=2) as pool:
        episodes = panel(pool, "train", 6)
        whole = play(pool, episodes, expert, batch=4, asked=["expert"])
        turns = 0

        def kill_then_answer(views):
            nonlocal turns
            turns += 1
            if turns % 3 == 0:
                os.kill(pool._workers[turns % 2].process.pid, signal.SIGKILL)
            return expert(views)

        assert play(pool, episodes, kill_then_answer, batch=4, asked=["expert"]) == whole
    assert turns > 9


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda views: ["go"], "game odd: the policy gave 1 replies to 2 views"),
        (lambda views: [b"go"] * len(views), "game odd: the policy's reply is not text but b'go'"),
        (lambda views: [3] * len(views), "game odd: the policy's reply is not text but 3"),
    ],
)
def test_play_policy_that_answers_otherwise_is_refused(odd_pool, policy, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        play(odd_pool, odd_episodes("calm", "calm"), policy)
    assert play(odd_pool, odd_episodes("calm"), go)[0].end == "done"  # the pool can be used again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch 0 is not"),
        ({"max_steps": 0}, "max_steps 0 is not"),
        ({"max_steps": 2.5}, "max_steps 2.5 is not"),
        ({"asked": ["experts"]}, "a game cannot be asked for 'experts'; did you mean 'expert'?"),
    ],
)
def test_play_wrong_arguments_are_refused(odd_pool, arguments, message):
    with pytest.raises(UsageError) as error:
        play(odd_pool, odd_episodes("calm"), go, **arguments)
    assert message in str(error.value)


def test_play_episode_of_another_game_or_task_is_refused(odd_pool):
    with pytest.raises(UsageError, match=r"is of another game than odd$"):
        play(odd_pool, [Episode("taxi", "red to green", 0)], go)
    with pytest.raises(UsageError, match=r"^game odd: no task is called 'calm:99'"):
        play(odd_pool, [Episode("odd", "calm:99", 0), *odd_episodes("calm")], go)
    assert play(odd_pool, odd_episodes("calm"), go)[0].end == "done"


def test_pool_slots_are_stepped_and_asked_by_themselves(odd_pool):
    first = odd_pool.reset({slot: Episode("odd", "calm:1", slot) for slot in (0, 3, 8)}, ["state"])
    assert first[3].observation == "calm:1 3: nothing done." and first[8].answers == {"state": first[8].observation}
    frames = odd_pool.step({8: "go", 3: "halt"})
    assert frames[8].observation == "1 done with 8." and not frames[3].valid and set(frames) == {3, 8}
    asked = odd_pool.ask([0, 8], ["expert", "distribution", "admissible", "gold", "state"])
    assert asked[8] == {
        "expert": "go", "distribution": {"go": 1.0}, "admissible": ["go"], "gold": None, "state": "1 done with 8.",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"^game odd: slot 1 plays no episode: reset it first$"):
        odd_pool.step({1: "go"})


def test_pool_episode_lost_while_idle_is_told_when_it_is_used(odd_pool):
    odd_pool.reset(dict(enumerate(odd_episodes("drift", "calm", "die"))))
    odd_pool.step({0: "go", 2: "go"})
    assert odd_pool.step({2: "go"}) == {2: Lost("its process ended (signal 9)", final=True)}
    assert odd_pool.step({0: "go"}) == {0: Lost("its replay differs", final=False)}
    assert odd_pool.step({1: "go"})[1].observation == "1 done with 1."


def test_pool_game_that_cannot_start_ends_in_one_line(offer, tmp_path, monkeypatch):
    offer("odd", "odd_games:Odd")
    path = tmp_path / "odd_games.py"
    path.write_text(path.read_text() + "\n    def __init__(self, *_):\n        raise OSError('no room')\n")
    sys.modules.pop("odd_games", None)
    try:
        with pytest.raises(
            DataError, match=r"^game odd: its process failed twice at 'instructions': OSError: no room$"
        ):
            GamePool("odd")
    finally:
        sys.modules.pop("odd_games", None)


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background ignores it
from hubwright.environments.text.pool import GamePool
from hubwright.environments.text.interface import Episode
pool = GamePool(sys.argv[1], eval(sys.argv[2]), workers=2, step_seconds=60)
pool.reset({0: Episode(sys.argv[1], sys.argv[3], 0), 1: Episode(sys.argv[1], sys.argv[3], 1)})
print(*(worker.process.pid for worker in pool._workers), flush=True)
pool.step({0: sys.argv[4], 1: sys.argv[4]})
pool.step({0: sys.argv[4], 1: sys.argv[4]})
sys.stdin.read()
"""


def processes_of(groups):
    """Living processes of these process groups: the workers, and the Java they started."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row for row in rows if row[0] in groups and not row[1].startswith("Z")]


def orphans_after(number, *arguments, paths=()):
    """What is left of a pool's processes some seconds after its parent got a signal, and how many there were."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    groups = parent.stdout.readline().split()
    time.sleep(0.3)  # it is in the second step by now, or waits
    before = processes_of(groups)
    parent.send_signal(number)
    parent.wait(20)
    parent.stdin.close()
    parent.stdout.close()
    deadline = time.monotonic() + 15
    while processes_of(groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    return before, processes_of(groups)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_pool_parent_that_ends_leaves_no_process(odd, number):
    before, after = orphans_after(number, "odd", repr(odd), "hang:1", "go", paths=[odd["folder"]])
    assert len(before) == 2 and after == []


def test_pool_parent_that_is_killed_leaves_no_java():
    if not Path("/proc").is_dir() or not any(Path(p, "java").exists() for p in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("java is not here")
    before, after = orphans_after(signal.SIGKILL, "textworld_express/coin", "{}", "3", "look around")
    assert len(before) == 4 and sum("java" in row[2] for row in before) == 2 and after == []
