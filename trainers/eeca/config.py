"""Settings, and what is known before a run works. Nothing heavy is imported.

    L = L_LM + lambda_hc L_hc + lambda_ec L_ec

The paper's losses are known to us by their names alone, its weights, resolutions and numbers of tokens not at all: all
is our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.step import Preview
from ..vision_sft import VisionSFTConfig
from ..vision_sft import train as vision_train

BRANCHES = "llava_branches"
LEVELS = ("natural_or_human_made", "hierarchical_label", "supercategory", "landmark_id")


class EECAConfig(VisionSFTConfig):
    """Settings of `vision_sft`, those of the branches, and those of the two losses."""

    kinds: ClassVar[tuple[str, ...]] = ("llava", BRANCHES)

    # Model
    latents: int | None = Field(
        None, ge=1, description="Learned queries that stand for an image, in place of the tower's tokens; null: the "
        "tower's tokens, or what `model` has.",
    )  # fmt: skip
    high_resolution: int | None = Field(
        None, ge=8, description="Side in pixels of the square that a second pass of the tower sees, beside "
        "image_size; null: one pass, or what `model` has.",
    )  # fmt: skip
    branch_heads: int | None = Field(
        None, ge=1, description="Heads of the attention of branches and queries; null: the tower's."
    )

    # Losses
    hc_weight: float = Field(0.5, ge=0, description="lambda_hc: weight of the classes' loss; 0: none. Our choice.")
    ec_weight: float = Field(0.5, ge=0, description="lambda_ec: weight of the names' loss; 0: none. Our choice.")
    levels: dict[str, float] = Field(
        dict.fromkeys(LEVELS, 1.0), min_length=1,
        description="Columns of classes, and the weight w of each. Rows without a label have no part in its loss.",
    )  # fmt: skip
    entity_column: str = Field("landmark_id", description="Column that says which landmark an image shows.")
    name_column: str = Field("name", description="Column of the landmark's name.")
    parent_column: str = Field("supercategory", description="Column that landmarks hard to tell apart share.")
    negatives: Literal["batch", "hard", "all"] = Field(
        "hard", description="Names that a batch's landmarks are set against, beside one another: none; those that "
        "share `parent_column` with one of them; all of the train rows. Our choice.",
    )  # fmt: skip
    max_negatives: int = Field(
        256, ge=1, description="At most so many of them for a batch, drawn by its landmarks and the seed. Our choice."
    )
    keep_heads: bool = Field(
        False, description="Publish the heads of the losses with the model, for a second stage; they cost nothing "
        "when it generates, and it then needs trust_remote_code.",
    )  # fmt: skip
    fresh_heads: bool = Field(False, description="Leave heads that `model` has, and begin with new ones.")
    cache_gb: float = Field(
        4.0, ge=0, description="Features of a tower that is not trained are computed once if they take no more than "
        "so many GB of disk; otherwise for every batch. Our choice.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        if self.lora is not None and not self.merge_adapter:
            raise ValueError("lora: what is trained beside it has no base to be named: set merge_adapter: true")
        if self.num_processes > 1 or self.sharded or self.accelerate_config is not None:
            raise ValueError("eeca trains in one process: drop num_processes and settings of accelerate")
        if self.negatives == "batch" and self.ec_weight and self.per_device_train_batch_size == 1:
            raise ValueError("negatives: a batch of one row has no others: write hard or all, or a larger batch")
        if any(weight <= 0 for weight in self.levels.values()):
            raise ValueError("levels: a weight is above 0: leave out the level instead")
        if (self.keep_heads or self.fresh_heads) and not (self.hc_weight or self.ec_weight):
            raise ValueError("keep_heads, fresh_heads: without hc_weight and ec_weight there are no heads: drop them")
        names_of = ("entity_column", "name_column", "parent_column", "negatives", "max_negatives")
        idle = {"hc_weight": ("levels",), "ec_weight": names_of}
        for weight, names in idle.items():
            for name in names:
                default = type(self).model_fields[name].default
                if not getattr(self, weight) and getattr(self, name) != default:
                    raise ValueError(f"{name}: {weight} 0 leaves it out: drop one of them")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError as `vision_sft`."""
        names = set(names)
        super().check_inputs(names)
        if "model" not in names and self.fresh_heads:
            raise UsageError("fresh_heads is for a `model` that has heads, and this one is assembled: drop it")

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The model that will be published. Raises UsageError or DataError as of `vision_sft`, and for columns of
        labels that are not there."""
        from .._lib import ahead

        known = ahead.train_columns(self, inputs["dataset"])
        if known is not None:
            check_columns(known, self, inputs["dataset"].name)
        result = super().preview(inputs)
        if self.latents or self.high_resolution or self.keep_heads:
            return replace(result, kind=BRANCHES)
        return result


def check_columns(names: Iterable[str], config: EECAConfig, source_name: str) -> None:
    """Raises DataError in one line for a column of labels that is not there."""
    known = sorted(names)
    wanted = {"levels": list(config.levels) if config.hc_weight else []}
    if config.ec_weight:
        wanted |= {name: [getattr(config, name)] for name in ("entity_column", "name_column")}
        wanted["parent_column"] = [config.parent_column] if config.negatives == "hard" else []
    for setting, columns in wanted.items():
        for column in columns:
            if column not in known:
                weight = "hc_weight" if setting == "levels" else "ec_weight"
                raise DataError(
                    f"{source_name} has no column `{column}` of {setting}; it has {', '.join(known)}: set {setting}, "
                    f"or {weight}: 0"
                )


def train(config: EECAConfig, context: StepContext) -> None:
    """Train `context.inputs["model"]`, or a model made of `language_model` and `vision_tower`, on `dataset`.

    Raises UsageError (settings that do not fit models or data), DataError (rows that cannot be used).
    """
    vision_train(config, context, "hubwright.trainers.eeca.trainer:fit")
