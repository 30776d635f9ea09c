"""An optimiser that moves nothing: it sums what a training run says of each weight."""

from __future__ import annotations

from typing import Any

import torch


class Sums(torch.optim.Optimizer):
    """Sums |gradient| (`gradient`) or its square (`fisher`) of each weight, or the squared inputs of each column of a
    linear layer (`activation`), over all steps."""

    def __init__(self, model: torch.nn.Module, kind: str) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": 0.0})
        self.kind = kind
        if kind == "activation":
            for layer in model.modules():
                if isinstance(layer, torch.nn.Linear):
                    layer.register_forward_pre_hook(self._see)

    def _see(self, layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if layer.training:
            rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float()
            held = self.state[layer.weight]
            held["squares"] = held.get("squares", 0.0) + rows.pow(2).sum(0)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Adds this step's gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if self.kind != "activation" and parameter.grad is not None:
                    gradient = parameter.grad.float()
                    held = self.state[parameter]
                    seen = gradient.abs() if self.kind == "gradient" else gradient.pow(2)
                    held["sum"] = held["sum"] + seen if "sum" in held else seen.clone()
