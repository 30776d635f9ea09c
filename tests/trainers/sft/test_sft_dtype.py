"""The dtype in which SFT publishes weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from trainer_parts import QUICK, context, make_model, save_drills

from hubwright.inference.loading import stored_dtype
from hubwright.trainers import sft


@pytest.mark.parametrize(
    ("stored", "save_dtype", "published"),
    [("bfloat16", None, "bfloat16"), ("bfloat16", "as_trained", "float32"), ("float16", None, "float16")],
)
def test_weights_are_published_in_the_dtype_of_the_base(
    tmp_path: Path, stored: str, save_dtype: str | None, published: str
) -> None:
    from transformers import AutoModelForCausalLM

    model, drills = make_model(tmp_path / "model"), save_drills(tmp_path / "drills")
    base = Path(shutil.copytree(model, tmp_path / "base"))
    AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, stored)).save_pretrained(base)
    step = context(tmp_path, {"model": base, "dataset": drills})
    sft.train(sft.SFTConfig(**QUICK | {"max_steps": 1}, save_dtype=save_dtype), step)
    assert stored_dtype(step.output) == getattr(torch, published)
    assert json.loads((step.output / "config.json").read_text())["dtype"] == published
