"""What the methods do with one tensor.

A method looks at the tensor's blocks as often as it needs to, and returns what makes a block of the output: a function
that is called on every block once and in order and may use the block's memory for what it returns. `blocks()` gives
(base, [model, ...]), float32. Nothing depends on how a tensor is cut into blocks.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .measure import Sum
from .numbers import Array

Block = tuple[Array, list[Array]]
Blocks = Callable[[], Iterable[Block]]
Combine = Callable[[Array, list[Array]], Array]
Keep = Callable[[int, Array], Array]  # number of the model, its change -> what is left of it
_ALIKE = 0.9995  # |cosine| from which SLERP is a straight line; Shoemake's remedy, the bound is mergekit's
_SMALL = 1e-8


def linear(weights: Sequence[float], normalize: bool) -> Combine:
    """Weighted mean, or sum, of the models, the first of which stands as base (model soups, arXiv 2203.05482)."""
    total = math.fsum(weights) if normalize else 1.0

    def combine(base: Array, models: list[Array]) -> Array:
        mixed = base
        mixed *= weights[0]
        for model, weight in zip(models, weights[1:], strict=True):
            # The product is exact in float64, so that an addition rounds once, as a fused multiply-add does.
            exact = np.multiply(model, np.float32(weight), dtype=np.float64)
            exact += mixed
            mixed[...] = exact
        if total != 1:
            mixed /= total
        return mixed

    return combine


def slerp(blocks: Blocks, shape: tuple[int, ...], t: float) -> Combine:
    """From the base (t=0) to the one model (t=1) along the arc between them (Shoemake 1985), a tensor a vector."""
    dots = [Sum(shape), Sum(shape), Sum(shape)]
    for base, (model,) in blocks():
        for dot, (left, right) in zip(dots, ((base, base), (model, model), (base, model)), strict=True):
            dot.add(left, right)
    norms = [math.sqrt(dot.value) for dot in dots[:2]]
    cosine = dots[2].value / math.prod(norm if norm > _SMALL else 1.0 for norm in norms)
    cosine = min(1.0, max(-1.0, cosine))
    if abs(cosine) > _ALIKE:
        a, b = 1 - t, t
    else:
        angle = math.acos(cosine)
        a, b = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)

    def combine(base: Array, models: list[Array]) -> Array:
        base *= a
        models[0] *= b
        base += models[0]
        return base

    return combine


def model_stock(blocks: Blocks, shape: tuple[int, ...], count: int) -> Combine:
    """The models' mean drawn towards the base, the more the less their changes agree (arXiv 2403.19522, a tensor a
    layer): t = n cos / (1 + (n-1) cos), with the mean cosine between two models' changes."""
    squares = [Sum(shape) for _ in range(count)]
    products = {(i, j): Sum(shape) for i in range(count) for j in range(i + 1, count)}
    for base, models in blocks():
        changes = [model - base for model in models]
        for change, square in zip(changes, squares, strict=True):
            square.add(change, change)
        for (i, j), product in products.items():
            product.add(changes[i], changes[j])
    norms = [math.sqrt(square.value) for square in squares]
    cosines = [
        min(1.0, max(-1.0, product.value / max(norms[i] * norms[j], 1e-6))) for (i, j), product in products.items()
    ]
    cosine = math.fsum(cosines) / len(cosines)
    below = 1 + (count - 1) * cosine
    t = count * cosine / below if abs(below) >= 1e-6 else 0.0

    def combine(base: Array, models: list[Array]) -> Array:
        mean = models[0]
        for model in models[1:]:
            mean += model
        mean /= count
        mean *= t
        base *= 1 - t
        mean += base
        return mean

    return combine


def task_arithmetic(weights: Sequence[float], normalize: bool, scale: float, keep: Keep) -> Combine:
    """base + scale * sum of weight * change (arXiv 2212.04089); of each change only what `keep` leaves."""
    total = math.fsum(weights)
    divisor = total if normalize and abs(total) >= _SMALL else 1.0

    def combine(base: Array, models: list[Array]) -> Array:
        mixed, *others = _changes(base, models, weights, keep)
        for change in others:
            mixed += change
        mixed /= divisor
        mixed *= scale
        mixed += base
        return mixed

    return combine


def ties(weights: Sequence[float], normalize: bool, scale: float, keep: Keep) -> Combine:
    """As task arithmetic, of each element only the changes with the sign of their weighted sum (arXiv 2306.01708)."""

    def combine(base: Array, models: list[Array]) -> Array:
        changes = list(_changes(base, models, weights, keep))
        total = changes[0].copy()
        for change in changes[1:]:
            total += change
        positive = total >= 0
        mixed, divisor = total, np.zeros_like(base)
        mixed.fill(0)
        for change, weight in zip(changes, weights, strict=True):
            agree = (change > 0) == positive
            agree &= change != 0
            change *= agree
            mixed += change
            divisor += agree * np.float32(weight)
        if normalize:
            divisor[divisor == 0] = 1
            mixed /= divisor
        mixed *= scale
        mixed += base
        return mixed

    return combine


def _changes(base: Array, models: list[Array], weights: Sequence[float], keep: Keep) -> Iterable[Array]:
    """What is left of each model's change, times its weight; in the model's own memory."""
    for number, (change, weight) in enumerate(zip(models, weights, strict=True)):
        change -= base
        left = keep(number, change)
        left *= weight
        yield left
