"""Tables and plots of what `kv_experiments` trained. A result holds `metrics` and the curves `loss` and `accuracy`."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Results = dict[str, dict[str, Any]]
# Two-sided 95 % points of Student's t, by the number of values.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
LOSSES = ("text", "stability", "retrofit")
KINDS = ("now", "induction", "value_before", "before")


def groups(results: Results) -> dict[str, dict[int, dict[str, Any]]]:
    """Runs by what they are and by seed: a name is WHAT#SEED."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for name, result in results.items():
        what, _, seed = name.partition("#")
        found[what][int(seed)] = result
    return dict(found)


def table(experiment: str, results: Results) -> str:
    """Mean and range over seeds: final accuracy or loss, and the first step at which 0.95 was reached."""
    key = "loss" if experiment in LOSSES else "accuracy"
    lines = [
        f"| {experiment} | seeds | final {key} (range) | steps to 0.95 (range) | seconds |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, members in groups(results).items():
        whole = [m for m in members.values() if "diverged" not in m]
        first = [next((step for step, value in m["accuracy"] if value >= 0.95), None) for m in whole]
        reached = [step for step in first if step is not None]
        few = f", {len(reached)} of {len(members)}" if len(reached) < len(members) else ""
        lost = f", {len(members) - len(whole)} diverged" if len(whole) < len(members) else ""
        cells = [
            what,
            str(len(members)),
            _spread([m[key][-1][1] for m in whole], "{:.4f}") + lost,
            _spread(reached, "{:.0f}") + few if key == "accuracy" else "–",
            f"{sum(m['metrics']['train_seconds'] for m in whole):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def gains(results: Results, base: str) -> str:
    """Loss against `base`, seed by seed on the same data, and how soon the base's final loss is reached.

    Names are [SIZE, ]VARIANT[, RATE]#SEED. The interval is Student's over the seeds' differences.
    """
    found = groups(results)
    lines = [
        f"| | seeds | loss minus that of {base} (95 % interval) | steps to its final loss, of its own (range) |",
        "|---|---:|---:|---:|",
    ]
    for what, reference, members in _pairs(found, base):
        seeds = [s for s in members if s in reference and "loss" in members[s] and "loss" in reference[s]]
        if not seeds:
            continue
        differences = [members[s]["loss"][-1][1] - reference[s]["loss"][-1][1] for s in seeds]
        mean = statistics.fmean(differences)
        half = STUDENT[len(seeds)] * statistics.stdev(differences) / len(seeds) ** 0.5 if len(seeds) > 1 else None
        interval = f" ({mean - half:+.4f} to {mean + half:+.4f})" if half is not None else ""
        shares = [share_of_steps(members[s]["loss"], reference[s]["loss"][-1][1]) for s in seeds]
        there = [x for x in shares if x is not None]
        few = f", {len(there)} of {len(shares)}" if len(there) < len(shares) else ""
        lines.append(f"| {what} | {len(seeds)} | {mean:+.4f}{interval} | {_spread(there, '{:.2f}')}{few} |")
    return "\n".join(lines)


def share_of_steps(curve: list[list[float]], goal: float) -> float | None:
    """First step at which a curve is at or below `goal`, straight lines between its points, over its last step."""
    last = curve[-1][0]
    for (left, high), (right, low) in itertools.pairwise(curve):
        if low <= goal:
            part = 0.0 if high <= goal else (high - goal) / (high - low)
            return (left + part * (right - left)) / last
    return None


def pairs(results: Results) -> str:
    """The paper's table 4 over the seeds of every kind of run that has key-value pairs."""
    lines = [
        "| | pairs | both of this position | induction | value of the one before | both of the one before |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what, members in groups(results).items():
        counts = [
            sum(m["metrics"][f"kv_pairs_{kind}"] for m in members.values() if "kv_pairs_now" in m.get("metrics", {}))
            for kind in KINDS
        ]
        if sum(counts):
            cells = [f"{n} ({n / sum(counts):.0%})" for n in counts]
            lines.append(f"| {what} | {sum(counts)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pairs(found: dict[str, dict], base: str) -> Iterator[tuple[str, dict, dict]]:
    for what, members in found.items():
        parts = what.split(", ")
        for place in range(len(parts)):
            reference = ", ".join([*parts[:place], base, *parts[place + 1 :]])
            if reference != what and reference in found:
                yield what, found[reference], members


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "–"
    mean = form.format(sum(values) / len(values))
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else mean


def plot(experiment: str, results: Results, path: Path) -> None:
    """A line per run, a colour per kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    key = "loss" if experiment in LOSSES else "accuracy"
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for number, (what, members) in enumerate(groups(results).items()):
        style = "-" if number < 10 else "--"
        label: str | None = what
        for found in members.values():
            if key in found:
                axes.plot(
                    *zip(*found[key], strict=True), style, color=f"C{number % 10}", label=label, alpha=0.7, linewidth=1
                )
                label = None
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("validation loss, nats per token" if key == "loss" else "held-out accuracy")
    axes.set_title(experiment)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
