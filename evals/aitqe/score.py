"""Recipe step `aitqe_score`: how well scores of image-text pairs tell good texts from bad ones, method by method.

Inputs `scores_NAME` are data sets with `id` and columns of numbers, higher for better texts: those of `aitqe_rate`, or
signals such as a cosine, each column a method of its own. They are joined with the samples by id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.settings import Settings
from .._lib.data import write_parquet
from .._lib.results import write_json
from .._lib.statistics import interval
from . import score_plots, scorer
from .joined import ASPECTS, GOOD, KINDS, Samples, read_samples, read_scores
from .scorer import Array

logger = logging.getLogger("hubwright.evals")

Figure = tuple[float, float, float]
BY_DAMAGE = "twin_accuracy, "


class ScoreConfig(Settings):
    """What is compared. Defaults are our choice."""

    split: str = Field("test", description="Split of the samples and of the scores.")
    columns: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Columns by NAME of an input scores_NAME, each a method; empty: the scores of aitqe_rate if there "
        "are any, else every column of numbers.",
    )
    order: list[str] | None = Field(None, description="Names of the inputs scores_NAME; null: the recipe's order.")
    unseen: list[str] = Field(
        default_factory=list, description="Kinds of damage that no method was trained on, shown apart."
    )
    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % intervals, whole images drawn; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises UsageError without scores, and for settings of scores that are not there."""
        known = {name.removeprefix("scores_") for name in names if name.startswith("scores_")}
        if not known:
            raise UsageError("aitqe_score compares scores: add inputs scores_NAME")
        if unknown := [name for name in self.columns if name not in known]:
            raise UsageError(f"columns: there is no input scores_{unknown[0]}")


def score(config: ScoreConfig, context: StepContext) -> None:
    """Write every figure and its interval to `context.output`, and fill the report.

    Raises UsageError without scores; DataError for samples or scores that cannot be joined.
    """
    config.check_inputs(context.inputs)
    samples = read_samples(context.inputs["dataset"], config.split)
    if not len(samples.twins):
        raise DataError(f"{context.inputs['dataset'].ref}: split {config.split!r} has no twins")
    if unknown := sorted(set(config.unseen) - set(samples.damages)):
        known = ", ".join(sorted(set(samples.damages) - {""}))
        if len(unknown) == len(set(config.unseen)):
            raise DataError(f"unseen: no sample has the damage {unknown[0]!r}; there are {known}")
        # Which kinds of damage apply follows from the texts: a small split may lack one that was held out.
        lacking = ", ".join(unknown)
        logger.warning("%s: unseen: no sample has the damage %s; there are %s", context.step, lacking, known)
    methods = _methods(config, context, samples)
    weights = np.concatenate(
        [np.ones((1, len(samples.ids))), scorer.resamples(samples.clusters, config.bootstrap, config.seed)]
    )
    draws = {name: _draws(config, samples, method, weights) for name, method in methods.items()}
    first = next(iter(draws))
    for name, own in draws.items():
        if name != first:
            own |= {f"{one}, minus {first}": own[one] - draws[first][one] for one in ("twin_accuracy", "auroc")}
    figures = {name: {one: (float(values[0]), *interval(values[1:])) for one, values in own.items()}
               for name, own in draws.items()}  # fmt: skip
    plain = {name: {k: [_plain(v) for v in values] for k, values in own.items()} for name, own in figures.items()}
    rows = [
        {"method": name, "figure": figure, "value": value, "low": low, "high": high}
        for name, own in plain.items() for figure, (value, low, high) in own.items()
    ]  # fmt: skip
    write_parquet(rows, context.output / "data", "figures")
    write_json({"methods": plain}, context.output / "scores.json")
    _report(config, context, samples, figures)
    overall = {name: method.values[ASPECTS[0]] for name, method in methods.items()}
    score_plots.add(context.report, samples, overall, {name: method.scaled for name, method in methods.items()})


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Method(NamedTuple):
    """Scores by aspect, `overall` first; `scaled`: they are on the scale of 1 to 10."""

    values: Mapping[str, Array]
    scaled: bool


def _methods(config: ScoreConfig, context: StepContext, samples: Samples) -> dict[str, Method]:
    """The methods by name: an input with the scores of aitqe_rate, else a column."""
    names = [name.removeprefix("scores_") for name in context.inputs if name.startswith("scores_")]
    order = config.order or names
    if sorted(order) != sorted(names):
        raise UsageError(f"order names {', '.join(order)}, and the inputs are {', '.join(names)}")
    methods: dict[str, Method] = {}
    for name in order:
        columns = config.columns.get(name, [])
        values = read_scores(context.inputs[f"scores_{name}"], config.split, samples.ids, columns)
        if not columns and ASPECTS[0] in values:
            methods[name] = Method({aspect: values[aspect] for aspect in ASPECTS if aspect in values}, True)
            continue
        methods |= {f"{name}: {column}": Method({ASPECTS[0]: one}, False) for column, one in values.items()}
    if empty := [name for name, one in methods.items() if np.isnan(one.values[ASPECTS[0]]).all()]:
        raise DataError(f"method {empty[0]!r} has no score at all: leave it out")
    return methods


