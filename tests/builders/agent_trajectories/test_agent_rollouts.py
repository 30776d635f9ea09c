"""A model's own episodes: the same after a kill and with other workers, beside the expert's actions and episodes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from column_parts import check_columns
from game_parts import rows_of, save
from pydantic import ValidationError
from trainer_parts import context, make_model

from hubwright.builders.agent_trajectories import TrajectoriesConfig, check_replay
from hubwright.builders.agent_trajectories import build as build_expert
from hubwright.builders.agent_trajectories.importer import ImportConfig
from hubwright.builders.agent_trajectories.importer import build as build_import
from hubwright.builders.agent_trajectories.rollouts import RolloutsConfig, build
from hubwright.environments.text.play import play
from hubwright.environments.text.registry import open_game
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.inference.generation import Generator

ROLLOUTS = sys.modules[build.__module__]
SMALL = {"device": "cpu", "threads": 1, "max_new_tokens": 6, "batch_size": 2, "max_steps": 3, "history": 0}
GAMES = [{"game": "frozen_lake", "episodes": {"train": 6}}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), dropout=0.0)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("expert")
    games = [{"game": "frozen_lake", "episodes": {"train": 2, "test": 3}}]
    config = TrajectoriesConfig(games=games, history=0, max_steps=8)  # type: ignore[arg-type]
    return save(build_expert(config, context(folder, {})), folder / "data")


class Walker(Generator):
    """Answers as the expert of FrozenLake would on even rows of a batch, else with a step back."""

    def sample(self, prompts: Any, batch: str) -> Any:
        samples = super().sample(prompts, batch)
        return [
            type(one)(f"Thought: {n}.\nAction: {'Move down.' if n % 2 else 'move left'}", one.logp, False, one.tokens)
            for n, one in enumerate(samples)
        ]


def run(folder: Path, model: Path, name: str = "run", dataset: Path | None = None, **settings: Any) -> tuple[Any, Any]:
    step = context(folder, {"model": model} | ({"dataset": dataset} if dataset else {}), name)
    given = {key: value for key, value in SMALL.items() if not (dataset and key in ("history", "max_steps"))}
    config = RolloutsConfig(**(given | ({} if dataset else {"games": GAMES}) | settings))
    return build(config, step), step


def plain(data: Any) -> dict[str, Any]:
    return {name: {split: rows.to_list() for split, rows in part.items()} for name, part in data.items()}


def test_rollouts_have_the_experts_action_in_the_models_own_states(tmp_path: Path, model: Path) -> None:
    data, step = run(tmp_path, model, samples=2)
    rows, steps = data["trajectories"]["train"].to_list(), data["steps"]["train"].to_list()
    assert [row["id"] for row in rows[:3]] == [
        "frozen_lake-train-0-0",
        "frozen_lake-train-0-1",
        "frozen_lake-train-1-0",
    ]
    assert len(rows) == 12 and len(steps) == 36 and "sft" not in data and "pairs" not in data
    check_columns("agent_rollouts", data, step.report)
    assert {row["end"] for row in rows} == {"max_steps"} and not any(row["replayed"] for row in rows)
    assert rows[0]["policy"].startswith("org/model@") and not any(row["success"] for row in rows)
    # A model that knows no end of turn uses up its tokens, and each reply is told to be cut.
    assert {row["temperature"] for row in rows} == {1.0}
    assert all(len(row["cut"]) == len(row["actions"]) for row in rows) and any(any(row["cut"]) for row in rows)
    game = open_game("frozen_lake")
    for one in steps[:6]:
        row = next(row for row in rows if row["id"] == one["traj_id"])
        game.reset(row["seed"], row["task"])
        for action in row["actions"][: one["i"]]:
            game.step(action)
        assert (one["expert_action"], one["state"]) == (game.expert(), game.state())
        assert one["prompt"][0]["content"].endswith(row["messages"][2 * one["i"]]["content"])
    assert step.report.counts["steps"] == 36 and step.report.metrics["tokens_per_second"] > 0


def test_a_kill_and_other_workers_change_no_row(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path, model, "whole", samples=3)
    played: list[int] = []

    def killed(pool: Any, episodes: Any, *rest: Any) -> Any:
        if played:
            raise KeyboardInterrupt
        played.append(len(episodes))
        return play(pool, episodes, *rest)

    monkeypatch.setattr(ROLLOUTS, "play", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, model, "cut", samples=3, workers=2)
    monkeypatch.setattr(
        ROLLOUTS, "play", lambda pool, some, *rest: played.append(len(some)) or play(pool, some, *rest)
    )
    again, _ = run(tmp_path, model, "cut", samples=3, workers=2)
    assert played == [8, 8, 2] and plain(again) == plain(whole)
    other, _ = run(tmp_path, model, "seed", samples=3, seed=1)
    assert plain(other)["trajectories"] != plain(whole)["trajectories"]


def test_episodes_of_a_data_set_give_pairs_and_what_succeeded(
    tmp_path: Path, model: Path, expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = ROLLOUTS.load_generator

    def walker(*arguments: Any) -> Any:
        generator = load(*arguments)
        generator.__class__ = Walker
        return generator

    monkeypatch.setattr(ROLLOUTS, "load_generator", walker)
    data, _ = run(tmp_path, model, dataset=expert, samples=2, extra_turns=1)
    episodes = {split: [(row["task"], row["seed"]) for row in rows_of(expert, "trajectories", split, tmp_path / "c")]
                for split in ("train", "test")}  # fmt: skip
    for split, rows in data["trajectories"].items():
        assert [(row["task"], row["seed"]) for row in rows] == [one for one in episodes[split] for _ in range(2)]
        assert set(rows["max_steps"]) == {8} and set(rows["history"]) == {0}
        assert {row["panel"] for row in rows} == {
            row["panel"] for row in rows_of(expert, "trajectories", split, tmp_path / "c")
        }
    rows = {row["id"]: row for part in data["trajectories"].values() for row in part}
    worse = {name for name, row in rows.items() if row["score"] < 1}
    assert {pair["traj_id"] for part in data["pairs"].values() for pair in part} == worse
    for pair in data["pairs"]["train"]:
        assert pair["chosen"][-1]["role"] == pair["rejected"][-1]["role"] == "assistant"
        assert [turn["role"] for turn in pair["prompt"]] == ["user"] and "gift" in pair["prompt"][0]["content"]
        assert len(pair["rejected"]) <= len(pair["chosen"]) + 1
    assert {row["traj_id"] for part in data.get("sft", {}).values() for row in part}.isdisjoint(worse)
    folder = save(data, tmp_path / "data")
    assert check_replay(folder, None)["replayed"] == 4


def test_successful_episodes_are_rows_to_learn_from(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cliff's last square every walk downwards succeeds; the same step is learnt once."""
    load = ROLLOUTS.load_generator

    def down(*arguments: Any) -> Any:
        generator = load(*arguments)
        drawn = generator.sample
        monkeypatch.setattr(
            generator, "sample",
            lambda *a: [type(one)("Action: Move down.", 0.0, False, 3) for one in drawn(*a)],
        )  # fmt: skip
        return generator

    monkeypatch.setattr(ROLLOUTS, "load_generator", down)
    games = [{"game": "cliff_walking", "episodes": {"test": 6}}]
    data, _ = run(tmp_path, model, games=games, samples=2)
    won = [row for row in data["trajectories"]["test"] if row["success"]]
    assert won and {row["task"] for row in won} <= {f"row {n} column 12" for n in (1, 2, 3)}
    learnt = data["sft"]["test"].to_list()
    assert 0 < len(learnt) < sum(len(row["actions"]) for row in won)
    assert {row["messages"][-1]["content"] for row in learnt} == {"Action: Move down."}
    assert len({repr(row["messages"]) for row in learnt}) == len(learnt)


