"""The trainers: steps that publish models, and what is measured on their weights."""

from collections.abc import Mapping

from ..hub_sync.refs import RepoType
from ..hub_sync.step import Role, StepSpec


def _trainer(
    config: str, run: str, help: str, inputs: Mapping[str, Role], version: int = 1, publishes: RepoType = "model"
) -> StepSpec:
    """A step of this package; `config` and `run` name modules below it."""
    here = "hubwright.trainers."
    return StepSpec("trainer", here + config, here + run, publishes, help, inputs, version, extra="train")


_MODEL, _DATA, _ANY_MODEL = Role("model"), Role("dataset"), Role("model", optional=True)
_TUNING = {"model": Role("model", folds=True), "dataset": _DATA}

STEPS: dict[str, StepSpec] = {
    "sft": _trainer("sft:SFTConfig", "sft:train", "supervised fine-tuning on TRL's SFTTrainer", _TUNING, 2),
    "dpo": _trainer("dpo:DPOConfig", "dpo:train", "direct preference optimisation on TRL's DPOTrainer", _TUNING, 2),
    "pretrain": _trainer(
        "pretrain:PretrainConfig",
        "pretrain:train",
        "pre-training from random weights, or of a trained model further, on transformers' Trainer",
        {"dataset": _DATA, "model": Role("model", optional=True, folds=True), "tokenizer": _ANY_MODEL},
        version=2,
    ),
    "merge": _trainer(
        "merge.config:MergeConfig",
        "merge.step:merge",
        "several models as one: linear, SLERP, task arithmetic, TIES, DARE, breadcrumbs, Model Stock",
        {"base": _ANY_MODEL, "model_*": Role("model", ordered=True)},
        version=2,
    ),
    "maet_locate": _trainer(
        "maet.config:LocateConfig",
        "maet.locate:locate",
        "MAET: which weights an ability calls for, as masks with a table",
        {"model": _MODEL, "dataset": _DATA},
        publishes="dataset",
    ),
    "maet_extract": _trainer(
        "maet.config:ExtractConfig",
        "maet.extract:extract",
        "MAET: training in which only the weights of a mask move",
        {"model": _MODEL, "dataset": _DATA, "masks": _DATA},
        version=2,
    ),
    "maet_transfer": _trainer(
        "maet.config:TransferConfig",
        "maet.transfer_step:transfer_step",
        "MAET: abilities learned in one language and other languages' weights, added to a base tensor by tensor",
        {"base": _MODEL, "ability_*": _MODEL, "general_*": _MODEL, "language_*": _MODEL, "mask_*": _DATA},
        version=2,
    ),
}
