"""How much an ability calls for each weight: what a short run changes, or what its gradients or activations say.

Scores are float32 and not negative, and are read like a checkpoint's tensors, a few rows at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...hub_sync.context import StepContext
from .. import pretrain
from ..merge.checkpoint import Checkpoint, Kind, open_checkpoint
from ..merge.numbers import Array
from ..merge.parents import parent, refuse_quantised
from .config import LocateConfig


@dataclass(frozen=True)
class Scores:
    """Scores of a model's weights: `rows(name, start, stop)` gives those of some rows of a tensor, float32."""

    kinds: Mapping[str, Kind]
    rows: Callable[[str, int, int], Array]


def measure(config: LocateConfig, context: StepContext) -> Scores:
    """Run over the ability corpus, below `context.workdir`, and score every weight. Raises as `pretrain.train`, and
    DataError for quantised weights."""
    model = context.inputs["model"]
    base = open_checkpoint(model.path, str(model.ref))
    refuse_quantised([(base, parent(model.path, base.called))])
    run = StepContext(
        context.step, context.workdir / "run", context.workdir / "trained", context.inputs, context.report
    )
    if config.importance == "change":
        pretrain.train(config, run)
        return change(base, open_checkpoint(run.output, "the trained model"))
    pretrain.train(config, run, "hubwright.trainers.maet.trainer:fit_importance")
    sums = open_checkpoint(run.workdir / "importance", "the importance")
    return Scores(sums.kinds, sums.rows)


def change(base: Checkpoint, trained: Checkpoint) -> Scores:
    """|trained - base|: the net displacement of each weight; how it got there and its sign do not count."""
    kinds = {name: kind for name, kind in base.kinds.items() if kind.floating and name in trained.kinds}
    return Scores(kinds, lambda name, start, stop: abs(trained.rows(name, start, stop) - base.rows(name, start, stop)))