def test_states_without_an_expert_are_left_out_unless_wanted(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ROLLOUTS, "expert_choice", lambda answers, key, sample: None if key[3] else answers["expert"])
    data, step = run(tmp_path, model)
    assert data["steps"]["train"]["i"] == [0] * 6 and step.report.counts["steps_without_expert"] == 12
    data, _ = run(tmp_path, model, keep_without_expert=True)
    assert (
        data["steps"]["train"]["expert_action"].count(None) == 12 == data["steps"]["train"]["expert_dist"].count(None)
    )


def test_prompt_that_outgrows_the_model_ends_its_episode_alone(tmp_path: Path, model: Path) -> None:
    data, _ = run(tmp_path, model, history=None, max_steps=100, max_new_tokens=400, batch_size=6)
    rows = data["trajectories"]["train"].to_list()
    assert {row["end"] for row in rows} == {"prompt_too_long"} and all(row["actions"] for row in rows)
    with pytest.raises(DataError, match=r"can be used \(prompt_too_long: 6\).*history"):
        run(tmp_path, model, "none", max_new_tokens=1000)


def test_inputs_that_cannot_be_played_are_refused_in_one_line(tmp_path: Path, model: Path, expert: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        build(RolloutsConfig(), context(tmp_path, {"model": model}))
    for settings, kind, message in (
        ({"games": GAMES, "dataset": expert}, UsageError, "give one of them"),
        ({"dataset": expert, "splits": ["dev"]}, UsageError, "no split 'dev'; it has train, test"),
    ):
        with pytest.raises(kind, match=message):
            run(tmp_path, model, **settings)
    (tmp_path / "a.json").write_text('[{"messages": [{"role": "user", "content": "a"}, '
                                     '{"role": "assistant", "content": "Action: b"}]}]')  # fmt: skip
    source = ({"source": str(tmp_path / "a.json")},)
    config = ImportConfig(sources=source, env="taxi", license="mit")  # type: ignore[arg-type]
    imported = save(build_import(config, context(tmp_path, {}, "import")), tmp_path / "imported")
    with pytest.raises(DataError, match="no game that can be played"):
        run(tmp_path, model, dataset=imported)
    with pytest.raises(ValidationError, match="history and max_steps are those of the input"):
        RolloutsConfig(history=3)
    with pytest.raises(ValidationError, match="splits are those of the input"):
        RolloutsConfig(games=GAMES, splits=("train",))  # type: ignore[arg-type]


def test_another_version_of_the_game_is_refused(
    tmp_path: Path, model: Path, expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ROLLOUTS, "versions", lambda game: {"gymnasium": "9.9", "hubwright": "0"})
    with pytest.raises(UsageError, match=r"frozen_lake was played with gymnasium .*, installed is 9\.9: pip install"):
        run(tmp_path, model, dataset=expert)


def test_model_without_chat_template_is_refused(tmp_path: Path, model: Path) -> None:
    import shutil

    folder = tmp_path / "bare"
    shutil.copytree(model, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    text = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(re.sub(r'"chat_template": "(\\.|[^"\\])*",?', "", text))
    with pytest.raises(UsageError, match="has no chat template"):
        run(tmp_path, folder)
    assert torch.is_grad_enabled()
