"""An expert's episodes: the same whatever the workers, replayed, split by task and seed, and read by trainers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from game_parts import moody, rows_of, save
from pydantic import ValidationError
from trainer_parts import QUICK, context, make_model

from hubwright.builders.agent_trajectories import TrajectoriesConfig, build, check_replay, replay
from hubwright.builders.agent_trajectories.rows import expert_choice
from hubwright.environments.text.interface import as_messages
from hubwright.environments.text.play import play
from hubwright.environments.text.registry import open_game
from hubwright.hub_sync.errors import DataError, UsageError

__all__ = ["moody"]
GAMES: list[dict[str, Any]] = [
    {"game": "taxi", "episodes": {"train": 6, "dev": 2, "test": 2, "test_seeds": 4}},
    {"game": "cliff_walking", "episodes": {"train": 3, "test": 2}},
]


def run(folder: Path, name: str = "run", **settings: Any) -> tuple[Any, Any]:
    step = context(folder, {}, name)
    return build(TrajectoriesConfig(**({"games": GAMES, "history": 0} | settings)), step), step


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    folder = tmp_path_factory.mktemp("expert")
    data, step = run(folder)
    return data, step, save(data, folder / "data")


def test_build_rows_are_those_of_the_game(built: tuple[Any, Any, Path]) -> None:
    data, step, _ = built
    game = open_game("taxi")
    check_columns("agent_trajectories", data, step.report)
    row = next(row for row in data["trajectories"]["train"] if row["env"] == "taxi")
    steps = [one for one in data["steps"]["train"] if one["traj_id"] == row["id"]]
    observation, rewards = game.reset(row["seed"], row["task"]), []
    for one in steps:
        assert one["prompt"] == as_messages(game.instructions, [observation], [])
        assert one["expert_action"] == game.expert() == one["action"] and one["state"] == game.state()
        assert dict(zip(one["admissible"], one["expert_dist"], strict=True)) == dict.fromkeys(
            game.admissible(), 0.0
        ) | (game.expert_distribution())
        outcome = game.step(one["action"])
        observation = outcome.observation
        rewards.append(outcome.reward)
    assert row["rewards"] == rewards and row["score"] == 1 and row["end"] == "done" and row["replayed"]
    assert steps[0]["return_to_go"] == sum(rewards) and steps[-1]["return_to_go"] == rewards[-1] == 20
    assert row["messages"][-1]["content"] == observation and len(row["actions"]) == len(row["states"]) == len(steps)
    assert step.report.counts["episodes"] + step.report.counts["records_rejected"] == 19
    assert step.report.metrics["success"] == 1 and "> " in step.report.sections[0]["body"]


def test_build_splits_hold_out_tasks_and_seeds(built: tuple[Any, Any, Path]) -> None:
    parts = {
        split: {(row["env"], row["task"], row["seed"]) for row in rows}
        for split, rows in built[0]["trajectories"].items()
    }
    assert list(parts) == ["train", "dev", "test", "test_seeds"]
    tasks = {split: {one[:2] for one in rows} for split, rows in parts.items()}
    assert not tasks["train"] & (tasks["dev"] | tasks["test"]) and not tasks["dev"] & tasks["test"]
    assert tasks["test_seeds"] <= tasks["train"] and not parts["test_seeds"] & parts["train"]


def test_build_two_workers_and_a_resume_give_the_same_rows(
    built: tuple[Any, Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(tmp_path, workers=2)
    assert all(
        first[name][split].to_list() == rows.to_list()
        for name, part in built[0].items()
        for split, rows in part.items()
    )
    shards = sorted((tmp_path / "run" / "work" / "episodes" / "shards").iterdir())
    shards[0].unlink()
    played: list[int] = []
    monkeypatch.setattr(
        sys.modules[build.__module__], "play",
        lambda pool, episodes, *rest: played.append(len(episodes)) or play(pool, episodes, *rest),
    )  # fmt: skip
    again, _ = run(tmp_path)
    assert len(played) == 1 and len(shards) == 6
    assert again["steps"]["train"].to_list() == first["steps"]["train"].to_list()


def test_check_replay_finds_a_changed_score_and_panel(built: tuple[Any, Any, Path], tmp_path: Path) -> None:
    data, _, folder = built
    assert check_replay(folder, None, "test_seeds") == {"replayed": 4, "texts_differ": 0}
    assert check_replay(folder, 2)["replayed"] == 2
    rows = data["trajectories"]["test"].to_list()
    assert not any(one.problem for one in replay(rows))
    from datasets import Dataset, DatasetDict

    def saved(name: str, changed: list[dict[str, Any]]) -> Path:
        part = Dataset.from_list(changed, features=data["trajectories"]["test"].features)
        return save({"trajectories": DatasetDict({"train": part})}, tmp_path / name)

    with pytest.raises(DataError, match=rf"row {rows[1]['id']}: its replay differs \(score 1.0, stated 0.5\)"):
        check_replay(saved("a", [rows[0], rows[1] | {"score": 0.5}]), None)
    with pytest.raises(DataError, match="not those of its panel"):
        check_replay(saved("b", [row for row in rows if row["env"] == "taxi"][:1]))
    with pytest.raises(DataError, match="cannot be replayed"):
        check_replay(saved("c", [row | {"options": None} for row in rows]))


def test_game_that_is_not_the_same_twice_is_refused_by_reason(moody: None, tmp_path: Path) -> None:
    data, step = run(tmp_path, games=[{"game": "moody", "episodes": {"train": 2}}])
    assert data["trajectories"]["train"]["task"] == ["calm"]
    assert step.report.counts["rejected: replay_differs"] == 1
    with pytest.raises(DataError, match=r"'test' can be used \(no_expert_action: 1\)"):
        run(tmp_path, "b", games=[{"game": "moody", "episodes": {"train": 2, "test": 1}}])


def test_more_episodes_than_there_are_count_as_duplicates(tmp_path: Path) -> None:
    games = [{"game": "cliff_walking", "episodes": {"dev": 9}}]
    data, step = run(tmp_path, games=games)
    kept = len(data["trajectories"]["dev"])
    assert kept == len(open_game("cliff_walking").tasks("dev")) < 9
    assert step.report.counts["rejected: duplicate"] == 9 - kept


def test_held_out_map_that_train_has_too_is_left_out(tmp_path: Path) -> None:
    """About every 25th map of FrozenLake has no hole."""
    data, step = run(tmp_path, games=[{"game": "frozen_lake", "episodes": {"train": 60, "test": 60}}])
    first = {split: {row["messages"][0]["content"] for row in rows} for split, rows in data["trajectories"].items()}
    assert step.report.counts["rejected: same_as_train"] > 0 and first["train"].isdisjoint(first["test"])


@pytest.mark.parametrize("sample_expert", [False, True])
def test_seeds_that_change_nothing_are_no_test(tmp_path: Path, sample_expert: bool) -> None:
    games = [{"game": "cliff_walking", "episodes": {"train": 2, "test_seeds": 2}}]
    with pytest.raises(DataError, match=r"none of 2 episodes of 'test_seeds' can be used \(same_as_train: 2\).*drop"):
        run(tmp_path, games=games, sample_expert=sample_expert)


def test_history_limits_prompts_and_the_sft_rows_have_the_same(tmp_path: Path) -> None:
    games = [{"game": "frozen_lake", "options": {"slippery": True}, "episodes": {"train": 3}, "admissible": False}]
    data, _ = run(tmp_path, games=games, history=1, max_steps=4, success_only=False)
    for step, row in zip(data["steps"]["train"], data["sft"]["train"], strict=True):
        assert (
            len(step["prompt"]) == (1 if step["i"] == 0 else 3) and step["admissible"] is step["expert_dist"] is None
        )
        assert [turn["content"] for turn in row["messages"]] == [
            *(turn["content"] for turn in step["prompt"]), step["expert_action"]
        ]  # fmt: skip
        assert [turn["weight"] for turn in row["messages"]] == [None, 0] * (step["i"] > 0) + [None, 1]
    assert {row["end"] for row in data["trajectories"]["train"]} <= {"done", "max_steps"}


def test_expert_choice_draws_by_probability() -> None:
    answers = {"expert": "a", "distribution": {"a": 0.25, "b": 0.75}}
    drawn = [expert_choice(answers, ("taxi", n), True) for n in range(2000)]
    assert 0.22 < drawn.count("a") / 2000 < 0.28 and expert_choice(answers, (), False) == "a"
    assert drawn == [expert_choice(answers, ("taxi", n), True) for n in range(2000)]
    assert expert_choice({"expert": None, "distribution": {}}, (), True) is None


@pytest.mark.parametrize("config", ["trajectories", "sft"])
def test_sft_learns_from_both_configs(built: tuple[Any, Any, Path], tmp_path: Path, config: str) -> None:
    from hubwright.trainers import sft

    inputs = {"model": make_model(tmp_path / "model"), "dataset": built[2]}
    step = context(tmp_path, inputs)
    settings = QUICK | {"max_steps": 1, "max_length": 1024}
    sft.train(sft.SFTConfig(**settings, dataset_configs=(config,), chat_template="chatml_tools"), step)
    rows = rows_of(built[2], config, "train", tmp_path / "cache")
    assert step.report.counts["train_rows_used"] == len(rows)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ({"game": "taxy"}, "did you mean 'taxi'"),
        ({"game": ""}, "at least 1 character"),
        ({"options": {"rain": True}}, "unknown parameter 'rain'; did you mean 'rainy'"),
        ({"options": {"rainy": "yes"}}, "parameter rainy"),
        ({"episodes": {}}, "at least 1 item"),
        ({"episodes": {"train": 0}}, "greater than or equal to 1"),
        ({"episodes": {"validation": 3}}, "'train', 'dev', 'test' or 'test_seeds'"),
        ({"episodes": {"test_seeds": 3}}, "name episodes of train too"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_config_refuses_before_anything_runs(game: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrajectoriesConfig(games=[{"game": "taxi", "episodes": {"train": 1}} | game])


def test_games_that_cannot_be_played_stop_the_step_before_the_others_begin(tmp_path: Path) -> None:
    for games, message in (
        ([GAMES[0], GAMES[0]], "named twice"),
        ([GAMES[1], {"game": "taxi/blue", "episodes": {"train": 1}}], "there is no 'blue' of it"),
    ):
        with pytest.raises(UsageError, match=message):
            run(tmp_path, games=games)
        assert not (tmp_path / "run" / "work" / "episodes").exists()
