"""Configuration of a LLaVA model under a head of regressions.

This file and `modeling_llava_scorer.py` need nothing but torch and transformers: a published model carries them, so
that `from_pretrained(..., trust_remote_code=True)` works where hubwright is not installed.
"""

from huggingface_hub.dataclasses import strict
from transformers import LlavaConfig


@strict
class LlavaScorerConfig(LlavaConfig):
    """A `LlavaConfig` with as many regressions as `num_labels`; `id2label` names them.

    Attributes:
        score_low, score_high: what outputs 0 and 1 stand for.
    """

    model_type = "llava_scorer"

    score_low: float = 1.0
    score_high: float = 10.0


LlavaScorerConfig.register_for_auto_class()
