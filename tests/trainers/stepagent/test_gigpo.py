"""GiGPO: the first loss is what numpy says, better actions become more probable, every step is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from episode_parts import INSTRUCTIONS, POLICY, bandits, episode, save_episodes, walks
from step_parts import context, make_model
from trainer_parts import QUICK

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.inference.loading import causal_lm
from hubwright.trainers.stepagent.advantages import advantages
from hubwright.trainers.stepagent.gigpo import GiGPOConfig, train
from hubwright.trainers.stepagent.gigpo_trainer import fit, token_losses

WHOLE = QUICK | {"per_device_train_batch_size": 64, "max_steps": 1}  # all steps in one optimiser step


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("gigpo"), dropout=0.0)


def run(folder: Path, model: Path, rows: list[dict[str, Any]], name: str = "run", **settings: Any) -> Any:
    step = context(folder, {"model": model, "dataset": save_episodes(folder / f"data-{name}", rows)}, name)
    train(GiGPOConfig(**(QUICK | settings)), step)
    return step


def log_probability(folder: Path, reply: str) -> float:
    """Of a first reply with its end of turn, by one plain pass."""
    from transformers import AutoTokenizer

    model, tokenizer = causal_lm(folder, "m", "float32").eval(), AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": f"{INSTRUCTIONS}\n\nYou are in room 0."}]
    head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    ids = [*head, *tokenizer(f"{reply}<|im_end|>")["input_ids"]]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logits[k - 1, ids[k]].item() for k in range(len(head), len(ids)))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(
    "more", [{}, {"lora": {"r": 4}}, {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 6}]
)
def test_first_loss_is_minus_the_mean_advantage(
    tmp_path: Path, model: Path, normalised: bool, more: dict[str, Any]
) -> None:
    rows = walks()  # 18 steps, of actions of two lengths
    step = run(tmp_path, model, rows, **(WHOLE | {"length_normalised": normalised, "scale": "none"} | more))
    keys = [row["task"] for row in rows]
    values, _ = advantages(keys, [row["rewards"] for row in rows], [row["states"] for row in rows], scale="none")
    lengths = [len(turn["content"]) + 1 for row in rows for turn in row["messages"] if turn["role"] == "assistant"]
    wanted = -np.mean(np.concatenate(values) * (1 if normalised else np.array(lengths)))
    assert abs(wanted) > 1e-3
    assert step.report.metrics["train_loss_first"] == pytest.approx(wanted, abs=2e-6)
    curves = {curve["title"]: curve["series"]["train"] for curve in step.report.curves if "train" in curve["series"]}
    assert curves["KL divergence"][0][1] == pytest.approx(0, abs=1e-9) and curves["Clipped tokens"][0][1] == 0


@pytest.mark.parametrize("more", [{}, {"lora": {"r": 4}, "merge_adapter": True}])
def test_better_action_becomes_more_probable_and_the_worse_one_less(
    tmp_path: Path, model: Path, more: dict[str, Any]
) -> None:
    step = run(tmp_path, model, bandits(), max_steps=12, learning_rate=3e-3, num_train_epochs=3, **more)
    before, after = ({a: log_probability(folder, a) for a in ("east", "west")} for folder in (model, step.output))
    assert after["east"] > before["east"] + 0.1 and after["west"] < before["west"] - 0.1


def test_strong_pull_to_the_start_keeps_the_policy_there(tmp_path: Path, model: Path) -> None:
    moves = [
        run(tmp_path, model, bandits(), f"beta{beta}", max_steps=12, learning_rate=3e-3, beta=beta).report.curves
        for beta in (0.0, 100.0)
    ]
    free, held = (
        next(c["series"]["train"][-1][1] for c in curves if c["title"] == "KL divergence") for curves in moves
    )
    assert held < free / 4


def test_token_losses_are_those_of_numpy() -> None:
    logps, start = np.log([0.5, 0.5, 0.9, 0.2, 0.3]), np.log([0.5, 0.3, 0.3, 0.9, 0.9])
    advantage = np.array([2.0, 1.0, -1.0, -1.0, 1.0])
    losses, kl, clipped = token_losses(*(torch.tensor(one) for one in (logps, start, advantage)), 0.2, 0.1)
    ratio = np.exp(logps - start)
    k3 = 1 / ratio - 1 - np.log(1 / ratio)
    assert np.allclose(kl.numpy(), k3)
    wanted = [-2.0, -1.2, 3.0, 0.8, -1 / 3]  # clipped above with A > 0, below with A < 0
    assert np.allclose(losses.numpy(), wanted + 0.1 * k3)
    assert clipped.tolist() == [False, True, False, True, False]


def test_prompts_and_actions_are_those_of_the_player(tmp_path: Path, model: Path) -> None:
    rows = [row | {"history": 1} for row in walks()]
    step = context(tmp_path, {"model": model, "dataset": save_episodes(tmp_path / "data", rows)})
    trainer = fit(GiGPOConfig(**(QUICK | {"max_steps": 1})), step)
    texts = [trainer.processing_class.decode(ids) for ids in trainer.train_dataset["input_ids"]]
    # The third step of the third episode: one past action, and the instructions before what it answered to.
    assert texts[5] == (
        "<|im_start|>user\nWalk.\n\nYou are in room 1.<|im_end|>\n<|im_start|>assistant\ngo on<|im_end|>\n"
        "<|im_start|>user\nYou are in room 2.<|im_end|>\n<|im_start|>assistant\nstop there<|im_end|>"
    )
    learnt = [token for token in trainer.train_dataset["labels"][5] if token != -100]
    assert trainer.processing_class.decode(learnt) == "stop there<|im_end|>"
    assert len(trainer.train_dataset["start_logps"][5]) == len(learnt)


def test_eval_split_has_advantages_and_a_divergence_of_its_own(tmp_path: Path, model: Path) -> None:
    step = run(tmp_path, model, bandits(), learning_rate=1e-2, eval_split="train", eval_steps=2)
    curves = {curve["title"]: curve["series"] for curve in step.report.curves}
    assert [x for x, _ in curves["Loss"]["eval"]] == [2, 4]
    assert step.report.metrics["eval_kl"] > 0 > step.report.metrics["eval_loss"]  # all eight steps, whose mean A is 0
    assert step.report.counts["eval_rows_used"] == 8


def test_end_of_turn_of_a_cut_reply_is_not_learnt(tmp_path: Path, model: Path) -> None:
    rows = [row | {"cut": [row["rewards"][0] == 0]} for row in bandits()]
    step = context(tmp_path, {"model": model, "dataset": save_episodes(tmp_path / "data", rows)})
    trainer = fit(GiGPOConfig(**(QUICK | {"max_steps": 1})), step)
    learnt = [
        trainer.processing_class.decode([t for t in row if t != -100]) for row in trainer.train_dataset["labels"]
    ]
    assert learnt == ["east<|im_end|>", "west"] * 4
    assert step.report.counts["train_rows_cut_while_played"] == 4


def test_episodes_played_at_another_temperature_are_refused(tmp_path: Path, model: Path) -> None:
    rows = [row | {"temperature": 0.7} for row in bandits()]
    with pytest.raises(DataError, match=r"row 0 of the train split: played at temperature 0\.7, and the setting"):
        run(tmp_path, model, rows)
    run(tmp_path / "equal", model, rows, temperature=0.7)


def test_log_probabilities_of_the_start_are_read_again_after_a_kill(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.trainers.stepagent.gigpo_trainer import GiGPOTrainer

    calls: list[int] = []
    once = GiGPOTrainer._start_logps
    monkeypatch.setattr(GiGPOTrainer, "_start_logps", lambda self, batch: calls.append(1) or once(self, batch))
    monkeypatch.setattr(GiGPOTrainer, "training_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    data = save_episodes(tmp_path / "data", walks())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(GiGPOConfig(**QUICK), context(tmp_path, {"model": model, "dataset": data}))
    assert len(calls) == 3  # 18 steps in batches of 8


def test_every_episode_and_step_is_accounted_for(tmp_path: Path, model: Path) -> None:
    rows = [*walks(), episode("alone", 0, ["go"], [1.0]), episode("t0", 7, [], []),
            *(episode("even", k, ["go"], [1.0]) for k in range(2)), episode("t1", 8, [""], [0.0]),
            episode("t2", 9, ["x" * 300], [0.0])]  # fmt: skip
    step = run(tmp_path, model, rows, max_length=200, max_cut_share=0.1)
    counts = {name.removeprefix("train_"): count for name, count in step.report.counts.items()}
    assert counts == {
        "episodes": 15, "episodes_without_steps": 1, "episodes_alone_in_their_group": 1, "episodes_used": 13,
        "groups": 4, "groups_with_equal_returns": 1, "steps": 22, "steps_with_advantage_0": counts["steps_with_advantage_0"],
        "rows_read": 22, "rows": 22,
        "rows_cut_while_played": 0, "rows_longer_than_max_length": 1, "rows_used": 21, "tokens": counts["tokens"],
        "action_tokens": 9 * 11 + 9 * 6 + 2 * 3 + 1,
    }  # fmt: skip
    assert counts["steps_with_advantage_0"] >= 2
    assert json.dumps(step.report.metrics)
    # In t0, t1 and t2 the last room is seen once; t1 and t2 have a fourth visit to the first one.
    assert step.report.metrics["train_share_of_steps_in_repeated_states"] == pytest.approx(19 / 22)
    table = next(one for one in step.report.tables if one["title"].startswith("Steps of a group"))
    assert [row[1] for row in table["rows"]] == [pytest.approx(share / 22, abs=1e-4) for share in (3, 19, 0, 0)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{k: v for k, v in row.items() if k != "states"} for row in bandits()], "lacks `states`: GiGPO reads config"),
        ([row | {"policy": "expert"} for row in bandits()], "row 0 of the train split: played by expert, not by org/model"),
        ([row | {"policy": None} for row in bandits()], "row 0 of the train split: played by None"),
        ([row | {"seed": n} for n, row in enumerate(bandits())], "each of the 8 episodes of the train split is alone"),
        ([row | {"seed": None} for row in bandits()], "row 0 of the train split: seed is null"),
        ([row | {"rewards": [1.0]} for row in bandits()], "the 8 episodes of the train split have the same rewards"),
        ([row | {"rewards": [float("nan")]} for row in bandits()], r"rewards\[0\] is nan, not a finite number"),
        ([row | {"rewards": ["1"]} for row in bandits()], r"rewards\[0\] is '1', not a finite number"),
        ([row | {"rewards": None} for row in bandits()], "rewards is None, not a list"),
        ([row | {"rewards": [1.0, 2.0]} for row in bandits()], "it has 1 replies, 2 rewards, 1 states"),
        ([row | {"states": [None]} for row in bandits()], r"states\[0\] is None, not text"),
        ([row | {"messages": row["messages"][1:]} for row in bandits()],
         r"user and assistant do not alternate in its messages \(assistant, user\)"),
        ([row | {"messages": None} for row in bandits()], "messages is None, not a list"),
        ([row | {"id": "same"} for row in bandits()], "row 1 of the train split: id 'same' is that of row 0 as well"),
    ],
)  # fmt: skip
def test_unusable_episodes_are_refused_by_row(
    tmp_path: Path, model: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path, model, rows)


def test_steps_without_room_for_an_action_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="8 of 8 steps of the train split are longer than max_length 40"):
        run(tmp_path, model, bandits(), max_length=40)


def test_episodes_of_another_commit_are_accepted_if_allowed(tmp_path: Path, model: Path) -> None:
    rows = [row | {"policy": POLICY.replace("0", "1")} for row in bandits()]
    with pytest.raises(DataError, match="or set allow_off_policy: true"):
        run(tmp_path, model, rows)
    assert run(tmp_path, model, rows, "allowed", allow_off_policy=True).report.counts["train_rows_used"] == 8


def test_reply_that_spells_a_control_token_is_refused(tmp_path: Path, model: Path) -> None:
    rows = [episode(row["task"], k, ["go<|im_end|>"], row["rewards"]) for k, row in enumerate(bandits())]
    with pytest.raises(DataError, match="a text spells a control token"):
        run(tmp_path, model, rows)


def test_rollouts_of_a_game_are_read_with_the_prompts_of_their_steps(tmp_path: Path, model: Path) -> None:
    from hubwright.builders.agent_trajectories.rollouts import RolloutsConfig, build
    from hubwright.trainers.stepagent.episodes import steps_of

    games = [{"game": "frozen_lake", "episodes": {"train": 2}}]
    config = RolloutsConfig(
        games=games, history=1, max_steps=3, samples=2, device="cpu", threads=1, max_new_tokens=6, batch_size=4
    )  # type: ignore[arg-type]
    played = build(config, context(tmp_path, {"model": model}, "play"))
    episodes = played["trajectories"]["train"]
    # Nobody reaches the goal by chance: one reward is changed.
    rows = [row | {"rewards": [float(n == 0), *row["rewards"][1:]]} for n, row in enumerate(episodes)]
    step = context(tmp_path, {"model": model, "dataset": save_episodes(tmp_path / "data", rows)})
    steps = steps_of(episodes.from_list(rows), "train", GiGPOConfig(), step)
    assert steps["prompt"][:] == played["steps"]["train"]["prompt"][:] and len(steps) > 8
    assert max(len(prompt) for prompt in steps["prompt"]) == 3
    train(GiGPOConfig(**(QUICK | {"max_length": 1000})), step)
    assert step.report.counts["train_rows_used"] == len(steps)
