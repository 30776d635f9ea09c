"""A LLaVA model whose image goes through the tower at two sizes, and through learned queries.

    X = X_low + tanh(g) Attention(Q = X_low, K = V = X_high)          g = 0 at first; without X_high X is X_low
    R = Y + MLP(Y),   Y = L + Attention(Q = L, K = V = X)             L: learned queries; without them R is X
    H = W_2 gelu(W_1 R + b_1) + b_2                                   in place of the tokens of the image

The model is given images of the high resolution; the first branch sees them averaged to the low one.
"""

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, scaled_dot_product_attention
from transformers import LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaModel, LlavaMultiModalProjector
from transformers.utils.generic import can_return_tuple

from .configuration_llava_branches import LlavaBranchesConfig
from .heads_llava_branches import VisualHeads


class CrossAttention(nn.Module):
    """Attention of one set of tokens to another, each normalised before.

    Args:
        width: of a token.
        heads: a divisor of it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.value_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, queries: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(images, queries, width) of (images, queries, width) and (images, values, width)."""
        queries, values = self.query_norm(queries), self.value_norm(values)
        q, k, v = self._split(self.q_proj(queries)), self._split(self.k_proj(values)), self._split(self.v_proj(values))
        seen = scaled_dot_product_attention(q, k, v)
        return self.o_proj(seen.transpose(1, 2).flatten(2))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Resampler(nn.Module):
    """Learned queries that read the tokens of an image (a Perceiver of one block).

    Args:
        width: of a token.
        latents: number of queries.
        heads: a divisor of the width.
    """

    def __init__(self, width: int, latents: int, heads: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.attention = CrossAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(images, latents, width) of (images, tokens, width)."""
        latents = self.latents.expand(len(states), -1, -1)
        latents = latents + self.attention(latents, states)
        return latents + self.mlp(self.norm(latents))


class BranchesProjector(LlavaMultiModalProjector):
    """LLaVA's projector, and before it what the configuration names. Without either its weights are LLaVA's."""

    def __init__(self, config: LlavaBranchesConfig) -> None:
        super().__init__(config)
        width = self.linear_1.in_features
        if config.high_resolution is not None:
            self.high = CrossAttention(width, config.branch_heads)
            self.gate = nn.Parameter(torch.zeros(1))
        if config.latents is not None:
            self.resampler = Resampler(width, config.latents, config.branch_heads)

    def forward(self, low: torch.Tensor, high: torch.Tensor | None = None) -> torch.Tensor:
        """H (images, tokens, width of the language model).

        Args:
            low, high: (images, tokens, width of the tower) of each branch.
        """
        states = low
        if hasattr(self, "gate"):
            states = states + self.gate.tanh() * self.high(states, high)
        if hasattr(self, "resampler"):
            states = self.resampler(states)
        return super().forward(states)


class LlavaBranchesModel(LlavaModel):
    """The body."""

    config_class = LlavaBranchesConfig

    def __init__(self, config: LlavaBranchesConfig) -> None:
        super().__init__(config)
        self.multi_modal_projector = BranchesProjector(config)
        self.post_init()

    def tower_states(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the branches see of images (images, 3, side, side): (images, tokens, width) each; None without a second
        one."""
        if self.config.high_resolution is None:
            return self._states(pixel_values), None
        side = [self.config.low_resolution] * 2
        small = interpolate(pixel_values.float(), side, mode="bilinear", antialias=True).to(pixel_values.dtype)
        return self._states(small), self._states(pixel_values)

    def _states(self, pixel_values: torch.Tensor) -> torch.Tensor:
        # Towers that do not read any size by themselves are told to.
        known = "interpolate_pos_encoding" in inspect.signature(self.vision_tower.forward).parameters
        more = {"interpolate_pos_encoding": True} if known and self.config.high_resolution is not None else {}
        states = self.vision_tower(pixel_values, output_hidden_states=True, return_dict=True, **more).hidden_states
        layers = self.config.vision_feature_layer
        chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        if self.config.vision_feature_select_strategy == "default":
            chosen = [one[:, 1:] for one in chosen]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=-1)

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutputWithPooling:
        """`pooler_output`: H of each image (tokens, width of the language model). Options are LLaVA's, which the
        configuration decides here."""
        low, high = self.tower_states(pixel_values)
        states: Any = list(self.multi_modal_projector(low, high))
        return BaseModelOutputWithPooling(last_hidden_state=low, pooler_output=states)


class LlavaBranchesForConditionalGeneration(LlavaForConditionalGeneration):
    """LLaVA with such a body. `heads` are for training alone: `forward` does without."""

    config_class = LlavaBranchesConfig

    def __init__(self, config: LlavaBranchesConfig) -> None:
        super().__init__(config)
        self.model = LlavaBranchesModel(config)
        if config.heads is not None:
            self.heads = VisualHeads(config.get_text_config().hidden_size, config.heads)
        self.post_init()


LlavaBranchesForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
