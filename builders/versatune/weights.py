"""The weights of a mixture: what a probe or a run table says, every strategy, bounds, and shares in both units."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError, did_you_mean
from .._lib.sources import read_rows
from .regress import Law, best_mixture, fit, held_out_correlation, read_runs
from .strategies import Weights, bounded, bounds, check_names, inverse, normalized, tempered, uniform

if TYPE_CHECKING:
    from .mixture import Domain, MixtureConfig


@dataclass(frozen=True)
class Prior:
    """The probe's shares of the mixture's domains, scaled to sum 1; `outside`: the probe's other domains' shares."""

    shares: Weights
    outside: Weights


@dataclass(frozen=True)
class Table:
    """Laws of the target losses, `(runs, rank correlation of the laws' held-out predictions)` for the card."""

    laws: dict[str, Law]
    runs: int
    correlations: dict[str, float | None]


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        weights: by domain, shares of the config's `unit`.
        strategies: weights of every strategy that could be computed, without bounds.
        shares: {"samples": weights, "tokens": weights or None}.
        passes: reads of each domain's training rows by `draw`; {} without one.
        predicted: predicted loss by target and mixture, for strategy `regress`.
    """

    weights: Weights
    strategies: dict[str, Weights]
    shares: dict[str, Weights | None]
    passes: Weights
    predicted: list[list[Any]] = field(default_factory=list)


def read_prior(config: MixtureConfig, names: Sequence[str], probe: Input | None) -> Prior | None:
    """P of the input `probe`; None without one. Raises DataError if it is no distribution over these domains."""
    if probe is None:
        return None
    try:
        distribution = json.loads((probe.path / "distribution.json").read_text(encoding="utf-8"))
        shares = {name: float(one["share"]) for name, one in distribution[config.labels].items()}
        judge: dict[str, Any] = next(iter(distribution.get("judges", {}).values()), {})
    except FileNotFoundError:
        raise DataError(f"probe {probe.ref} has no distribution.json: give a data set of versatune_probe") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"probe {probe.ref}: distribution.json holds no {config.labels} shares ({type(error).__name__}: {error}): "
            "build it with versatune_probe"
        ) from error
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise DataError(
                f"probe {probe.ref}: the {config.labels} share of {name} is {share}: build the probe again"
            )
    for name in names:
        if name not in shares:
            raise DataError(f"probe {probe.ref} has no domain {name!r}{did_you_mean(name, shares)}: probe with this "
                            "domain, or name the input as the probe does")  # fmt: skip
    if judge.get("weak") and config.strategy in ("matched", "inverse") and not config.allow_weak_judge:
        raise UsageError(
            f"probe {probe.ref}: the labels of its judge {judge.get('model')} hold {judge.get('mean_mass', 0):.1%} "
            "of the probability: probe with a stronger judge, or set allow_weak_judge: true"
        )
    inside = {name: shares[name] for name in names}
    return Prior(normalized(inside, "probe: share"), {name: shares[name] for name in shares if name not in inside})


def read_table(config: MixtureConfig, names: Sequence[str], context: StepContext) -> Table | None:
    """Laws of the targets, fitted to the input `runs`; None for other strategies. Raises DataError or UsageError."""
    if config.strategy != "regress":
        return None
    source = context.inputs["runs"]
    table = read_rows(source, context, "train")
    columns = {name: table[name][:] for name in table.column_names if name.startswith(("weight_", "loss_"))}
    domains, weights, losses = read_runs(columns, f"runs {source.ref}")
    check_names(domains, names, f"runs {source.ref}: columns weight_")
    if missing := sorted(set(names) - set(domains)):
        raise UsageError(f"runs {source.ref}: no column weight_{missing[0]}: leave the input domain_{missing[0]} out")
    check_names(config.targets, losses, "targets")
    weights = weights[:, [domains.index(name) for name in names]]
    targets = config.targets or tuple(losses)
    laws = {name: fit(weights, losses[name]) for name in targets}
    return Table(laws, len(weights), {name: held_out_correlation(weights, losses[name]) for name in targets})


