"""Trainers of MAET: only the weights of a mask move, or none moves and what they are called for is summed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file

from ...hub_sync.context import StepContext
from ..pretrain.trainer import PretrainTrainer
from ..pretrain.trainer import fit as pretrain
from .config import ExtractConfig, LocateConfig
from .masked import mask_optimizer, restrict
from .masks import load_masks

IMPORTANCE = "importance"  # folder of the sums, below the work folder


class MaskedTrainer(PretrainTrainer):
    """Trains the weights of the step's input `masks` alone."""

    masks: Mapping[str, torch.Tensor] = MappingProxyType({})

    def prepare(self, config: ExtractConfig, context: StepContext) -> None:
        """Raises DataError for masks that do not fit the model."""
        masks = context.inputs["masks"]
        self.masks = restrict(self.model, load_masks(masks.path, str(masks.ref)))

    def create_optimizer(self, model: Any = None) -> Any:
        """As in the base class, over vectors of the masked weights."""
        if self.optimizer is None:
            names = {id(p): name for name, p in (self.model if model is None else model).named_parameters()}
            super().create_optimizer(model)
            masks = {key: self.masks[name] for key, name in names.items() if name in self.masks}
            mask_optimizer(self.optimizer, masks)
        return self.optimizer


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
            state = self.state[layer.weight]
            state["squares"] = state.get("squares", 0.0) + rows.pow(2).sum(0)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Adds this step's gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if self.kind != "activation" and parameter.grad is not None:
                    gradient = parameter.grad.float()
                    size = gradient.abs() if self.kind == "gradient" else gradient.pow(2)
                    self.state[parameter]["sum"] = self.state[parameter].get("sum", 0.0) + size


class ImportanceTrainer(PretrainTrainer):
    """Moves no weight; the optimiser sums what the weights are called for, so that checkpoints keep the sums."""

    importance: str

    def prepare(self, config: LocateConfig, context: StepContext) -> None:
        self.importance = config.importance
        self.args.max_grad_norm = 0.0  # sums of gradients as they are

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            self.optimizer = Sums(self.model if model is None else model, self.importance)
        return self.optimizer

    def sums(self) -> dict[str, torch.Tensor]:
        """The sums by parameter: float, of its shape; for activations its magnitude times its inputs' norm."""
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        sums = {}
        for name, parameter in self.accelerator.unwrap_model(self.model).named_parameters():
            state = optimizer.state.get(parameter, {})
            if "squares" in state:
                sums[name] = parameter.detach().abs() * state["squares"].sqrt()
            elif "sum" in state:
                sums[name] = state["sum"]
        return sums


def fit_masked(config: ExtractConfig, context: StepContext) -> None:
    """One process's training of the masked weights."""
    pretrain(config, context, MaskedTrainer)


def fit_importance(config: LocateConfig, context: StepContext) -> None:
    """One process's run over the corpus; the sums go to `importance/model.safetensors` in the work folder."""
    trainer = pretrain(config, context, ImportanceTrainer)
    assert isinstance(trainer, ImportanceTrainer)
    if trainer.accelerator.is_main_process:
        folder = context.workdir / IMPORTANCE
        folder.mkdir(parents=True, exist_ok=True)
        sums = {name: one.float().contiguous().cpu() for name, one in trainer.sums().items()}
        save_file(sums, folder / "model.safetensors")
