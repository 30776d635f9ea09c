"""DPO: reference log-probabilities, refusals and what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trainer_parts import QUICK, context, make_model, save_drills

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import dpo


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dpo")
    return {
        "model": make_model(folder / "model", dropout=0.0),
        "dataset": save_drills(folder / "data", rows=12, test_rows=4),
    }


def losses(folder: Path, inputs: dict[str, Path], **settings: Any) -> list[float]:
    step = context(folder, inputs)
    dpo.train(dpo.DPOConfig(**(QUICK | settings)), step)
    curves = {c["title"]: c["series"] for c in step.report.curves}
    assert {"Loss", "Reward accuracy", "Reward margin"} <= set(curves)
    assert json.dumps(step.report.metrics)
    assert not {p.name for p in step.output.iterdir()} & {"README.md", "training_args.bin"}
    return [y for _, y in curves["Loss"]["train"]]


def test_precomputed_reference_gives_the_same_losses(tmp_path: Path, inputs: dict[str, Path]) -> None:
    settings = {"num_train_epochs": 1, "max_steps": 6, "beta": 0.5}
    once = losses(tmp_path / "a", inputs, precompute_ref_log_probs=True, **settings)
    always = losses(tmp_path / "b", inputs, precompute_ref_log_probs=False, **settings)
    # The reference's batches are padded differently when it runs once, in the order of the rows: float32 noise.
    assert once == pytest.approx(always, abs=3e-5)
    assert once[0] == pytest.approx(0.6931, abs=1e-3)  # log 2: policy and reference are equal at first
    assert once[-1] != pytest.approx(once[0], abs=1e-4)


def test_precomputed_reference_is_equal_to_six_digits_where_nothing_is_padded(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    settings = {"max_steps": 6, "beta": 0.5, "per_device_train_batch_size": 1}
    once = losses(tmp_path / "a", inputs, precompute_ref_log_probs=True, **settings)
    always = losses(tmp_path / "b", inputs, precompute_ref_log_probs=False, **settings)
    assert once == pytest.approx(always, abs=1e-6)


def test_eval_and_lora(tmp_path: Path, inputs: dict[str, Path]) -> None:
    step = context(tmp_path, inputs)
    dpo.train(dpo.DPOConfig(**QUICK, lora={"r": 4}, eval_split="test", eval_steps=2), step)
    curves = {c["title"]: c["series"] for c in step.report.curves}
    assert [x for x, _ in curves["Loss"]["eval"]] == [2, 4]
    assert 0 <= step.report.metrics["eval_rewards/accuracies"] <= 1
    assert (step.output / "adapter_model.safetensors").is_file()


def test_unusable_pairs_are_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from datasets import Dataset

    def train(folder: str, columns: dict[str, Any], **settings: Any) -> None:
        data = tmp_path / folder / "data"
        data.mkdir(parents=True)
        Dataset.from_dict(columns).to_parquet(str(data / "train.parquet"))
        step = context(tmp_path / folder, inputs | {"dataset": data.parent})
        dpo.train(dpo.DPOConfig(**(QUICK | settings)), step)

    ask, good, bad = (
        [{"role": r, "content": c}] for r, c in (("user", "q" * 40), ("assistant", "a"), ("assistant", "b"))
    )
    with pytest.raises(DataError, match="lacks `rejected`"):
        train("columns", {"prompt": [ask], "chosen": [good]})
    with pytest.raises(DataError, match="chosen and rejected are equal in every row"):
        train("equal", {"prompt": [ask], "chosen": [good], "rejected": [good]})
    with pytest.raises(UsageError, match="2 of 2 pairs of the train split the prompt alone fills max_length 16"):
        train("long", {"prompt": [ask] * 2, "chosen": [good] * 2, "rejected": [bad] * 2}, max_length=16)


def test_turns_of_others_within_responses_are_left_out_of_the_loss(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The loss of the first step after training, against plain passes over the assistant's tokens alone."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer

    from hubwright.inference.loading import causal_lm
    from hubwright.trainers.dpo.trainer import fit

    def turns(*texts: str) -> list[dict[str, str]]:
        return [{"role": ("assistant", "user")[n % 2], "content": text} for n, text in enumerate(texts)]

    row = {"prompt": [{"role": "user", "content": "Go."}], "chosen": turns("north", "A wall.", "east"),
           "rejected": turns("south", "A pit, deep and dark.", "jump", "Ouch.", "sleep")}  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    Dataset.from_list([row] * 2).to_parquet(str(data / "train.parquet"))
    both = inputs | {"dataset": data}
    with pytest.raises(DataError, match="a user turn within the chosen would be learnt"):
        dpo.train(dpo.DPOConfig(**QUICK), context(tmp_path / "a", both))
    settings = QUICK | {"max_steps": 2, "learning_rate": 5e-2, "beta": 0.3, "assistant_only_loss": True}
    settings |= {"lr_scheduler_type": "constant", "chat_template": "chatml_tools"}
    one = context(tmp_path / "b", both)
    fit(dpo.DPOConfig(**(settings | {"max_steps": 1})), one)
    two = context(tmp_path / "c", both)
    dpo.train(dpo.DPOConfig(**settings), two)
    tokenizer = AutoTokenizer.from_pretrained(one.output)
    margins = []
    for folder in (one.output, inputs["model"]):
        model = causal_lm(folder, "m", "float32").eval()
        sums = []
        for name in ("chosen", "rejected"):
            options: dict[str, Any] = {"return_dict": True, "return_assistant_tokens_mask": True}
            encoded = tokenizer.apply_chat_template(row["prompt"] + row[name], **options)
            ids, mask = encoded["input_ids"], encoded["assistant_masks"]
            assert 0 < sum(mask) < len(mask) - 10
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            sums.append(sum(logits[k - 1, ids[k]].item() for k in range(1, len(ids)) if mask[k]))
        margins.append(sums[0] - sums[1])
    wanted = np.log1p(np.exp(-0.3 * (margins[0] - margins[1])))
    assert two.report.metrics["train_loss_last"] == pytest.approx(wanted, abs=2e-3)
    assert abs(wanted - np.log(2)) > 0.05


def test_plain_text_with_assistant_only_loss_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from datasets import Dataset

    data = tmp_path / "data"
    data.mkdir()
    Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}] * 4).to_parquet(str(data / "train.parquet"))
    step = context(tmp_path, inputs | {"dataset": data})
    with pytest.raises(UsageError, match="assistant_only_loss: the rows are text"):
        dpo.train(dpo.DPOConfig(**QUICK, assistant_only_loss=True), step)
