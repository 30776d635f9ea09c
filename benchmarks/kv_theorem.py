"""Theorem 3 of the KV shifting paper against its own set-up: the loss of one head as a function of a1 and b1.

    python -m benchmarks.kv_theorem

T random unit vectors in d dimensions, all weights the identity, a2 = 1 - a1, b2 = 1 - b1. The last token stood at an
earlier place too; the loss is that of predicting what followed it there, over the T - 1 tokens there are. With
orthogonal tokens every term can be counted, for S = exp(a2) + 2 exp(a1) + T - 3, A1 = exp(a1) / S, A2 = exp(a2) / S:

    the token that followed     A2 b1 + b2 / S
    the repeated token          2 A1 b1 + A2 b2
    the two before it           b1 / S + A1 b2
    each of the T - 5 others    (b1 + b2) / S

The paper gives the same with the last line, and T - 3 in S, as O(T). In our transcription of it the third line has A2
where the count gives A1; both are printed.
"""

from __future__ import annotations

import math

LENGTHS = (16, 64, 256)
POINTS = ((0.0, 1.0), (0.5, 0.5), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.2, 0.8))
DIMENSIONS, DRAWS = 16_384, 20


def predicted(a1: float, b1: float, length: int, transcribed: bool = False) -> float:
    """Loss in nats by the count above; `transcribed`: with A2 in the third line."""
    a2, b2 = 1 - a1, 1 - b1
    total = math.exp(a2) + 2 * math.exp(a1) + length - 3
    at_repeats, at_next = math.exp(a1) / total, math.exp(a2) / total
    right = at_next * b1 + b2 / total
    others = [
        2 * at_repeats * b1 + at_next * b2,
        *[b1 / total + (at_next if transcribed else at_repeats) * b2] * 2,
        *[(b1 + b2) / total] * (length - 5),
    ]
    return math.log(sum(math.exp(score - right) for score in (right, *others)))


def measured(a1: float, b1: float, length: int, dimensions: int, seed: int) -> float:
    """Loss in nats of one head of KV shifting attention on one draw; the repeated token stands in the middle."""
    import torch

    from hubwright.trainers.architectures.kv_shift.mixing_kv_shift import mix

    generator = torch.Generator().manual_seed(seed)
    if dimensions:
        tokens = torch.randn(length - 1, dimensions, generator=generator, dtype=torch.float64)
        tokens = tokens / tokens.norm(dim=1, keepdim=True)
    else:
        tokens = torch.eye(length - 1, dtype=torch.float64)
    place = length // 2
    x = torch.cat([tokens, tokens[place : place + 1]])[None, :, None]  # (1, length, one head, dimensions)
    keys, values = (mix(x, torch.tensor([[w, 1 - w]], dtype=torch.float64))[0, :, 0] for w in (a1, b1))
    weights = torch.softmax(keys @ x[0, -1, 0], dim=0)
    scores = tokens @ (weights @ values)
    return float(torch.logsumexp(scores, 0) - scores[place + 1])


def main() -> None:
    """Print predicted and measured losses side by side."""
    import torch

    torch.set_num_threads(1)
    print(f"{DRAWS} draws in {DIMENSIONS:,} dimensions; orthogonal: one draw, exact.\n")
    print("| T | a1 | b1 | counted | transcribed | orthogonal | random (standard deviation) |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for length in LENGTHS:
        for a1, b1 in POINTS:
            draws = torch.tensor([measured(a1, b1, length, DIMENSIONS, seed) for seed in range(DRAWS)])
            cells = [predicted(a1, b1, length), predicted(a1, b1, length, True), measured(a1, b1, length, 0, 0)]
            shown = " | ".join(f"{value:.6f}" for value in cells)
            print(f"| {length} | {a1} | {b1} | {shown} | {draws.mean():.6f} ({draws.std():.6f}) |")


if __name__ == "__main__":
    main()
