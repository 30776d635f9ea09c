"""How much an ability calls for each weight: what a short run changes, or what its gradients or activations say.

Scores are float32 and not negative, and are read like a checkpoint's tensors, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from .. import pretrain
from ..merge.checkpoint import Checkpoint, Kind, open_checkpoint
from ..merge.parents import parent, refuse_quantised
from .config import LocateConfig

if TYPE_CHECKING:
    import torch

    from ..merge.numbers import Array


@dataclass(frozen=True)
class Scores:
    """Scores of a model's weights: `rows(name, start, stop)` gives those of some rows of a tensor, float32."""

    kinds: Mapping[str, Kind]
    rows: Callable[[str, int, int], Array]


def measure(config: LocateConfig, context: StepContext) -> Scores:
    """Run over the ability corpus, below `context.workdir`, and score every weight. Raises as `pretrain.train`, and
    DataError for quantised weights."""
    base = open_checkpoint(context.inputs["model"].path, str(context.inputs["model"].ref))
    refuse_quantised([(base, parent(context.inputs["model"].path, base.called))])
    run = StepContext(
        context.step, context.workdir / "run", context.workdir / "trained", context.inputs, context.report
    )
    if config.importance == "change":
        settings = config.model_dump(include=set(pretrain.PretrainConfig.model_fields))
        pretrain.train(pretrain.PretrainConfig(**settings), run)
        return change(base, open_checkpoint(run.output, "the trained model"))
    held = _accumulate(config, run)
    return Scores(held.kinds, held.rows)


def change(base: Checkpoint, trained: Checkpoint) -> Scores:
    """|trained - base|: the net displacement of each weight; how it got there and its sign do not count."""
    kinds = {name: kind for name, kind in base.kinds.items() if kind.floating and name in trained.kinds}
    return Scores(kinds, lambda name, start, stop: abs(trained.rows(name, start, stop) - base.rows(name, start, stop)))


def _accumulate(config: LocateConfig, run: StepContext) -> Checkpoint:
    """Sums over the steps of a run that moves nothing, as safetensors. The sums are the optimiser's state, so that
    checkpoints keep them."""
    from safetensors.torch import save_file

    from .. import _loop
    from ..pretrain.trainer import fit

    trainers: list[Any] = []

    def extend(trainer: Any) -> None:
        trainers.append(trainer)
        trainer.args.max_grad_norm = 0.0  # sums of gradients as they are
        trainer.own_optimizer = lambda model: _Sums(model, config.importance)

    settings = config.model_dump(include=set(pretrain.PretrainConfig.model_fields))
    _loop.run(
        "pretrain", pretrain.PretrainConfig(**settings), run, lambda config, context: fit(config, context, extend)
    )
    trainer = trainers[0]
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    found = {}
    for name, parameter in trainer.accelerator.unwrap_model(trainer.model).named_parameters():
        state = optimizer.state.get(parameter, {})
        if config.importance == "activation" and "squares" in state:
            found[name] = parameter.detach().abs() * state["squares"].sqrt()
        elif config.importance != "activation" and "sum" in state:
            found[name] = state["sum"]
    folder = run.workdir / "importance"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: one.float().contiguous().cpu() for name, one in found.items()}, folder / "model.safetensors")
    return open_checkpoint(Path(folder), "the importance")


def _Sums(model: Any, kind: str) -> Any:
    """An optimiser that moves nothing: it sums |gradient| or its square, or the squared inputs of linear layers."""
    import torch

    class Sums(torch.optim.Optimizer):
        def __init__(self) -> None:
            super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": 0.0})
            if kind == "activation":
                for layer in model.modules():
                    if isinstance(layer, torch.nn.Linear):
                        layer.register_forward_pre_hook(self.see)

        def see(self, layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            if layer.training:
                rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float()
                held = self.state[layer.weight]
                held["squares"] = held.get("squares", 0.0) + rows.pow(2).sum(0)

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for parameter in group["params"]:
                    if kind != "activation" and parameter.grad is not None:
                        gradient = parameter.grad.float()
                        held = self.state[parameter]
                        seen = gradient.abs() if kind == "gradient" else gradient.pow(2)
                        held["sum"] = held["sum"] + seen if "sum" in held else seen.clone()

    return Sums()
