"""A LLaVA model whose last token is read by linear regressions instead of a language head."""

from typing import Any

import torch
from torch import nn
from transformers import LlavaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.llava.modeling_llava import LlavaModel

from .configuration_llava_scorer import LlavaScorerConfig


class LlavaScorerForSequenceClassification(LlavaPreTrainedModel):
    """`score_low + (score_high - score_low) * logits` are the scores, one column for each label."""

    config_class = LlavaScorerConfig

    def __init__(self, config: LlavaScorerConfig) -> None:
        super().__init__(config)
        self.model = LlavaModel(config)
        self.score = nn.Linear(config.get_text_config().hidden_size, len(config.id2label or {}))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Logits (rows, labels) at the last token that the mask shows, whatever side is padded.

        Args:
            input_ids: int64 (rows, length), the image's token as often as an image has tokens.
            attention_mask: (rows, length), 0 for padding; None: there is none.
            pixel_values: (images, 3, side, side).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        options.setdefault("position_ids", (mask.cumsum(-1) - 1).clamp(min=0))
        options.pop("use_cache", None)
        states = self.model(
            input_ids=input_ids, attention_mask=mask, pixel_values=pixel_values, use_cache=False, **options
        ).last_hidden_state
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (places * mask).argmax(-1)
        return SequenceClassifierOutput(logits=self.score(states[torch.arange(len(states)), last]))


LlavaScorerForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
