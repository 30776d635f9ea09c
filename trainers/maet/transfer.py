"""MAET's third stage: abilities and languages added to a base, tensor by tensor, on the merger's engine.

    R(A)   = alpha (theta_A - theta_0) - beta (theta_general - theta_0)            Eq. 2
    R_Lang = sum over languages of mu (theta_L - theta_0)
    s      = cosine of R(A) and R_Lang, a tensor a vector; T_A are the tensors with the lowest s
    merged = theta_0 + sum over abilities with the tensor in T_A of gamma R(A) + eta R_Lang, and theta_0 + R_Lang
             in tensors that no ability takes                                     Eq. 3

Two passes: the cosines rank all tensors, so they come first. Only the paper's abstracts and reviews were at hand: what
they leave open is our choice. A tensor that R(A) does not touch is not ranked, and a cosine with a zero vector is 0.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..merge.checkpoint import Checkpoint, Kind
from ..merge.engine import each, merge_tensors, read_blocks
from ..merge.measure import Sum
from ..merge.methods import Blocks, Combine
from ..merge.numbers import Array
from .config import AbilitySettings, LanguageSettings, TransferConfig
from .masks import Masks


@dataclass(frozen=True)
class Parts:
    """What is added to the base: by ability the trained model, its general counterpart and its mask, by language the
    model; None where there is none."""

    base: Checkpoint
    abilities: Mapping[str, Checkpoint]
    generals: Mapping[str, Checkpoint]
    masks: Mapping[str, Masks]
    languages: Mapping[str, Checkpoint]

    def models(self) -> dict[str, Checkpoint]:
        """All but the base, in the order in which blocks have them."""
        return (
            {f"ability_{name}": one for name, one in self.abilities.items()}
            | {f"general_{name}": one for name, one in self.generals.items()}
            | {f"language_{name}": one for name, one in self.languages.items()}
        )


@dataclass(frozen=True)
class Measured:
    """Of one tensor: norms of R_Lang and of each ability's R(A), and their cosines."""

    language_norm: float
    norms: dict[str, float]
    cosines: dict[str, float]


def measure(
    config: TransferConfig, parts: Parts, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Measured]:
    """The first pass: cosines and norms of every floating tensor.

    Args:
        progress: called with the elements of each tensor that is done.

    Raises DataError for a number that is not finite.
    """
    kinds = {name: kind for name, kind in parts.base.kinds.items() if kind.floating}
    measured: dict[str, Measured] = {}

    def work(name: str) -> None:
        measured[name] = _measure_one(name, config, parts)

    for name in each(sorted(kinds, key=lambda n: (-kinds[n].elements, n)), work, config.threads):
        progress(kinds[name].elements)
    return {name: measured[name] for name in kinds}


def _measure_one(name: str, config: TransferConfig, parts: Parts) -> Measured:
    shape = parts.base.kinds[name].shape
    language = Sum(shape)
    squares = {ability: Sum(shape) for ability in parts.abilities}
    dots = {ability: Sum(shape) for ability in parts.abilities}
    models = parts.models()
    start = 0
    for base, blocks in read_blocks(name, parts.base, models, config.block_mb, check=True):
        changes = _Changes(config, parts, name, start, base, dict(zip(models, blocks, strict=True)))
        of_language = changes.language()
        language.add(of_language, of_language)
        for ability in parts.abilities:
            change = changes.ability(ability)
            squares[ability].add(change, change)
            dots[ability].add(change, of_language)
        start += len(base)
    norm = math.sqrt(language.value)
    norms = {ability: math.sqrt(square.value) for ability, square in squares.items()}
    cosines = {
        ability: dots[ability].value / (norm * norms[ability]) if norm and norms[ability] else 0.0 for ability in norms
    }
    return Measured(norm, norms, cosines)


@dataclass
class _Changes:
    """R_Lang and R(A) of one block; each may be computed once, in the models' memory."""

    config: TransferConfig
    parts: Parts
    name: str
    start: int
    base: Array
    models: dict[str, Array]

    def language(self) -> Array:
        total = np.zeros_like(self.base)
        for language in self.parts.languages:
            change = self.models[f"language_{language}"]
            change -= self.base
            change *= self.config.languages.get(language, LanguageSettings()).mu
            total += change
        return total

    def ability(self, ability: str) -> Array:
        settings = self.config.abilities.get(ability, AbilitySettings())
        change = self.models[f"ability_{ability}"]
        change -= self.base
        change *= settings.alpha
        if ability in self.parts.generals:
            general = self.models[f"general_{ability}"]
            general -= self.base
            general *= settings.beta
            change -= general
        if ability in self.parts.masks:
            change *= self.parts.masks[ability].rows(self.name, self.start, self.start + len(self.base))
        return change


def select(config: TransferConfig, measured: Mapping[str, Measured]) -> dict[str, set[str]]:
    """Ability -> the tensors it is added to: T_A. Of equal cosines the tensor that comes first by name."""
    how = config.select
    chosen: dict[str, set[str]] = {}
    for ability in next(iter(measured.values())).norms if measured else ():
        touched = sorted(name for name, one in measured.items() if one.norms[ability])
        names = [name for name in touched if not any(part in name for part in how.exclude)]
        if how.keep == "random":
            random.Random(f"{how.seed}:{ability}").shuffle(names)  # noqa: S311 - a draw, no secret
        elif how.keep != "all":
            sign = 1 if how.keep == "lowest" else -1
            names.sort(key=lambda name: sign * measured[name].cosines[ability])
        chosen[ability] = set(names if how.keep == "all" else names[: round(how.fraction * len(names))])
    return chosen


def transfer(
    config: TransferConfig,
    parts: Parts,
    chosen: Mapping[str, set[str]],
    folder: Path,
    plan: object,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """The second pass: write the merged weights below `folder`. Arguments and errors as `merge_tensors`."""
    method = partial(_combine, config, parts, chosen)
    merge_tensors(method, config, parts.base, parts.models(), folder, plan, progress)


def _combine(
    config: TransferConfig, parts: Parts, chosen: Mapping[str, set[str]], name: str, kind: Kind, blocks: Blocks
) -> Combine:
    models = list(parts.models())
    taking = [ability for ability in parts.abilities if name in chosen[ability]]
    start = 0

    def combine(base: Array, blocks: list[Array]) -> Array:
        nonlocal start
        changes = _Changes(config, parts, name, start, base, dict(zip(models, blocks, strict=True)))
        start += len(base)
        total = changes.language()
        if taking and config.eta != 1:
            total *= config.eta
        for ability in taking:
            change = changes.ability(ability)
            change *= config.abilities.get(ability, AbilitySettings()).gamma
            total += change
        total += base
        return total

    return combine