def choose(config: MixtureConfig, domains: Sequence[Domain], prior: Prior | None, table: Table | None) -> Choice:
    """The weights by every strategy, and the chosen one's within the bounds. Raises UsageError if there are none."""
    names = [one.name for one in domains]
    available = {one.name: (one.tokens if config.unit == "tokens" else one.rows)["train"] for one in domains}
    proportional = normalized(available, config.unit)
    strategies = {
        "uniform": uniform(names), "proportional": proportional,
        "temperature": tempered(proportional, config.temperature),
    }  # fmt: skip
    if prior is not None:
        strategies |= {"matched": prior.shares, "inverse": inverse(prior.shares)}
    if config.weights:
        strategies["given"] = normalized({name: config.weights[name] for name in names}, "weight")
    low, high = _bounds(config, names, available)
    if table is not None:
        start = bounded(_vector(proportional, names), low, high)
        best = best_mixture(list(table.laws.values()), start, low, high, kl=config.kl)
        strategies["regress"] = _weights(best / best.sum(), names)
    weights = _weights(bounded(_vector(strategies[config.strategy], names), low, high), names)
    passes = {name: config.draw * weights[name] / available[name] for name in names} if config.draw else {}
    predicted = []
    if table is not None:
        mixtures = [_vector(one, names) for one in (weights, proportional, strategies["uniform"])]
        predicted = [
            [name, *(float(law.predict(one)) for one in mixtures), table.correlations[name]]
            for name, law in table.laws.items()
        ]
    return Choice(weights, strategies, _shares(config, domains, weights), passes, predicted)


def _bounds(
    config: MixtureConfig, names: Sequence[str], available: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Floors and caps, and what `max_passes` over a domain allow of `draw`. Raises UsageError."""
    caps = dict(config.caps)
    if config.draw is not None and config.max_passes is not None:
        for name in names:
            most = config.max_passes * available[name] / config.draw
            if most < config.floors.get(name, 0):
                raise UsageError(
                    f"domain {name}: max_passes {config.max_passes:g} over {available[name]:,} {config.unit} allow a "
                    f"weight of {most:.3g} in a draw of {config.draw:,}, less than its floor "
                    f"{config.floors[name]:g}: lower draw or the floor, or raise max_passes"
                )
            caps[name] = min(caps.get(name, 1.0), most)
        if math.fsum(caps.values()) < 1 - 1e-9:
            raise UsageError(
                f"max_passes {config.max_passes:g} and caps allow {math.fsum(caps.values()):.3g} of a draw of "
                f"{config.draw:,} {config.unit}: lower draw, raise max_passes or caps, or give more documents"
            )
    return bounds(names, config.floors, caps)


def _shares(config: MixtureConfig, domains: Sequence[Domain], weights: Weights) -> dict[str, Weights | None]:
    """The weights in samples and in tokens, by the mean tokens of a training sample."""
    if not all(one.tokens for one in domains):
        return {"samples": weights, "tokens": None}
    length = {one.name: one.tokens["train"] / one.rows["train"] for one in domains}
    if config.unit == "tokens":
        return {"samples": normalized({n: w / length[n] for n, w in weights.items()}, "share"), "tokens": weights}
    return {"samples": weights, "tokens": normalized({n: w * length[n] for n, w in weights.items()}, "share")}


def interleave(names: Sequence[str], choice: Choice, seed: int) -> dict[str, Any]:
    """Arguments of `datasets.interleave_datasets` for the splits `train` in the order of `names`.

    A source that is never drawn is never exhausted, so that with a weight of 0 `all_exhausted` would not end.
    """
    samples = choice.shares["samples"] or {}
    stop = "all_exhausted" if all(samples[name] > 0 for name in names) else "first_exhausted"
    return {"probabilities": [samples[name] for name in names], "seed": seed, "stopping_strategy": stop}


def _vector(weights: Weights, names: Sequence[str]) -> np.ndarray:
    return np.array([weights[name] for name in names])


def _weights(values: np.ndarray, names: Sequence[str]) -> Weights:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
