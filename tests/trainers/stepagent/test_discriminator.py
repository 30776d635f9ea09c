"""StepAgent-Inverse's discriminator: its loss, its start, what it is measured on, replays; refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from trainer_parts import context, make_model, make_tokenizer
from walk_parts import STEP, pair, pairs, save, step, turn

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers._lib.launch import run
from hubwright.trainers.stepagent import DiscriminatorConfig, discriminator
from hubwright.trainers.stepagent.discriminator_trainer import figures, fit
from hubwright.trainers.stepagent.pairs import AGENT, EXPERT

SMALL: dict[str, Any] = STEP | {"max_steps": 2, "eval_share": 0.2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("discriminator")
    return {"model": make_model(folder / "model", dropout=0.0), "dataset": save(folder / "data", pairs=pairs())}


def trained(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[Any, Any]:
    """The trainer and the context of a training in this process."""
    step, trainers = context(folder, inputs, name), []
    run(lambda config, step: trainers.append(fit(config, step)), DiscriminatorConfig(**SMALL | settings), step)
    return trainers[0], step


def batch_of(trainer: Any, size: int = 6) -> dict[str, Any]:
    samples = trainer.train_dataset
    return trainer.data_collator([samples[n] for n in np.linspace(0, len(samples) - 1, size).astype(int)])


def text(tokenizer: Any, row: dict[str, Any], side: str) -> str:
    return tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)


def test_discriminator_tells_actions_apart_on_held_out_trajectories(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    data = save(tmp_path / "data", pairs=pairs(40, 2))
    settings = {"max_steps": 80, "per_device_train_batch_size": 16, "learning_rate": 5e-3, "eval_steps": 40}
    _, made = trained(tmp_path, inputs | {"dataset": data}, **settings)
    metrics, counts = made.report.metrics, made.report.counts
    assert metrics["eval_accuracy"] == 1 and metrics["eval_bce"] < 0.4
    assert metrics["eval_d_expert"] > 0.75 and metrics["eval_d_agent"] < 0.25
    assert counts["eval_pairs"] + counts["train_expert_actions"] == 80 and counts["eval_pairs"] % 2 == 0
    assert counts["train_ties"] == 16 and 0 < counts["eval_pairs_tied"] < counts["eval_pairs"]
    assert {"Accuracy", "D"} <= {c["title"] for c in made.report.curves}
    assert made.report.card["pipeline_tag"] == "text-classification"
    model = AutoModelForSequenceClassification.from_pretrained(made.output)
    tokenizer = AutoTokenizer.from_pretrained(made.output)
    assert model.config.num_labels == 1
    row = pair(99, 0)
    logits = [
        model(**tokenizer(text(tokenizer, row, side), return_tensors="pt")).logits.item()
        for side in ("chosen", "rejected")
    ]
    assert logits[0] > 0 > logits[1]


def test_rows_are_read_as_the_policys_trainer_reads_completions(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """As `_calculate_rewards` of TRL has it: template over prompt and completion, no special tokens, no cut."""
    trainer, _ = trained(tmp_path, inputs, eval_share=0)
    tokenizer, samples = make_tokenizer(), trainer.train_dataset
    for n, row in enumerate(pairs()):
        for side, label, place in (("chosen", EXPERT, n), ("rejected", AGENT, n + len(pairs()))):
            ids = tokenizer(text=text(tokenizer, row, side), add_special_tokens=False)["input_ids"]
            assert samples[place] == {"input_ids": ids, "label": label, "tie": row["tie"]}


def test_body_is_the_models_and_the_head_is_new(tmp_path: Path, inputs: dict[str, Path]) -> None:
    _, made = trained(tmp_path, inputs, max_steps=1, learning_rate=1e-12)
    before, after = (load_file(folder / "model.safetensors") for folder in (inputs["model"], made.output))
    assert set(after) == set(before) - {"lm_head.weight"} | {"score.weight"}
    assert after["score.weight"].shape == (1, 32) and 0.01 < after["score.weight"].std() < 0.03
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in set(before) & set(after))


def test_loss_is_the_formulas(tmp_path: Path, inputs: dict[str, Path]) -> None:
    trainer, _ = trained(tmp_path, inputs, label_smoothing=0.2)
    batch, model = batch_of(trainer), trainer.model.train()
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    d, expert = torch.sigmoid(outputs["logits"]).detach().double().numpy(), batch["labels"][:, 0].numpy()
    target = 0.9 * expert + 0.1 * (1 - expert)
    expected = -(target * np.log(d) + (1 - target) * np.log(1 - d)).mean()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("lora", [None, {"r": 2}])
def test_gradient_penalty_is_the_squared_slope_at_the_embeddings(
    tmp_path: Path, inputs: dict[str, Path], lora: dict[str, int] | None
) -> None:
    settings = {"lora": lora, "merge_adapter": lora is not None}
    trainer, _ = trained(tmp_path, inputs, gradient_penalty=3.0, **settings)
    batch, model = batch_of(trainer), trainer.model.train()
    with torch.no_grad():
        model.score.weight.mul_(50) if lora is None else None  # a slope that can be seen
    penalised = trainer.compute_loss(model, dict(batch)).item()
    trainer.config = trainer.config.model_copy(update={"gradient_penalty": 0.0})
    plain = trainer.compute_loss(model, dict(batch)).item()
    slopes = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        embedded = model.get_input_embeddings()(ids[mask.bool()][None]).detach().requires_grad_()
        [slope] = torch.autograd.grad(model(inputs_embeds=embedded).logits.sum(), embedded)
        slopes.append(slope.pow(2).sum().item())
    assert penalised - plain == pytest.approx(1.5 * np.mean(slopes), rel=1e-3, abs=1e-6) and max(slopes) > 0


def test_lora_is_merged_and_its_head_is_trained(tmp_path: Path, inputs: dict[str, Path]) -> None:
    settings = {"lora": {"r": 2}, "merge_adapter": True, "learning_rate": 0.01}
    _, start = trained(tmp_path, inputs, "start", max_steps=1, **settings | {"learning_rate": 1e-12})
    _, end = trained(tmp_path, inputs, "end", **settings)
    before, after = (load_file(one.output / "model.safetensors") for one in (start, end))
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-7)}
    assert "score.weight" in moved and "model.layers.0.self_attn.q_proj.weight" in moved
    assert "model.embed_tokens.weight" not in moved and not (end.output / "adapter_model.safetensors").exists()


def test_earlier_discriminator_is_the_start(tmp_path: Path, inputs: dict[str, Path]) -> None:
    _, first = trained(tmp_path, inputs, "first")
    _, second = trained(tmp_path, inputs | {"discriminator": first.output}, "second", max_steps=1, learning_rate=1e-12)
    before, after = (load_file(one.output / "model.safetensors") for one in (first, second))
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    with pytest.raises(DataError, match=r"org/discriminator@\w+: score.weight is not in its files"):
        trained(tmp_path, inputs | {"discriminator": inputs["model"]}, "third")


def test_replayed_actions_are_at_most_the_share_and_none_is_of_a_held_out_trajectory(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    old = {f"replay_{n}": save(tmp_path / f"old{n}", pairs=pairs(12, 2, cycle=n)) for n in (1, 2)}
    trainer, made = trained(tmp_path, inputs | old, replay_share=0.4)
    counts = made.report.counts
    now = counts["train_expert_actions"]
    assert counts["train_agent_actions_replayed"] == int(now * 0.4 / 0.6)
    assert counts["train_agent_actions"] == now + counts["train_agent_actions_replayed"]
    agent, expert = trainer.class_weights.tolist()
    assert expert * now == pytest.approx(agent * counts["train_agent_actions"])
    samples = [trainer.train_dataset[n] for n in range(len(trainer.train_dataset))]
    held = [trainer.eval_dataset[n] for n in range(len(trainer.eval_dataset))]
    learnt, measured = (
        {re.search(r"Grid \d+", make_tokenizer().decode(one["input_ids"]))[0] for one in part}  # type: ignore[index]
        for part in (samples, held)
    )
    assert learnt.isdisjoint(measured) and len(learnt | measured) == 12
    # Under other names the same rows are drawn.
    again, _ = trained(
        tmp_path, inputs | {"replay_a": old["replay_2"], "replay_b": old["replay_1"]}, "b", replay_share=0.4
    )
    others = [again.train_dataset[n]["input_ids"] for n in range(len(again.train_dataset))]
    assert sorted(sample["input_ids"] for sample in samples) == sorted(others)


def test_held_out_trajectories_are_the_same_for_every_seed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    parts = [trained(tmp_path, inputs, str(seed), seed=seed)[0].eval_dataset for seed in (1, 2)]
    assert [parts[0][n] for n in range(len(parts[0]))] == [parts[1][n] for n in range(len(parts[1]))]


def test_eval_split_is_measured_on_in_the_place_of_a_share(tmp_path: Path, inputs: dict[str, Path]) -> None:
    _, made = trained(tmp_path, inputs, eval_share=0, eval_split="train")
    counts = made.report.counts
    assert (counts["eval_pairs"], counts["eval_pairs_tied"], counts["train_expert_actions"]) == (24, 5, 24)
    assert 0 <= made.report.metrics["eval_accuracy"] <= 1
    _, bare = trained(tmp_path, inputs, "bare", eval_share=0)
    assert "eval_bce" not in bare.report.metrics and bare.report.counts["eval_pairs"] == 0


def test_figures_of_known_logits() -> None:
    logits = np.array([2.0, 0.0, -1.0, 1.0, 0.5, 0.5])
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [1, 1], [0, 1]])
    d = 1 / (1 + np.exp(-logits))
    found = figures(logits, labels)
    assert found["accuracy"] == 0.5 and found["d_expert"] == pytest.approx(d[[0, 1, 4]].mean())
    assert found["d_agent"] == pytest.approx(d[[2, 3, 5]].mean())
    assert found["d_on_ties_from_half"] == pytest.approx(d[4] - 0.5)
    assert found["bce"] == pytest.approx(-np.log(np.where(labels[:, 0] == 1, d, 1 - d)).mean())
    assert "d_on_ties_from_half" not in figures(logits[:4], labels[:4])
    assert np.isfinite(list(figures(np.array([1e4, -1e4]), np.array([[0, 0], [1, 0]])).values())).all()


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"lora": {"r": 2}}, "lora: the new head has no base that could be named: set merge_adapter: true"),
    ({"gradient_penalty": 1, "attn_implementation": "flash_attention_2"}, "gradient_penalty needs second derivatives"),
    ({"eval_split": "dev"}, "eval_split and eval_share both hold rows out"),
    ({"eval_share": 1}, "less than 1"),
    ({"replay_share": -0.1}, "greater than or equal to 0"),
    ({"label_smoothing": 1}, "less than 1"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_setting_that_cannot_act_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DiscriminatorConfig(**SMALL | settings)


def changed(**values: Any) -> list[dict[str, Any]]:
    return [row | values for row in pairs()]


def without(name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != name} for row in pairs()]


LONG = "x" * 300
BAD_ROWS: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"steps": [step(0, 0)]}, {}, DataError, r"org/dataset@\w+: split 'train' of config 'pairs' cannot be read: .*'steps'"),
    ({"pairs": pairs()}, {"train_split": "test"}, DataError, "split 'test' of config 'pairs' cannot be read"),
    ({"pairs": without("tie")}, {}, DataError, "lacks `tie`: a discriminator reads pairs as stepagent_inspect writes them"),
    ({"pairs": changed(traj_id=None)}, {}, DataError, "null in place of traj_id"),
    ({"pairs": changed(chosen=[])}, {}, DataError, "24 of 24 rows .* cannot be used"),
    ({"pairs": changed(chosen=[turn("assistant", "a")] * 2)}, {}, DataError, "the chosen is not one turn"),
    ({"pairs": changed(rejected=[turn("user", "a")])}, {}, DataError, "a user turn within the rejected"),
    ({"pairs": changed(prompt="a", chosen="b", rejected="c")}, {}, DataError, "row 0: text in place of turns"),
    ({"pairs": changed(rejected=[turn("assistant", "<|im_end|>")])}, {}, DataError, "spells a control token"),
    ({"pairs": changed(tie=True)}, {}, DataError, "the expert's action in all 24 rows of the train split"),
    ({"pairs": changed(prompt=[turn("user", LONG)])}, {}, UsageError, "24 of 24 rows .* longer than max_length 256"),
    ({"pairs": pairs(1, 3)}, {}, UsageError, r"eval_share: 0.2 holds out (all|none) of 1 trajectories: set another, or 0"),
]  # fmt: skip


@pytest.mark.parametrize(("configs", "settings", "error", "message"), BAD_ROWS)
def test_pairs_of_no_use_are_refused(
    tmp_path: Path,
    inputs: dict[str, Path],
    configs: Any,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    data = save(tmp_path / "data", **configs)
    with pytest.raises(error, match=message) as caught:
        discriminator.train(DiscriminatorConfig(**SMALL | settings), context(tmp_path, inputs | {"dataset": data}))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_empty_agent_actions_and_rows_too_long_are_read_and_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [*pairs(20, 2), pair(0, 0) | {"prompt": [turn("user", LONG)]}]
    rows[0] |= {"rejected": [turn("assistant", "")], "tie": False}
    trainer, made = trained(tmp_path, inputs | {"dataset": save(tmp_path / "data", pairs=rows)}, eval_share=0)
    assert made.report.counts["train_rows_longer_than_max_length"] == 1 and len(trainer.train_dataset) == 80
    assert make_tokenizer().decode(trainer.train_dataset[40]["input_ids"]).endswith("assistant\n<|im_end|>\n")


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    def refused(more: dict[str, Path], error: type[Exception], message: str, **settings: Any) -> None:
        step = context(tmp_path, inputs | more)
        if "replay_same" in more:
            step.inputs["replay_same"] = step.inputs["dataset"]  # type: ignore[index]
        with pytest.raises(error, match=message) as caught:
            discriminator.train(DiscriminatorConfig(**SMALL | settings), step)
        assert "\n" not in str(caught.value)

    refused({"replay_same": inputs["dataset"]}, UsageError, r"replay_same is the data set itself, org/dataset@\w+")
    refused({"replay_1": inputs["dataset"]}, UsageError, "replay_share is 0, so nothing of replay_1", replay_share=0)
    refused(
        {"replay_1": save(tmp_path / "s", steps=[step(0, 0)])}, DataError, r"org/replay_1@\w+: split 'train' of config"
    )
    refused({"replay_1": save(tmp_path / "w", pairs=without("tie"))}, DataError, r"org/replay_1@\w+ lacks `tie`")
    other = make_tokenizer()
    other.add_tokens(["north"])
    other.save_pretrained(tmp_path / "other")
    refused({"discriminator": tmp_path / "other"}, DataError, "has another vocabulary than org/model")
    refused({}, UsageError, "a sequence of 101 tokens is longer|has no module 'q'", lora={"target_modules": ["q"]},
            merge_adapter=True)  # fmt: skip
