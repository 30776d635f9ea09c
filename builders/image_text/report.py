"""What the step tells about its result: licences and pixels, URLs that are gone, images that look the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from .._lib.cards import add_sources, describe
from .._lib.image_fetching import Survival
from .._lib.image_licences import card_licence, with_pixels
from .._lib.rejections import Rejections
from .sides import Sides

if TYPE_CHECKING:
    from .build import ImageTextConfig

ONCE = {
    "exact": "Rows with the same image and text are there once.",
    "near": "Of images that look the same the first is there.",
    None: "The same pair may be there several times.",
}


def describe_rows(
    config: ImageTextConfig,
    context: StepContext,
    splits: Mapping[str, Any],
    origins: Sequence[str],
    pixels: Counter[tuple[str, str]],
    survival: Survival,
    rejections: Rejections,
    sides: Sides,
) -> None:
    """Fill in the report.

    Args:
        pixels: (licence, "published" or why not) -> rows whose image was at hand.
    """
    report = context.report
    rows = sum(map(len, splits.values()))
    how = "by a hash of the image; images that look the same are in one" if config.splits else "the source's own"
    shown = sum(map(with_pixels, splits.values()))
    describe(report, __file__, rows=rows, pixels=shown, splits=how, once=ONCE[config.deduplicate])
    report.card |= {"language": list(config.language)} if config.language else {}
    report.card |= card_licence(config.license, pixels)
    if config.keep:
        report.columns["meta"] = f"JSON of the source's columns {', '.join(config.keep)}"
    add_sources(report, origins)
    rejections.describe(report)
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    report.counts |= {"rows_with_pixels": shown, "rows_with_an_image_at_hand": pixels.total()}
    report.counts |= {"images_that_look_like_another": sides.looks, "such_groups_in_several_splits": sides.across}
    if pixels:
        table = [[licence, fate, count] for (licence, fate), count in pixels.most_common()]
        note = "Rows whose image was at hand, those that look like another image included."
        report.table("Licences of the images", ["licence", "pixels", "rows"], table, note)
    if config.fetch:
        _survival(report, survival)


def _survival(report: Any, survival: Survival) -> None:
    """How many URLs are gone, why, and how the texts of both differ."""
    total = survival.rows.total()
    table = [[reason, count, f"{count / total:.1%}"] for reason, count in survival.dead.most_common()]
    table.insert(0, ["alive", survival.rows[True], f"{survival.rows[True] / total:.1%}" if total else "-"])
    note = "What is left of a list of URLs is no sample of it: compare the texts below."
    report.table("URLs that still give an image", ["outcome", "URLs", "share"], table, note)
    report.counts |= {"urls_asked": total, "urls_dead": survival.rows[False]}
    sums = (("words per text", survival.words), ("characters per text", survival.characters),
            ("share of texts in ASCII", survival.ascii))  # fmt: skip
    means = [[name, *(_mean(values[alive], survival.rows[alive]) for alive in (True, False))] for name, values in sums]
    report.table("Texts of URLs that are alive and dead", ["mean", "alive", "dead"], means)


def _mean(value: int, count: int) -> float | None:
    return round(value / count, 3) if count else None
