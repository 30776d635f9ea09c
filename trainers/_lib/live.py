"""The loss as a curve in a terminal, and which figures stand below it."""

import math
from collections.abc import Sequence

# key of the log: (name, format)
FIGURES = {
    "loss": ("loss", "{:.4g}"),
    "eval_loss": ("eval loss", "{:.4g}"),
    "eval_accuracy": ("accuracy", "{:.4f}"),
    "tokens_per_second": ("tokens/s", "{:,.0f}"),
    "learning_rate": ("lr", "{:.2e}"),
    "grad_norm": ("|gradient|", "{:.3g}"),
    "peak_memory_gib": ("peak GiB", "{:.2f}"),
}


def plot(
    values: Sequence[float], width: int = 75, height: int = 8, scale: tuple[float, float] | None = None
) -> list[str]:
    """Lines of a curve with its axes, drawn by plotext; values that are not finite are left out.

    Args:
        values: in order; more than four per character are averaged.
        width: characters, with the axis.
        height: lines, without the axis.
        scale: lowest and highest value of the plot; None: those of the values.
    """
    import numpy as np
    import plotext

    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height + 3)
    if scale is not None:
        plotext.ylim(*scale)
    parts = np.array_split(finite, min(len(finite), 4 * width))
    plotext.plot(
        [len(values) * (n + 1) / len(parts) for n in range(len(parts))], [p.mean() for p in parts], marker="braille"
    )
    return [line.rstrip() for line in plotext.uncolorize(plotext.build()).splitlines() if line.strip()]
