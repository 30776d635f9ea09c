"""The two losses beside the language model's, as functions of tensors.

    L_hc = sum_l w_l mean_i CE(o_l(i), y_l(i))                      over the images i that have a label of level l
    L_ec = - mean_i log( sum_(j in pos(i)) exp(z_i . e_j / T) / sum_(j in C) exp(z_i . e_j / T) )
                                                                    over the images i that have a landmark

C holds every landmark of a batch once, however many images show it, and more names of the bank; pos(i) are the entries
that bear the name of i's landmark.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy, normalize

UNKNOWN = -100


def class_loss(
    outputs: Sequence[torch.Tensor], targets: torch.Tensor, weights: Sequence[float]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """L_hc, a scalar, and the loss of each level, unweighted; 0 for a level without a label.

    Args:
        outputs: (images, classes) of each level.
        targets: int64 (images, levels), `UNKNOWN` without a label.
        weights: of the levels.
    """
    losses = []
    for level, logits in enumerate(outputs):
        known = (targets[:, level] != UNKNOWN).sum()
        total = cross_entropy(logits.float(), targets[:, level], ignore_index=UNKNOWN, reduction="sum")
        losses.append(total / known.clamp(min=1))
    weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(weighted).sum(), losses


def name_loss(
    states: torch.Tensor, entities: torch.Tensor, vectors: torch.Tensor, candidates: torch.Tensor,
    groups: torch.Tensor, temperature: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """L_ec, a scalar; 0 without a landmark.

    Args:
        states: z (images, width), normalised here.
        entities: int64 (images), number of the landmark, `UNKNOWN` without.
        vectors: e (candidates, width), normalised.
        candidates: int64 (candidates), numbers of landmarks, each once, those of the batch among them.
        groups: int64 (landmarks), the same number for landmarks of the same name.
        temperature: T.
    """
    shown = entities != UNKNOWN
    if not bool(shown.any()):
        return states.sum() * 0.0
    logits = normalize(states[shown].float(), dim=-1) @ vectors.float().T / temperature.float()
    same = groups[entities[shown]][:, None] == groups[candidates][None]
    return (logits.logsumexp(dim=1) - logits.masked_fill(~same, -torch.inf).logsumexp(dim=1)).mean()
