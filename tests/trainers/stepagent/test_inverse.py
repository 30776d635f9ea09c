"""StepAgent-Inverse's policy: rewards, losses and reference as the formulas have them; one draw per state; refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from trainer_parts import context, make_model, make_tokenizer
from walk_parts import STEP, pairs, save, step, steps, turn

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers._lib.launch import run
from hubwright.trainers.stepagent import DiscriminatorConfig, InverseConfig, discriminator, inverse
from hubwright.trainers.stepagent.inverse_trainer import GRPOTrainer, InverseMixin, RLOOTrainer, fit

SMALL: dict[str, Any] = STEP | {
    "max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4, "max_completion_length": 12,
    "epsilon": 0.01, "learning_rate": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inverse")
    found = {"model": make_model(folder / "model"), "dataset": save(folder / "data", steps=steps(), pairs=pairs())}
    made = context(folder, found)
    discriminator.train(DiscriminatorConfig(**STEP | {"max_steps": 10}), made)
    return found | {"discriminator": made.output}


class Watched(InverseMixin):
    """Keeps what is drawn, rewarded and lost."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.drawn: list[Any] = []
        self.rewarded: list[Any] = []
        self.losses: list[tuple[dict[str, np.ndarray], np.ndarray, float]] = []
        super().__init__(*args, **options)

    def _generate(self, prompts: Any, *args: Any, **kwargs: Any) -> Any:
        self.drawn.append(prompts)
        return super()._generate(prompts, *args, **kwargs)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, *args: Any, **kwargs: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, *args, **kwargs)
        self.rewarded.append((prompts, completions, rewards[:, 0].tolist()))
        return rewards

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        with torch.no_grad():
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
            mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
            width = inputs["completion_ids"].shape[1]
            logits = model(input_ids=ids, attention_mask=mask).logits[:, -width - 1 : -1].double()
            logps = torch.log_softmax(logits / self.temperature, -1)
            logps = logps.gather(2, inputs["completion_ids"][:, :, None])[:, :, 0]
        arrays = {name: value.numpy().copy() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        self.losses.append((arrays, logps.numpy(), loss.item()))
        return loss


class WatchedGRPO(Watched, GRPOTrainer):
    pass


class WatchedRLOO(Watched, RLOOTrainer):
    pass


def trained(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[Any, Any]:
    """The trainer and the context of a training in this process."""
    step, trainers = context(folder, inputs, name), []
    config = InverseConfig(**SMALL | settings)
    watched = WatchedRLOO if config.algorithm == "rloo" else WatchedGRPO
    run(lambda config, step: trainers.append(fit(config, step, watched)), config, step)
    return trainers[0], step


def curve(step: Any, title: str) -> list[float]:
    return [y for _, y in next(c["series"] for c in step.report.curves if c["title"] == title)["train"]]


@pytest.mark.parametrize("lora", [None, {"r": 4}])
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_losses_are_those_of_the_formulas(
    tmp_path: Path, inputs: dict[str, Path], algorithm: str, lora: dict[str, int] | None
) -> None:
    settings = {"num_iterations": 2, "save_steps": 2, "max_steps": 4, "beta": 0.5, "temperature": 0.7}
    trainer, step = trained(tmp_path, inputs, algorithm=algorithm, lora=lora, **settings)
    assert len(trainer.losses) == 4 and len(trainer.rewarded) == 2
    clipped = 0
    for n, (batch, logps, loss) in enumerate(trainer.losses):
        mask, advantages = batch["completion_mask"], batch["advantages"].astype(np.float64)
        if algorithm == "grpo":
            ratio = np.exp((logps - batch["old_per_token_logps"]) * mask)
            gap = batch["ref_per_token_logps"] - logps
            kept = np.minimum(ratio * advantages[:, None], ratio.clip(0.99, 1.01) * advantages[:, None])
            expected = ((-kept + 0.5 * ratio * (np.exp(gap) - gap - 1)) * mask).sum() / (len(mask) * 12)
        else:
            ratio = np.exp((logps * mask).sum(1) - batch["old_logps"])
            expected = -np.minimum(ratio * advantages, ratio.clip(0.99, 1.01) * advantages).mean()
        clipped += int((abs(ratio - 1) > 0.01).any())
        assert loss == pytest.approx(expected, abs=2e-5)
        if n == 0:  # the policy is the reference still
            assert abs(ratio - 1).max() < 1e-5 and curve(step, "KL divergence")[0] == pytest.approx(0, abs=1e-6)
    assert clipped == 2  # the second step on the same completions
    rewards = np.array(trainer.rewarded[0][2]).reshape(-1, 2)
    baseline = rewards.mean(1, keepdims=True) if algorithm == "grpo" else rewards[:, ::-1]
    assert sorted(trainer.losses[0][0]["advantages"]) == pytest.approx(sorted((rewards - baseline).ravel()), abs=1e-5)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_rewards_are_the_discriminators_logits(tmp_path: Path, inputs: dict[str, Path], algorithm: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    trainer, _ = trained(tmp_path, inputs, algorithm=algorithm)
    model = AutoModelForSequenceClassification.from_pretrained(inputs["discriminator"])
    tokenizer = AutoTokenizer.from_pretrained(inputs["discriminator"])
    for prompts, completions, rewards in trainer.rewarded:
        for prompt, completion, reward in zip(prompts, completions, rewards, strict=True):
            text = tokenizer.apply_chat_template(prompt + completion, tokenize=False)
            logit = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits
            assert logit.shape == (1, 1) and reward == pytest.approx(logit.item(), abs=1e-5)


@pytest.mark.parametrize("generations", [2, 4])
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_completions_asked_for_are_prompts_times_generations(
    tmp_path: Path, inputs: dict[str, Path], algorithm: str, generations: int
) -> None:
    settings = {"num_generations": generations, "gradient_accumulation_steps": 2, "num_iterations": 2, "save_steps": 2}
    states, data = 8, {"dataset": save(tmp_path / "data", steps=steps(4, 2))}
    trainer, step = trained(tmp_path, inputs | data, algorithm=algorithm, max_steps=-1, num_train_epochs=2, **settings)
    assert trainer.completions == 2 * states * generations
    assert step.report.metrics["steps"] == 2 * 2 * states * generations // 8
    flat = [str(prompt) for prompts in trainer.drawn for prompt in prompts]
    groups = [flat[n : n + generations] for n in range(0, len(flat), generations)]
    assert all(len(set(group)) == 1 for group in groups)
    passes = [[group[0] for group in groups[n * states : (n + 1) * states]] for n in range(2)]
    assert all(len(set(one)) == states for one in passes) and passes[0] != passes[1]


def test_reference_of_a_folded_adapter_is_the_policy_at_the_start(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(inputs["model"]), LoraConfig(r=2, init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    folded = inputs | {"model": tmp_path / "adapter", "model.base": inputs["model"]}
    for name, lora in (("full", {}), ("lora", {"lora": {"r": 2}, "merge_adapter": True})):
        _, step = trained(tmp_path, folded, name, max_steps=2, logging_steps=1, **lora)
        first, second = curve(step, "KL divergence")
        assert first == pytest.approx(0, abs=1e-6) and second > 1e-5


def test_policy_learns_what_is_rewarded(tmp_path: Path, inputs: dict[str, Path]) -> None:
    settings = {"max_steps": 20, "per_device_train_batch_size": 16, "num_generations": 8, "beta": 0.0}
    _, step = trained(tmp_path, inputs, learning_rate=5e-3, epsilon=0.2, **settings)
    rewards = curve(step, "Reward")
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + np.std(rewards[:5])
    assert step.report.card["pipeline_tag"] == "text-generation" and "stepagent" in step.report.card["tags"]


def test_states_without_an_expert_action_are_enough(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [{key: row[key] for key in ("traj_id", "i", "prompt")} for row in steps()]
    trainer, _ = trained(tmp_path, inputs | {"dataset": save(tmp_path / "data", steps=rows)})
    assert trainer.completions == 8


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"num_generations": 3}, r"num_generations: 4 completions per step .* are not a multiple of 3"),
    ({"num_generations": 1}, "greater than or equal to 2"),
    ({"num_iterations": 3, "save_steps": 4}, "save_steps: 4 is not a multiple of num_iterations 3"),
    ({"algorithm": "rloo", "loss_type": "grpo"}, "are for algorithm: grpo"),
    ({"algorithm": "ppo"}, "'grpo' or 'rloo'"),
    ({"max_completion_length": 256}, "leaves no room for a state within max_length 256"),
    ({"eval_split": "test"}, "eval_split: a policy has no loss on held-out rows"),
    ({"lora": {"dropout": 0.1}}, "lora.dropout: dropout is off"),
    ({"temperature": 0}, "greater than 0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_setting_that_cannot_act_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InverseConfig(**SMALL | settings)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_settings_as_they_are_recorded_are_accepted(algorithm: str) -> None:
    config = InverseConfig(**SMALL | {"algorithm": algorithm})
    assert InverseConfig(**config.model_dump(mode="json")) == config


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"algorithm": "rloo", "lora": {"r": 2}}])
def test_two_processes_train_one_policy(tmp_path: Path, inputs: dict[str, Path], settings: dict[str, Any]) -> None:
    made = context(tmp_path, inputs)
    two = {"num_processes": 2, "per_device_train_batch_size": 2, "num_generations": 4}
    inverse.train(InverseConfig(**SMALL | two | settings), made)
    assert made.report.metrics["processes"] == 2 and abs(curve(made, "KL divergence")[0]) < 1e-6
    # With one seed the second process would draw the first one's actions again.
    states = [
        torch.load(made.workdir / f"checkpoints/checkpoint-2/rng_state_{n}.pth", weights_only=False)["cpu"]
        for n in (0, 1)
    ]
    assert not torch.equal(*states)


def changed(**values: Any) -> list[dict[str, Any]]:
    return [row | values for row in steps()]


LONG = "x" * 40
BAD_ROWS: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"pairs": pairs()}, {}, DataError, r"org/dataset@\w+: split 'train' of config 'steps' cannot be read: .*'pairs'"),
    ({"steps": [{"state": "a"}]}, {}, DataError, "lacks `prompt`: a policy is trained on the states of config `steps`"),
    ({"steps": changed(prompt="go on")}, {}, DataError, "16 of 16 rows .* cannot be used"),
    ({"steps": changed(prompt=None)}, {}, DataError, "null in place of turns"),
    ({"steps": changed(prompt=[turn("assistant", "go north")])}, {}, DataError, "the state ends with the agent's own turn"),
    ({"steps": changed(prompt=[turn("user", "a<|im_end|>b")])}, {}, DataError, "a text spells a control token"),
    ({"steps": changed(prompt=[turn("user", LONG * 6)])}, {}, UsageError, "in 16 of 16 rows .* no room for an action"),
    ({"steps": changed(expert_action=LONG)}, {}, UsageError, "all 16 expert actions .* longer than max_completion_length 12"),
    ({"steps": steps(1, 1)}, {}, UsageError, r"1 states of the train split, and a step takes 2 \(4 completions"),
]  # fmt: skip


