"""What the evaluation tests share: a random model, and the description of the environment."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random 2-layer model."""
    from tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def environment_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval adds a description of the environment to every result: a second of `pip list` and other commands."""
    if "torch" in sys.modules:
        from torch.utils import collect_env

        monkeypatch.setattr(collect_env, "get_pretty_env_info", _environment)


@functools.cache
def _environment() -> str:
    from torch.utils import collect_env

    return collect_env.pretty_str(collect_env.get_env_info())
