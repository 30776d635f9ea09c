"""One rule for where a model runs and in which precision, in training and in evaluation.

`auto` is the first of CUDA, MPS and CPU that this machine has. bfloat16 is used where the device computes in it: on
CPU (slower without its instructions, but right), and on CUDA from compute capability 8.0 on; elsewhere float32.
"""

from __future__ import annotations

from ..hub_sync.errors import UsageError


def choose(device: str = "auto") -> str:
    """A torch device: "cuda", "mps" or "cpu" for "auto"; else what was asked for.

    Raises UsageError for a device that this machine lacks.
    """
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in has.items() if there)
    if not has.get(device.partition(":")[0], True):
        raise UsageError(f"device {device}: torch finds no such device on this machine: write device: auto")
    return device


def has_bfloat16(device: str) -> bool:
    """Whether a device of `choose` computes in bfloat16."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu"