def _draws(config: ScoreConfig, samples: Samples, method: Method, weights: Array) -> dict[str, Array]:
    """Figure -> its values by row of the weights, of which the first is of the samples themselves."""
    overall, twins = method.values[ASPECTS[0]], samples.twins
    known = ~np.isnan(overall)
    good = np.array([kind in GOOD for kind in samples.kinds])
    some = weights[:, known]
    draws = {
        "parse_rate": scorer.mean(known, weights),
        "auroc": scorer.auroc(overall[known], good[known], some),
        "twin_accuracy": _twins(overall, twins, weights),
    }
    bad = [samples.damages[place] for place in twins[:, 1]]
    for damage in sorted(set(bad)):
        draws[f"{BY_DAMAGE}{damage}"] = _twins(overall, twins[[one == damage for one in bad]], weights)
    if config.unseen:
        for name, wanted in (("seen", False), ("unseen", True)):
            chosen = twins[[(one in config.unseen) == wanted for one in bad]]
            draws[f"{BY_DAMAGE}{name} damage"] = _twins(overall, chosen, weights)
    for kind in KINDS:
        of = known & np.array([one == kind for one in samples.kinds])
        draws[f"mean, {kind}"] = scorer.mean(overall[of], weights[:, of])
    target = samples.targets[ASPECTS[0]]
    both = known & ~np.isnan(target)
    draws["spearman"] = scorer.spearman(overall[both], target[both], weights[:, both])
    for aspect, own in method.values.items() if method.scaled else ():
        target = samples.targets[aspect]
        both = ~np.isnan(own) & ~np.isnan(target)
        if not both.any():
            continue
        part, end = weights[:, both], "" if aspect == ASPECTS[0] else f", {aspect}"
        draws[f"mae{end}"] = scorer.absolute_error(own[both], target[both], part)
        draws[f"qwk{end}"] = scorer.quadratic_kappa(own[both], target[both], part)
        if end:
            draws[f"spearman{end}"] = scorer.spearman(own[both], target[both], part)
        else:
            draws["calibration"] = scorer.calibration_error(own[both], target[both], part)
    return draws


def _twins(overall: Array, twins: Any, weights: Array) -> Array:
    """Accuracy over twins; of one image are both, so that they are drawn together."""
    return scorer.twin_accuracy(overall[twins[:, 0]], overall[twins[:, 1]], weights[:, twins[:, 1]])


def shown(figure: Figure | None) -> str:
    """ "0.81 (0.76 to 0.86)"; a dash for what is not defined."""
    if figure is None or not math.isfinite(figure[0]):
        return "–"
    value, low, high = figure
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if math.isfinite(low) else f"{value:.2f}"


def _report(
    config: ScoreConfig, context: StepContext, samples: Samples, figures: Mapping[str, Mapping[str, Figure]]
) -> None:
    report, source = context.report, context.inputs["dataset"].ref
    report.card["pretty_name"] = "Scores of image-text pairs, compared"
    report.card["tags"] = ["evaluation", "image-text", "aitqe"]
    report.columns |= {
        "method": "an input, or INPUT: COLUMN",
        "figure": "what is measured: twin_accuracy, auroc, spearman, mae and calibration (points), qwk, parse_rate, "
        "or the mean score of a kind",
        "value": "of all samples; null if it is not defined",
        "low": "lower end of the 95 % interval; null without resamples",
        "high": "upper end of the 95 % interval; null without resamples",
    }
    images = len(set(samples.clusters))
    report.summary = (
        f"{', '.join(figures)} on the split {config.split} of `{source}`: {len(samples.ids)} samples of {images} "
        f"images, {len(samples.twins)} twins. Intervals of 95 % draw whole images. A twin without a score is lost."
    )
    report.counts |= {"samples": len(samples.ids), "twins": len(samples.twins), "images": images}
    for name, own in figures.items():
        for figure in ("twin_accuracy", "auroc", "spearman", "mae", "parse_rate"):
            if figure in own:
                report.metrics[f"{name}/{figure}"] = _plain(own[figure][0])
    report.chance |= {f"{name}/{figure}": 0.5 for name in figures for figure in ("twin_accuracy", "auroc")}
    whole = ("twin_accuracy", "auroc", "spearman", "mae", "qwk", "calibration", "parse_rate")
    heads = ["method", "twins in order", "AUROC", "Spearman", "error in points", "QWK", "calibration", "scored"]
    note = "QWK: Cohen's kappa with quadratic weights. Calibration: mean gap of score and target by bin, in points."
    rows = [[name, *(shown(own.get(one)) for one in whole)] for name, own in figures.items()]
    report.table("Methods", heads, rows, note)
    first, *others = figures
    pair = ("twin_accuracy", "auroc")
    rows = [[name, *(shown(figures[name][f"{one}, minus {first}"]) for one in pair)] for name in others]
    if rows:
        report.table(f"Minus {first}", ["method", "twins in order", "AUROC"], rows, "On the same resamples.")
    groups = [name for name in figures[first] if name.startswith(BY_DAMAGE)]
    names = [name.removeprefix(BY_DAMAGE) for name in groups]
    names = [f"{name} *" if name in config.unseen else name for name in names]
    rows = [[title, *(shown(own[g]) for own in figures.values())] for title, g in zip(names, groups, strict=True)]
    note = "* no method was trained on it." if config.unseen else ""
    report.table("Twins in order, by damage", ["damage", *figures], rows, note)
    means = [[kind, *(shown(own[f"mean, {kind}"]) for own in figures.values())] for kind in KINDS]
    report.table("Mean score by kind", ["kind", *figures], means)
    series = {name: [[_plain(v) for v in own[group]] for group in groups]
              for name, own in figures.items()}  # fmt: skip
    report.bars.append({"title": "Twins in order, by damage", "y": "share", "groups": names, "series": series})
