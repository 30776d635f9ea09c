"""What the scripts of this folder share: modules without an installed package, and the results file."""

from __future__ import annotations

import importlib
import json
import platform
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"


def module(name: str) -> Any:
    """A module of this checkout, such as "trainers.maet.masked", without an installed package."""
    package = types.ModuleType("hubwright")
    package.__path__ = [str(ROOT)]
    sys.modules.setdefault("hubwright", package)
    return importlib.import_module(f"hubwright.{name}")


def architecture() -> Any:
    """The classes of KV shifting attention."""
    return module("trainers.architectures.kv_shift.modeling_kv_shift")


def device_name() -> str:
    """The accelerator, or the processor."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"


def save(name: str, result: dict[str, Any], out: Path | None) -> None:
    """Write a result with device and versions, and print it."""
    import torch
    import transformers

    result = {"device": device_name(), "torch": torch.__version__, "transformers": transformers.__version__} | result
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
