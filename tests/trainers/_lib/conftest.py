"""A trainer as it is before its first step, for tests of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer_parts import make_model
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = make_model(tmp_path_factory.mktemp("model"))
    config = LlamaConfig.from_pretrained(folder, max_position_embeddings=8192)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roomy_model: Path) -> Callable[..., Any]:
    """The trainer as it is before its first step, with the step's counts as `counts`."""
    from row_parts import ROOMY
    from trainer_parts import QUICK, context

    from hubwright.trainers import dpo, sft
    from hubwright.trainers._lib import loop as _loop

    def prepare(data: Any, method: Any = sft, given: Path = roomy_model, **settings: Any) -> Any:
        number = len(list(tmp_path.iterdir()))
        folder = tmp_path / f"data{number}"
        folder.mkdir()
        if isinstance(data, list):
            (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
        else:
            data.to_parquet(str(folder / "train.parquet"))
        caught: list[Any] = []
        monkeypatch.setattr(_loop, "fit", lambda trainer, *_: caught.append(trainer))
        step = context(tmp_path, {"model": given, "dataset": folder}, f"run{number}")
        config = {sft: "SFTConfig", dpo: "DPOConfig"}[method]
        method.train(getattr(method, config)(**(QUICK | ROOMY | settings)), step)
        caught[0].counts = step.report.counts
        return caught[0]

    return prepare
