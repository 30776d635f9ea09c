"""`vision_sft`'s trainer on samples, as prompts and replies."""

from typing import Any

import datasets
from datasets import Features, Json, List

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...inference.media import pair_scores
from .._lib import loop
from .._lib.image_columns import image_column
from ..vision_sft.trainer import VisionSFTTrainer
from ..vision_sft.trainer import fit as vision_fit
from .generative import GenerativeConfig
from .samples import check_columns, scores_of, text_of


class GenerativeTrainer(VisionSFTTrainer):
    """A method subclasses it and overrides TRL's hooks."""

    def card_tags(self) -> list[str]:
        return [*super().card_tags(), "aitqe"]

    @classmethod
    def load_splits(cls, config: Any, context: StepContext) -> dict[str, Any]:
        """The splits with `prompt` and `completion` beside the images. Raises DataError for a sample that is none."""
        source_name = loop.name(context, "dataset")
        return {role: turns(split, source_name) for role, split in super().load_splits(config, context).items()}


def turns(split: Any, source_name: str) -> Any:
    """A split of samples as images, prompts and replies."""
    check_columns(split.column_names, source_name)
    image = image_column(split.column_names, source_name)
    if image != "image":
        raise DataError(f"{source_name}: a sample has one image: its column is `image`, not `{image}`")
    absent = split.data.column(image).is_null()
    if absent.true_count if hasattr(absent, "true_count") else any(absent.to_pylist()):
        number = absent.to_pylist().index(True)
        raise DataError(f"{source_name}: row {number}: no image; leave the sample out")

    def turn(row: Any, number: int) -> dict[str, Any]:
        try:
            text, reply = pair_scores.prompt(text_of(row)), pair_scores.target(scores_of(row), row["recaption"])
        except RowRejected as error:
            raise DataError(f"{source_name}: row {number}: {error}; leave the sample out") from error
        return {"prompt": [{"role": "user", "content": text}], "completion": [{"role": "assistant", "content": reply}]}

    features = Features({"prompt": List(Json()), "completion": List(Json())})
    read = split.select_columns(["raw_text", "scores", "recaption"])
    written = read.map(turn, with_indices=True, remove_columns=read.column_names, features=features, num_proc=None)
    return datasets.concatenate_datasets([split.select_columns([image]), written], axis=1)


def fit(
    config: GenerativeConfig, context: StepContext, trainer_class: type[GenerativeTrainer] = GenerativeTrainer
) -> VisionSFTTrainer:
    """One process's training; returns its trainer."""
    return vision_fit(config, context, trainer_class)
