"""Step-wise DPO: ties left out, the first loss what the formula says for every kind of reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from step_parts import ACTIONS, context, make_model, save_steps, step_of
from trainer_parts import QUICK

from hubwright.hub_sync.errors import DataError
from hubwright.inference.loading import causal_lm
from hubwright.trainers.stepagent import OptimConfig, train
from hubwright.trainers.stepagent.inspection import pair


def pairs(count: int = 12, ties: int = 4) -> list[dict[str, Any]]:
    rows = []
    for n in range(count):
        text = ACTIONS[(n + (0 if n < ties else 1)) % 4]
        rows.append(pair(step_of(n), ACTIONS[n % 4], {"text": text, "logp": -2.0, "cut": False}, 1))
    return rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("optim")
    return {
        "model": make_model(folder / "model", dropout=0.0),
        "dataset": save_steps(folder / "data", pairs(), "pairs"),
    }


def run(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> Any:
    step = context(folder, inputs, name)
    train(OptimConfig(**(QUICK | settings)), step)
    return step


def log_probability(folder: Path, row: dict[str, Any], answer: str) -> float:
    """Of an answer's tokens with its end of turn, by one plain pass."""
    from transformers import AutoTokenizer

    model, tokenizer = causal_lm(folder, "m", "float32").eval(), AutoTokenizer.from_pretrained(folder)
    head = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    ids = tokenizer.apply_chat_template([*row["prompt"], *row[answer]], return_dict=True)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logits[k - 1, ids[k]].item() for k in range(len(head), len(ids)))


def test_first_loss_is_log_two_and_ties_are_left_out(tmp_path: Path, inputs: dict[str, Path]) -> None:
    step = run(tmp_path, inputs, max_steps=4)
    assert step.report.metrics["train_loss_first"] == pytest.approx(np.log(2), abs=1e-3)
    counts = {key: value for key, value in step.report.counts.items() if "ties" in key or "used" in key}
    assert sorted(counts.values()) == [4, 8]
    titles = {curve["title"] for curve in step.report.curves}
    assert {"Log-probability of actions", "Reward accuracy"} <= titles


def test_first_loss_of_a_second_cycle_is_log_two_after_an_adapter(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from hubwright.hub_sync.context import Input
    from hubwright.hub_sync.refs import ArtifactRef

    first = run(tmp_path, inputs, "one", lora={"r": 4}, learning_rate=1e-2)
    assert (first.output / "adapter_model.safetensors").is_file()
    step = context(tmp_path, inputs | {"model": first.output}, "two")
    step.inputs["model.base"] = Input(ArtifactRef("model", "org/base", "0" * 40), inputs["model"])
    train(OptimConfig(**QUICK, lora={"r": 4}, merge_adapter=True), step)
    assert step.report.metrics["train_loss_first"] == pytest.approx(np.log(2), abs=1e-3)
    assert abs(first.report.metrics["train_loss_last"] - np.log(2)) > 0.05


def test_first_loss_with_a_reference_is_that_of_stored_log_probabilities(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    cycle = run(tmp_path, inputs, "one", learning_rate=1e-2)
    rows = pairs()[4:6]
    data = save_steps(tmp_path / "two", rows, "pairs")
    both = {"model": cycle.output, "reference": inputs["model"], "dataset": data}
    step = context(tmp_path, both, "second")
    train(OptimConfig(**(QUICK | {"max_steps": 1, "beta": 0.3})), step)
    margins = []
    for row in rows:
        ratio = {a: log_probability(cycle.output, row, a) - log_probability(inputs["model"], row, a)
                 for a in ("chosen", "rejected")}  # fmt: skip
        margins.append(0.3 * (ratio["chosen"] - ratio["rejected"]))
    wanted = float(np.mean(np.log1p(np.exp(-np.array(margins)))))
    assert abs(wanted - np.log(2)) > 0.02
    assert step.report.metrics["train_loss_first"] == pytest.approx(wanted, abs=1e-3)


def test_likelihood_term_is_added_to_the_loss(tmp_path: Path, inputs: dict[str, Path]) -> None:
    plain = run(tmp_path, inputs, "a", max_steps=1).report.metrics["train_loss_first"]
    more = run(tmp_path, inputs, "b", max_steps=1, sft_weight=0.5).report.metrics["train_loss_first"]
    tokens = np.mean([-log_probability(inputs["model"], row, "chosen") / (len(row["chosen"][0]["content"]) + 2)
                      for row in pairs()[4:]])  # fmt: skip
    assert more - plain == pytest.approx(0.5 * tokens, rel=0.1)


def test_pairs_that_are_all_ties_are_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    data = save_steps(tmp_path / "data", pairs(4, ties=4), "pairs")
    with pytest.raises(DataError, match="the expert's action in all 4 rows"):
        run(tmp_path, inputs | {"dataset": data})


def test_reference_of_another_vocabulary_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(inputs["model"], other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(DataError, match="another vocabulary"):
        run(tmp_path, inputs | {"reference": other})


def test_data_set_without_pairs_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="pairs"):
        run(tmp_path, inputs | {"dataset": save_steps(tmp_path / "data")})
