"""The loss as a curve in a terminal, and which figures stand below it."""

from collections.abc import Sequence
from itertools import pairwise

HEIGHT, WIDTH = 8, 64
_BLOCKS = " ▁▂▃▄▅▆▇█"
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
    values: Sequence[float], width: int = WIDTH, height: int = HEIGHT, scale: tuple[float, float] | None = None
) -> list[str]:
    """A curve in block characters, highest line first; the ends of its scale stand beside the first and last line.

    Args:
        values: in order; more than `width` of them are averaged to so many columns.
        scale: lowest and highest value of the plot; None: those of the columns.
    """
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)] if count else []
    columns = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = scale or ((min(columns), max(columns)) if columns else (0.0, 0.0))
    span = (high - low) or 1.0
    # The lowest value still draws one eighth of a line.
    levels = [1 + round((value - low) / span * (8 * height - 1)) for value in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        drawn = "".join(_BLOCKS[min(8, max(0, level - 8 * row))] for level in levels)
        label = f"{high:.4g}" if row == height - 1 else f"{low:.4g}" if row == 0 else ""
        lines.append(f"{label:>9} │{drawn}")
    return lines
