"""Plots are readable on a light and on a dark page: what is drawn contrasts with a panel that is their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubwright.model_cards import plots


def luminance(colour: str) -> float:
    """Relative luminance (0 to 1) of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [*plots.COLOURS, plots.INK])
def test_colours_contrast_with_the_panel(colour: str) -> None:
    assert contrast(colour, plots.PANEL) >= 4.5


@pytest.mark.parametrize("shape", ["lines", "bars", "radar"])
def test_plot_has_an_opaque_panel_and_no_other_colours_of_text(tmp_path: Path, shape: str) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.image import imread
    from matplotlib.text import Text

    report = {"curves": [{"title": "T", "x": "x", "y": "y", "series": {"a": [[0, 1], [1, 2]], "b": [[0, 2], [1, 1]]}}]}
    if shape != "lines":
        chart = {
            "title": "T",
            "y": "y",
            "groups": ["a", "b", "c"],
            "series": {"m": [[1, 0, 2]] * 3, "n": [[2, 1, 3]] * 3},
        }
        report = {"bars": [chart | {"shape": shape}]}
    drawn: list[Text] = []
    with pytest.MonkeyPatch.context() as patch:
        draw = Text.draw
        patch.setattr(Text, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer))[1])
        (name,) = plots.write(report, tmp_path)
    pixels = imread(tmp_path / name)
    assert pixels.shape[2] == 3 or float(pixels[..., 3].min()) == 1.0
    corner = "#" + "".join(f"{round(float(part) * 255):02x}" for part in pixels[0, 0, :3])
    assert corner == plots.PANEL
    assert {to_hex(text.get_color()) for text in drawn if text.get_text()} == {plots.INK}


def test_a_mark_is_a_dashed_upright_at_its_place(tmp_path: Path) -> None:
    import numpy as np
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    def dark(marks: dict[str, float], folder: Path) -> np.ndarray:
        curve = {"title": "T", "x": "x", "y": "y", "series": {"a": [[0, 0.5], [10, 0.5]]}}
        (name,) = plots.write({"curves": [curve | {"marks": marks}]}, folder)
        pixels = imread(folder / name)[..., :3]
        return np.all(np.abs(pixels - np.array(to_rgb(plots.INK))) < 0.1, axis=2).sum(axis=0)

    plain, marked = dark({}, tmp_path / "plain"), dark({"t = 2.5": 2.5}, tmp_path / "marked")
    assert len(plain) == len(marked)
    spine, upright = int(np.argmax(plain)), int(np.argmax(marked - plain))
    assert marked[upright] > 100  # most of the height is ink, with gaps
    place = (upright - spine) / (len(marked) - spine)
    assert 0.2 < place < 0.35  # 2.5 of 10, with the axes' margins
