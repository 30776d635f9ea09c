"""The paper's smallest experiment in miniature: one layer with KV shifting attention learns induction, a plain one does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretrain_parts import save, trained

from hubwright.builders.sequences import InductionConfig, build_induction
from hubwright.hub_sync.context import StepContext

SHAPE = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def induction(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("induction")
    step = StepContext("induction", folder / "work", folder / "output")
    made = build_induction(InductionConfig(train_rows=4800, test_rows=256), step)
    return save(folder / "data", train=list(made["train"]), test=list(made["test"]))


@pytest.mark.parametrize(
    "options, low, high",
    [
        ({"model_type": "kv_shift"}, 0.95, 1.0),
        pytest.param({"model_type": "kv_shift", "shift_targets": ["key"]}, 0.95, 1.0, marks=pytest.mark.slow),
        pytest.param({"model_type": "kv_shift", "shift_targets": ["value"]}, 0.0, 0.2, marks=pytest.mark.slow),
        ({"model_type": "llama"}, 0.0, 0.2),
    ],
    ids=["key and value", "key alone", "value alone", "plain"],
)
def test_who_learns_induction_with_one_layer(options, low, high, induction: Path, tmp_path: Path) -> None:
    step = trained(
        tmp_path,
        {"dataset": induction},
        architecture=SHAPE | options,
        max_length=48,
        max_steps=150,  # twice what the shifted model needs
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        learning_rate=4e-3,
        eval_split="test",
        logging_steps=100,
        save_steps=1000,
    )
    assert low <= step.report.metrics["eval_accuracy"] <= high
    assert ("kv_pairs_induction" in step.report.metrics) == (options == {"model_type": "kv_shift"})
