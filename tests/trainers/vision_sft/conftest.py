"""A trainer as it is before its first step, on models in miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tower and a language model."""
    from trainer_parts import make_model
    from vision_parts import make_tower

    folder = tmp_path_factory.mktemp("parts")
    return {"vision_tower": make_tower(folder / "tower"), "language_model": make_model(folder / "lm")}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parts: dict[str, Path]) -> Callable[..., Any]:
    """(the trainer as it is before its first step, the step's context)."""
    from trainer_parts import QUICK, context
    from vision_parts import save_rows

    from hubwright.trainers import vision_sft
    from hubwright.trainers._lib import loop
    from hubwright.trainers.vision_sft import trainer as module

    def prepare(data: Any, models: dict[str, Path] | None = None, image: str = "image", **settings: Any) -> Any:
        number = len(list(tmp_path.iterdir()))
        if isinstance(data, list):
            data = save_rows(tmp_path / f"data{number}", data, image=image)
        caught: list[Any] = []
        monkeypatch.setattr(loop, "fit", lambda trainer, *_: caught.append(trainer))
        monkeypatch.setattr(module, "describe", lambda *_: None)
        step = context(tmp_path, {"dataset": data} | (parts if models is None else models), f"run{number}")
        config = vision_sft.VisionSFTConfig(**(QUICK | {"chat_template": "chatml_tools"} | settings))
        vision_sft.train(config, step)
        return caught[0], step

    return prepare
