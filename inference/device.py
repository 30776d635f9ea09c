"""Where a model runs and in which precision, in training and in evaluation.

`auto` is the first of CUDA, MPS and CPU. bfloat16 is used if the device has instructions for it: CUDA from compute
capability 8.0 on, CPUs with AVX512-BF16, AMX or Arm's; other CPUs are ten times slower in it than in float32.
"""

from ..hub_sync.errors import UsageError


def choose(device: str = "auto") -> str:
    """A torch device: "cuda", "mps" or "cpu" for "auto". Raises UsageError for a device that this machine lacks."""
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in has.items() if there)
    if not has.get(device.partition(":")[0], True):
        raise UsageError(f"device {device}: torch finds no such device on this machine: write device: auto")
    return device


def has_bfloat16(device: str) -> bool:
    """Whether a device of `choose` has instructions for bfloat16."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