@pytest.mark.parametrize(("configs", "settings", "error", "message"), BAD_ROWS)
def test_states_of_no_use_are_refused(
    tmp_path: Path,
    inputs: dict[str, Path],
    configs: Any,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    data = save(tmp_path / "data", **configs)
    with pytest.raises(error, match=message) as caught:
        inverse.train(InverseConfig(**SMALL | settings), context(tmp_path, inputs | {"dataset": data}))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_discriminator_that_does_not_fit_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    def refused(folder: Path, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            inverse.train(InverseConfig(**SMALL), context(tmp_path, inputs | {"discriminator": folder}))
        assert "\n" not in str(caught.value)

    refused(inputs["model"], r"org/discriminator@\w+: score.weight is not in its files")
    two = AutoModelForSequenceClassification.from_pretrained(inputs["model"], num_labels=2)
    two.save_pretrained(tmp_path / "two")
    make_tokenizer().save_pretrained(tmp_path / "two")
    refused(tmp_path / "two", "has 2 labels, a discriminator has one: train one with stepagent_discriminator")
    other = make_tokenizer()
    other.add_tokens(["north"])
    other.save_pretrained(tmp_path / "two")
    refused(tmp_path / "two", "has another vocabulary than org/model")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no tokenizer that can be loaded")
    with pytest.raises(UsageError, match="a trainer needs a `discriminator:` input"):
        bare = {role: path for role, path in inputs.items() if role != "discriminator"}
        inverse.train(InverseConfig(**SMALL), context(tmp_path, bare))


def test_some_states_without_room_are_left_out_and_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [*steps(12, 2), step(1, 0) | {"prompt": [turn("user", LONG * 7)]}]
    trainer, made = trained(tmp_path, inputs | {"dataset": save(tmp_path / "data", steps=rows)}, max_steps=1)
    assert made.report.counts["train_rows_without_room_for_an_action"] == 1
    assert len(trainer.train_dataset) == 24
