"""What the cards of a probe and of a mixture say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Report, StepContext
from .._lib.cards import describe
from .._lib.data_files import read_yaml
from .._lib.decontamination import decontamination_inputs
from .weights import Choice, Prior

if TYPE_CHECKING:
    from .mixture import Domain, MixtureConfig


def describe_mixture(
    context: StepContext, config: MixtureConfig, mixture: Mapping[str, Any], domains: Sequence[Domain],
    choice: Choice, prior: Prior | None,
) -> None:  # fmt: skip
    """Fill the report of a mixture."""
    report, names = context.report, mixture["domains"]
    tests = [f"`{one.ref}`" for one in decontamination_inputs(context)]
    apart = f" No document shares {config.decontamination_words} words in a row with a question of {', '.join(tests)}."
    describe(report, __file__, "mixture", count=len(names), strategy=config.strategy, unit=config.unit,
             apart=apart if tests else "")  # fmt: skip
    report.columns[mixture["form"]] = read_yaml(__file__, "mixture.yaml")["form_columns"][mixture["form"]]
    for one in domains:
        report.counts |= {f"{one.name}_{split}_rows": count for split, count in one.rows.items()}
        report.metrics[f"weight_{one.name}"] = choice.weights[one.name]
    columns, tokens = ["domain", "weight", "train rows", "held-out rows"], choice.shares["tokens"]
    rows = [[one.name, choice.weights[one.name], one.rows["train"], one.rows["held_out"]] for one in domains]
    if tokens is not None:
        columns += ["train tokens", "held-out tokens", "share of samples", "share of tokens"]
        samples = choice.shares["samples"] or {}
        for row, one in zip(rows, domains, strict=True):
            row += [one.tokens["train"], one.tokens["held_out"], samples[one.name], tokens[one.name]]
    if choice.passes:
        columns.append("passes")
        for row, one in zip(rows, domains, strict=True):
            row.append(choice.passes[one.name])
    report.table("Domains and weights", columns, rows, " ".join(_notes(config, choice, prior)))
    report.table(
        "Weights by strategy", ["strategy", *names],
        [[strategy, *(weights[name] for name in names)] for strategy, weights in choice.strategies.items()],
        "Before floors and caps.",
    )  # fmt: skip
    report.table(
        "Provenance and licences", ["domain", "data set", "sources (documents)", "licences (documents)"],
        [[one.name, f"`{one.source.ref}`", _most(one.sources), _most(one.licences)] for one in domains],
    )  # fmt: skip
    if choice.predicted:
        report.table(
            "Predicted held-out loss (nats per token)",
            ["domain", "this mixture", "proportional", "uniform", "rank correlation, 5 folds"], choice.predicted,
            "By a law fitted to the small runs of the input `runs`; the correlation is of runs that were held out.",
        )  # fmt: skip


def _notes(config: MixtureConfig, choice: Choice, prior: Prior | None) -> list[str]:
    """Sentences about what a reader of the weights has to know."""
    notes = []
    repeated = {name: passes for name, passes in choice.passes.items() if passes > 1}
    if repeated:
        listed = ", ".join(f"{name} {passes:.1f} times" for name, passes in repeated.items())
        notes.append(f"A draw of {config.draw:,} {config.unit} reads {listed}.")
    if prior is not None and prior.outside and config.strategy in ("matched", "inverse"):
        listed = ", ".join(f"{name} {share:.1%}" for name, share in prior.outside.items())
        notes.append(f"The probe's other domains ({listed}) are not in the mixture; the rest was scaled to 1.")
    if choice.weights != choice.strategies[config.strategy]:
        notes.append(f"Floors and caps changed the weights of strategy {config.strategy}.")
    return notes


def _most(counts: Mapping[str, int], limit: int = 5) -> str:
    """The most frequent words with their counts."""
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    further = f", {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(f"{name} ({count:,})" for name, count in listed[:limit]) + further


def describe_probe(report: Report, result: Mapping[str, Any], verdicts: Sequence[Any], min_mass: float) -> None:
    """Fill the report of a probe from its `distribution.json`."""
    settings, judges, domains = result["settings"], result["judges"], result["domains"]
    weak = [f"{one['model']} ({one['mean_mass']:.1%})" for one in judges.values() if one["weak"]]
    warning_text = (
        f"**Do not rely on {', '.join(weak)}: the labels hold less than {min_mass:.0%} of the probability.**"
    )
    describe(report, __file__, "probe", model=settings["model"], start=settings["start"], judge=verdicts[0].model,
             warning=warning_text if weak else "")  # fmt: skip
    own = read_yaml(__file__, "probe.yaml")["judge_columns"]
    for place, one in enumerate(verdicts):
        report.columns |= {f"{name}_{one.name}" if place else name: text for name, text in own.items()}
    judged = result["n"]
    report.counts |= {"samples": judged + sum(result["dropped"].values()), "samples_judged": judged}
    report.counts |= {f"dropped: {reason}": count for reason, count in result["dropped"].items()}
    report.metrics |= {f"share_{name}": result["soft"][name]["share"] for name in domains}
    report.metrics |= {"drop_rate": result["drop_rate"], "mean_mass": judges[verdicts[0].name]["mean_mass"]}
    series = {
        mode: [[result[mode][name][key] for key in ("share", "ci_low", "ci_high")] for name in domains]
        for mode in ("soft", "hard")
        if result[mode][domains[0]]["share"] is not None
    }
    report.bars.append({"title": "Shares of the domains", "y": "share", "groups": list(domains), "series": series})
    rows = [
        [name, mode, domain, *(one[mode][domain][key] for key in ("share", "ci_low", "ci_high"))]
        for name, one in judges.items() for mode in ("soft", "hard") for domain in domains
    ]  # fmt: skip
    report.table(
        "Shares of the domains", ["judge", "label", "domain", "share", "95 % low", "95 % high"], rows,
        "soft: mean of the label probabilities, scaled to sum 1 per sample; hard: one label per sample. Intervals are "
        "of the samples drawn, not of the judge's errors.",
    )  # fmt: skip
    report.table(
        "Judges", ["judge", "model", "mean probability of the labels", "replies off label", "without a soft label",
                   "without a hard label"],
        [[name, f"`{one['model']}`", one["mean_mass"], one["off_label"], *one["unlabelled"].values()]
         for name, one in judges.items()],
    )  # fmt: skip
    if result["agreement"]:
        report.table(
        "Agreement", ["labels", "samples", "equal", "Cohen's kappa", "distance of soft labels"],
        [[name, *(one.get(key) for key in ("n", "equal", "kappa", "distance"))]
         for name, one in result["agreement"].items()],
        "Distance: mean total variation of the probabilities.",
    )  # fmt: skip
