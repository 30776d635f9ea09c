"""A dry run knows what kind of model a step of the recipe will publish, of which the hub has the tokenizer alone."""

from __future__ import annotations

import pytest

from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.step import Preview
from hubwright.trainers.aitqe.generative import GenerativeConfig
from hubwright.trainers.aitqe.head import HeadConfig
from hubwright.trainers.dual_encoder.config import DualEncoderConfig
from hubwright.trainers.vision_sft import VisionSFTConfig

SAMPLES = Preview("steps.samples", columns=("image", "raw_text", "kind", "recaption", "scores", "id", "twin"))
CAPTIONS = Preview("steps.pairs", columns=("image", "text"))


def test_a_model_that_a_step_assembles_reads_images() -> None:
    parts = {"language_model": Preview("me/lm"), "vision_tower": Preview("me/tower"), "dataset": CAPTIONS}
    base = VisionSFTConfig().preview(parts)
    assert base.kind == "llava"
    made = Preview("steps.base", kind=base.kind)
    assert GenerativeConfig().preview({"model": made, "dataset": SAMPLES}).kind == "llava"
    assert HeadConfig().preview({"model": made, "dataset": SAMPLES}).kind == "llava_scorer"
    assert VisionSFTConfig().preview({"model": made, "dataset": CAPTIONS}).kind == "llava"


@pytest.mark.parametrize("role", ["language_model", "vision_tower"])
def test_such_a_model_is_no_part_of_another(role: str) -> None:
    made = Preview("steps.base", kind="llava")
    parts = {"language_model": Preview("me/lm"), "vision_tower": Preview("me/tower"), "dataset": CAPTIONS}
    with pytest.raises(UsageError, match=rf"{role}: steps\.base"):
        VisionSFTConfig().preview(parts | {role: made})


def test_a_dual_encoder_is_no_model_that_speaks() -> None:
    towers = {"vision_tower": Preview("me/tower"), "text_tower": Preview("me/text"), "dataset": CAPTIONS}
    encoder = DualEncoderConfig().preview(towers)
    with pytest.raises(UsageError, match=r"steps\.encoder is of type vision-text-dual-encoder"):
        made = Preview("steps.encoder", kind=encoder.kind)
        VisionSFTConfig().preview({"model": made, "dataset": CAPTIONS})
