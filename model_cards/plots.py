"""Plots for cards: curves, scores with intervals, and radars, as PNG files with the same bytes for the same data.

A plot has a light panel of its own, so it reads the same on a light and on a dark page. No colour on a transparent
ground could: between white and #0d1117 the contrast is 18.9, so one that differs equally from both reaches 4.35 (its
root), below the 4.5 that WCAG asks for text.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "plots"
PANEL, INK = "#f6f8fa", "#24292f"
# Hues of Okabe and Ito, told apart with any colour vision, as dark as a contrast of 4.5 to the panel asks for.
COLOURS = ("#0072B2", "#B34E00", "#007A59", "#A8457F", "#8A5F00", "#5B6E8C", "#000000")
_SIZE = (6.4, 3.4)


def file_name(title: str) -> str:
    """The plot's path in the repository: the title in lower case with hyphens."""
    return f"{FOLDER}/{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-') or 'plot'}.png"


def write(report: dict[str, Any], folder: Path) -> list[str]:
    curves = [_draw(folder, curve, _lines) for curve in report.get("curves", [])]
    shapes = {"bars": _bars, "radar": _radar}
    return curves + [_draw(folder, chart, shapes[chart.get("shape", "bars")]) for chart in report.get("bars", [])]


def _draw(folder: Path, plot: dict[str, Any], fill: Callable[[Any, dict[str, Any]], None]) -> str:
    # The object interface, not pyplot: no global state, no display, safe in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=110, layout="constrained", facecolor=PANEL)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(projection="polar" if fill is _radar else None)
    fill(axes, plot)
    axes.set_facecolor(PANEL)
    axes.set_title(plot["title"], fontsize=11, loc="left", color=INK)
    axes.grid(True, alpha=0.25)
    axes.tick_params(colors=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
    for spine in axes.spines.values():
        spine.set_edgecolor(INK)
    for side in {"top", "right"} & axes.spines.keys():
        axes.spines[side].set_visible(False)
    name = file_name(plot["title"])
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return name


def _lines(axes: Any, curve: dict[str, Any]) -> None:
    for colour, (label, points) in zip(COLOURS * 9, curve["series"].items(), strict=False):
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        axes.plot(xs, ys, color=colour, label=label, linewidth=1.6, marker="o" if len(xs) < 15 else None, markersize=3)
    marks = curve.get("marks", {})
    for label, x in marks.items():
        axes.axvline(x, color=INK, label=label, linewidth=1.2, linestyle="--")
    axes.set_xlabel(curve["x"])
    axes.set_ylabel(curve["y"])
    if len(curve["series"]) > 1 or marks:
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def _bars(axes: Any, chart: dict[str, Any]) -> None:
    """`{"title", "y", "groups": [str], "series": {name: [[value, low, high] or None, ...]}}`, 95 % intervals."""
    groups, series = chart["groups"], chart["series"]
    width = 0.8 / max(1, len(series))
    for i, (colour, (label, values)) in enumerate(zip(COLOURS * 9, series.items(), strict=False)):
        for g, value in enumerate(values):
            if value is None or value[0] is None:
                continue
            height, low, high = value
            x = g - 0.4 + width * (i + 0.5)
            spread = None if low is None or high is None else [[max(0, height - low)], [max(0, high - height)]]
            axes.bar(
                x,
                height,
                width * 0.9,
                color=colour,
                yerr=spread,
                ecolor=INK,
                capsize=2,
                label=label if g == 0 else None,
            )
    axes.set_xlim(-0.5 - max(0, 3 - len(groups)) * 0.4, len(groups) - 0.5 + max(0, 3 - len(groups)) * 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(groups)), groups, fontsize=8, rotation=20 if len(groups) > 4 else 0)
    axes.set_ylabel(chart["y"])
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def _radar(axes: Any, chart: dict[str, Any]) -> None:
    """A chart of `_bars` with a spoke per group and a line per series, from 0 outwards; without intervals."""
    groups = chart["groups"]
    angles = [2 * math.pi * n / len(groups) for n in range(len(groups))]
    for colour, (label, values) in zip(COLOURS * 9, chart["series"].items(), strict=False):
        heights = [math.nan if value is None or value[0] is None else value[0] for value in values]
        axes.plot([*angles, angles[0]], [*heights, heights[0]], color=colour, label=label, linewidth=1.6)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, groups, fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(chart["y"], fontsize=8)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="center left", bbox_to_anchor=(1.12, 0.5))
