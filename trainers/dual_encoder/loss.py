"""InfoNCE over a batch of pairs (arXiv:1807.03748), both ways as in CLIP (arXiv:2103.00020), without false negatives.

With unit vectors u_i of images and v_j of texts, and the temperature s:

    L[i, j] = s * <u_i, v_j>, left out where j is no negative of i
    loss    = - (1 / 2n) * sum over i of [log softmax(L[i, :])_i + log softmax(L[:, i])_i]

Text j is no negative of image i if both are of one image or one text, or are a pair of the data set elsewhere: they
would be pushed away from themselves.
"""

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize

MAX_LOG_SCALE = math.log(100)
"""Largest logarithm of the temperature; our choice."""


def logits(images: Any, texts: Any, log_scale: Any) -> Any:
    """Temperature times cosine: (images, texts), of features (images, width) and (texts, width)."""
    return log_scale.clamp(max=MAX_LOG_SCALE).exp() * normalize(images, dim=-1) @ normalize(texts, dim=-1).T


def contrastive_loss(scores: Any, image_ids: Any, text_ids: Any, matches: Any = None) -> Any:
    """The loss, a scalar with gradient.

        >>> contrastive_loss(torch.zeros(4, 4), torch.arange(4), torch.arange(4)).exp()
        tensor(4.)
        >>> contrastive_loss(torch.zeros(4, 4), torch.tensor([0, 0, 1, 2]), torch.arange(4)).exp()  # 3, 3, 4 and 4
        tensor(3.4641)

    Args:
        scores: (pairs, pairs), images down, texts across.
        image_ids, text_ids: int64 (pairs,); equal ones are the same image, or the same text.
        matches: bool (pairs, pairs), which text across is of which image down by any pair of the data set; None: not
            known.
    """
    same = (image_ids[:, None] == image_ids[None]) | (text_ids[:, None] == text_ids[None])
    same = same if matches is None else same | matches
    same.fill_diagonal_(False)
    scores = scores.masked_fill(same, float("-inf"))
    own = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
