"""Heads on the tokens of an image: classes of several levels, and names as vectors to compare with.

z   = LayerNorm(sum_t a_t h_t),   a = softmax_t(q . h_t)         h: tokens of an image after the projector
o_l = W_l z + b_l                                                one linear map per level
e_c = P m_c / |P m_c|                                            m: mean embedding of the tokens of a name
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

TEMPERATURE = 0.07
LOWEST_TEMPERATURE = 0.01


class VisualHeads(nn.Module):
    """See the module.

    Args:
        width: of a token.
        settings: `levels`, pairs of a name and its number of classes, and `entities`, whether there are names.
    """

    def __init__(self, width: int, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.levels = nn.ModuleList([nn.Linear(width, count) for _, count in settings["levels"]])
        self.names = None
        if settings["entities"]:
            self.names = nn.Linear(width, width, bias=False)
            nn.init.eye_(self.names.weight)  # begins at the language model's own geometry
            self.log_temperature = nn.Parameter(torch.full((1,), math.log(TEMPERATURE)))

    def pooled(self, states: torch.Tensor) -> torch.Tensor:
        """z (images, width) of tokens (images, tokens, width)."""
        weights = (states @ self.query).softmax(dim=-1)
        return self.norm((weights[..., None] * states).sum(dim=1))

    def vectors(self, means: torch.Tensor) -> torch.Tensor:
        """e (names, width) of mean embeddings (names, width)."""
        if self.names is None:
            raise ValueError("these heads compare no names")
        return nn.functional.normalize(self.names(means), dim=-1)

    def temperature(self) -> torch.Tensor:
        """T, at least 0.01."""
        return self.log_temperature.exp().clamp(min=LOWEST_TEMPERATURE)
