"""The trainers: steps that publish models, and what is measured on their weights."""

from typing import Any

from ..hub_sync.step import Role, StepSpec

MODEL, DATASET = Role("model"), Role("dataset")
REFERENCES = {"reference": Role("model", optional=True), "reference_*": MODEL}
TUNED = {"model": Role("model", folds=True), "dataset": DATASET}
OTHER = Role("model", optional=True, folds=True)
SEEING = {
    "dataset": DATASET,
    "model": Role("model", optional=True, folds=True),
    "language_model": Role("model", optional=True, folds=True),
    "vision_tower": Role("model", optional=True),
}
PRETRAINED = {
    "dataset": DATASET,
    "model": Role("model", optional=True, folds=True),
    "tokenizer": Role("model", optional=True),
}


def _trainer(config: str, run: str, help: str, **more: Any) -> StepSpec:
    """A step whose config is "module:Class" below this package, and `run` a function there or "module:function"."""
    module = config.partition(":")[0]
    function = run if ":" in run else f"{module}:{run}"
    rest: dict[str, Any] = {"publishes": "model", "help": help, "extra": "train"}
    return StepSpec("trainer", f"hubwright.trainers.{config}", f"hubwright.trainers.{function}", **rest | more)


STEPS: dict[str, StepSpec] = {
    "sft": _trainer("sft:SFTConfig", "train", "supervised fine-tuning on TRL's SFTTrainer", inputs=TUNED, version=3),
    "vision_sft": _trainer(
        "vision_sft.config:VisionSFTConfig",
        "train",
        "supervised fine-tuning on images and text, of a model or of the one that two parts make",
        inputs=SEEING,
    ),
    "dual_encoder": _trainer(
        "dual_encoder.config:DualEncoderConfig",
        "train",
        "images and texts as vectors of one space, from pairs, on two towers or on a dual encoder",
        inputs={
            "dataset": DATASET,
            "model": Role("model", optional=True),
            "vision_tower": Role("model", optional=True),
            "text_tower": Role("model", optional=True),
        },
    ),
    "dpo": _trainer(
        "dpo:DPOConfig",
        "train",
        "direct preference optimisation on TRL's DPOTrainer",
        inputs=TUNED | {"reference": Role("model", optional=True, folds=True)},
        version=3,
    ),
    "pretrain": _trainer(
        "pretrain:PretrainConfig",
        "train",
        "pre-training from random weights, or of a trained model further, on transformers' Trainer",
        inputs=PRETRAINED,
        version=2,
    ),
    "merge": _trainer(
        "merge.config:MergeConfig",
        "merge.step:merge",
        "several models as one: linear, SLERP, task arithmetic, TIES, DARE, breadcrumbs, Model Stock",
        inputs={"base": Role("model", optional=True), "model_*": Role("model", ordered=True)},
        version=2,
    ),
    "maet_locate": _trainer(
        "maet.config:LocateConfig",
        "maet.locate:locate",
        "MAET: which weights an ability calls for, as masks with a table",
        inputs={"model": MODEL, "dataset": DATASET},
        publishes="dataset",
    ),
    "maet_extract": _trainer(
        "maet.config:ExtractConfig",
        "maet.extract:extract",
        "MAET: training in which only the weights of a mask move",
        inputs={"model": MODEL, "dataset": DATASET, "masks": DATASET},
        version=2,
    ),
    "maet_transfer": _trainer(
        "maet.config:TransferConfig",
        "maet.transfer_step:transfer_step",
        "MAET: abilities learned in one language and other languages' weights, added to a base tensor by tensor",
        inputs={"base": MODEL, **dict.fromkeys(("ability_*", "general_*", "language_*"), MODEL), "mask_*": DATASET},
        version=2,
    ),
    "aitqe_generative": _trainer(
        "aitqe.generative:GenerativeConfig",
        "train",
        "AITQE: a scorer of image-text pairs that writes JSON, with a new caption for bad ones",
        inputs=SEEING,
    ),
    "aitqe_head": _trainer(
        "aitqe.head:HeadConfig",
        "train",
        "AITQE: a scorer of image-text pairs with a head of regressions",
        inputs=TUNED,
    ),
    "aitqe_rate": StepSpec(
        "builder",
        "hubwright.trainers.aitqe.rating:RateConfig",
        "hubwright.trainers.aitqe.rating:rate",
        "dataset",
        "AITQE: a scorer's scores for every pair of a data set",
        inputs=TUNED,
        extra="train",
        loads_models=True,
    ),
    "aitqe_enhance": StepSpec(
        "builder",
        "hubwright.trainers.aitqe.enhance:EnhanceConfig",
        "hubwright.trainers.aitqe.enhance:enhance",
        "dataset",
        "AITQE: every pair of a data set scored, its text as it is, rewritten, or the pair dropped",
        inputs=TUNED | {"rewriter": OTHER, "second": OTHER, "dev": Role("dataset", optional=True)},
        extra="train",
        loads_models=True,
    ),
    "eeca": _trainer(
        "eeca:EECAConfig",
        "train",
        "EECA: fine-tuning on images and text, with losses of classes and names on the images' tokens",
        inputs=SEEING,
    ),
    "versatune_pretrain": _trainer(
        "versatune.config:VersatunePretrainConfig",
        "pretrain",
        "VersaTune: pre-training on domains by weights that held-out losses move",
        inputs=PRETRAINED | REFERENCES,
    ),
    "versatune_sweep": StepSpec(
        "builder",
        "hubwright.trainers.versatune.sweep:SweepConfig",
        "hubwright.trainers.versatune.sweep:sweep",
        "dataset",
        "VersaTune: small models trained on random mixtures of the domains, as a table of weights and losses",
        inputs=PRETRAINED,
        extra="train",
        loads_models=True,
    ),
    "versatune_sft": _trainer(
        "versatune.config:VersatuneSFTConfig",
        "sft",
        "VersaTune: fine-tuning on domains by weights that held-out losses move",
        inputs=TUNED | REFERENCES,
        version=2,
    ),
    "stepagent_inspect": StepSpec(
        "builder",
        "hubwright.trainers.stepagent.inspection:InspectConfig",
        "hubwright.trainers.stepagent.inspection:inspect",
        "dataset",
        "StepAgent: the agent's own action in every state of an expert's, as pairs with the expert's",
        inputs=TUNED,
        extra="train",
        loads_models=True,
    ),
    "stepagent_optim": _trainer(
        "stepagent.optim:OptimConfig",
        "train",
        "StepAgent: step-wise DPO on the pairs of a cycle",
        inputs=TUNED | {"reference": Role("model", optional=True, folds=True)},
        version=2,
    ),
    "stepagent_discriminator": _trainer(
        "stepagent.discriminator:DiscriminatorConfig",
        "train",
        "StepAgent: a discriminator between the expert's actions and the agent's",
        inputs=TUNED | {"discriminator": Role("model", optional=True), "replay_*": DATASET},
        version=2,
    ),
    "stepagent_inverse": _trainer(
        "stepagent.inverse:InverseConfig",
        "train",
        "StepAgent: GRPO or RLOO on single steps, rewarded by a discriminator",
        inputs=TUNED | {"discriminator": MODEL},
        version=2,
    ),
    "stepagent_gigpo": _trainer(
        "stepagent.gigpo:GiGPOConfig",
        "train",
        "GiGPO: PPO on a model's own episodes, step by step",
        inputs=TUNED,
        version=2,
    ),
}
