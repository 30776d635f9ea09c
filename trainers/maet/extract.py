"""Recipe step `maet_extract`: MAET's second stage, training in which only an ability's weights move.

It is run on the ability corpus and on a general one in the same language; the difference of the two changes, R(A), is
made where it is used (`maet_transfer`), so that its factors can be chosen without training again.
"""

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from .. import pretrain
from ..merge.checkpoint import Checkpoint, open_checkpoint
from ..merge.parents import parent, refuse_quantised
from .config import ExtractConfig
from .masked import count_changes
from .masks import check_fit, load_masks


def extract(config: ExtractConfig, context: StepContext) -> None:
    """Train `context.inputs["model"]` on `dataset`, only the weights in `masks`; then compare every other bit. Raises
    as `pretrain.train`, and DataError for quantised weights and masks of another model."""
    model, mask = context.inputs["model"], context.inputs["masks"]
    base, masks = open_checkpoint(model.path, str(model.ref)), load_masks(mask.path, str(mask.ref))
    refuse_quantised([(base, parent(model.path, base.called))])
    check_fit(masks, base.kinds, base.called)
    _check_dtypes(config, base, context)
    pretrain.train(config, context, "hubwright.trainers.maet.trainer:fit_masked")
    inside, changed = count_changes(base, open_checkpoint(context.output, "the trained model"), masks)
    context.report.metrics |= {"weights_in_mask": inside, "weights_moved": changed}
    context.report.card.setdefault("tags", []).append("maet")
    weights = sum(kind.elements for kind in base.kinds.values())
    body = (
        f"Of {weights:,} weights {inside:,} are in the mask of `{mask.ref}`, and {changed:,} of them moved. Every "
        f"other weight is bit for bit that of `{model.ref.repo_id}`, which was compared."
    )
    context.report.section("What moved", body)


def _check_dtypes(config: ExtractConfig, base: Checkpoint, context: StepContext) -> None:
    """A dtype that cannot hold the base's weights would move all of them by rounding. Raises UsageError."""
    stored = {kind.dtype for kind in base.kinds.values() if kind.floating}
    fits = {"float32": {"F32", "F16", "BF16"}, "bfloat16": {"BF16"}, "float16": {"F16"}}
    for field in ("dtype", "save_dtype"):
        chosen = getattr(config, field)
        if chosen in fits and not stored <= fits[chosen]:
            raise UsageError(
                f"step {context.step}: {field}: {chosen} cannot hold the {'/'.join(sorted(stored))} weights of "
                f"{base.called}, of which those outside of the mask must stay: write float32"
            )
