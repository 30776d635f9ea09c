"""Builder `aitqe_samples`: samples of the four kinds that AITQE (arXiv 2410.16166) is trained on, from pairs.

The negatives are made by generators whose fault is known, so that their labels follow from a table (ours); with a
`teacher` that sees, it labels the texts and their twins, as the paper has GPT-4o do.

    context = local_context(dataset="me/coco-captions@v1.0.0")
    build(SamplesConfig(), context)["train"][0]["kind"]        # 'raw_good'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, did_you_mean
from ...hub_sync.pace import Pace
from ...hub_sync.step import Preview
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.row_writer import RowWriter
from .._lib.tables import dataset_splits
from .._lib.teacher import TeacherConfig
from .captions import Captions
from .draw import Draw
from .samples import ASPECTS, DAMAGES, KINDS, Row

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

TEACHING = {*TeacherConfig.model_fields, "good_from", "max_side"} - {"teacher", "split", "seed"}
"""Settings that do nothing without a teacher."""
COLUMNS = (
    "id", "image", "url", "raw_text", "kind", "damage", "detail", "twin", "recaption", "scores", "explanations",
    "teacher", "prompt_version", "pair", "image_id", "license",
)  # fmt: skip


class SamplesConfig(TeacherConfig):
    """Which faults, how many, and which teacher if any. Defaults are our choice."""

    split: str = Field("all", description="Split of the input `dataset`; all: all of them.")
    damages: tuple[str, ...] = Field(
        tuple(DAMAGES), min_length=1, description="Kinds of damage that are drawn; see damage.yaml."
    )
    held_out: tuple[str, ...] = Field(
        (), description="Kinds of damage that are not drawn in the split train, to test on faults that were not seen."
    )
    pairs_per_text: int = Field(1, ge=1, le=14, description="Twins that are made of each text.")
    raw_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of texts that become bad alt-texts; the others get a fluent and wrong twin.",
    )
    block: int = Field(
        4096, ge=2, description="Texts among which captions of other images are looked for; they are in memory."
    )
    require_image: bool = Field(True, description="Pass over rows whose pixels are not in the data set.")
    good_from: int = Field(7, ge=2, le=10, description="A teacher's overall score from which a text is good.")
    max_side: int = Field(512, ge=32, description="Longer side in pixels of the images that a teacher sees.")
    temperature: float = Field(0.0, ge=0, description="Sampling temperature.")
    json_mode: bool = Field(True, description="Ask for JSON mode.")

    @field_validator("damages", "held_out")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := next((name for name in value if name not in DAMAGES), None):
            raise ValueError(f"{unknown!r} is no kind of damage{did_you_mean(unknown, DAMAGES)}")
        return value

    @model_validator(mode="after")
    def _some_are_seen(self) -> Self:
        if not set(self.damages) - set(self.held_out):
            raise ValueError("held_out leaves no kind of damage for the split train; name fewer")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line for a setting that would do nothing."""
        has_teacher = self.teacher is not None or "teacher" in names
        idle = sorted(self.model_fields_set & ({"raw_share", "pairs_per_text"} if has_teacher else TEACHING))
        if idle:
            raise ValueError(f"{idle[0]} does nothing {'with' if has_teacher else 'without'} a teacher; leave it out")

    def preview(self, inputs: dict[str, Preview]) -> Preview:
        """Columns of the samples. Raises DataError for an input of another step."""
        columns = inputs["dataset"].columns if "dataset" in inputs else ()
        if columns and not {"text", "sha256", "phash"} <= set(columns):
            name = inputs["dataset"].name
            raise DataError(f"{name}: has no columns text, sha256 and phash; give a data set of `uses: image_text`")
        return Preview(columns=COLUMNS)


def features() -> Features:
    """Columns and types of the samples."""
    from datasets import Features, Image, Value

    text, number = Value("string"), Value("int32")
    types: dict[str, Any] = dict.fromkeys(COLUMNS, text)
    types |= {"image": Image(), "scores": dict.fromkeys(ASPECTS, number), "explanations": dict.fromkeys(ASPECTS, text)}
    return Features(types)


def build(config: SamplesConfig, context: StepContext | None = None) -> DatasetDict:
    """Make twins of every text of the input `dataset`, rows of `image_text`. Returns its splits.

    Raises:
        UsageError: no input, a setting that would do nothing, or a teacher that cannot be served.
        DataError: an input of another step, or none of its texts can be used; none of the teacher's replies can be
            used, or too many requests failed.
    """
    context = context or local_context()
    if "dataset" not in context.inputs:
        raise UsageError(f"step {context.step}: give the input `dataset`, rows of `uses: image_text`")
    try:
        config.check_inputs(context.inputs)
    except ValueError as error:
        raise UsageError(f"step {context.step}: {error}") from error
    source = context.inputs["dataset"]
    teacher = None
    if config.teacher or "teacher" in context.inputs:
        from .teaching import Teacher

        teacher = Teacher(config, context)
    writer, counts, draws = RowWriter(context.workdir / "rows", features()), Counter[str](), dict[str, Draw]()
    for split, rows in dataset_splits(source, context, None, None if config.split == "all" else config.split):
        captions = Captions(rows, f"{source.ref}: split {split!r}", config.require_image)
        counts["texts_read"] += len(rows)
        counts["texts_without_pixels"] += captions.passed
        kinds = [kind for kind in config.damages if split != "train" or kind not in config.held_out]
        draw = draws.setdefault(split, Draw(kinds, config.raw_share, config.seed))
        plans = teacher.plans(split, captions, draw) if teacher else _plans(config, captions, draw, counts)
        for number, good, bad in Pace(f"{context.step} {split}", "pairs").over(plans):
            row = captions.rows[number]
            more = {name: row[name] for name in ("image", "url", "license")}
            more |= {"pair": row["id"], "image_id": row["sha256"] or row["url"]}
            for sample in (good, bad):
                writer.write(split, sample | more)
                counts[f"{sample['kind']}_rows"] += 1
    if not writer.counts:
        raise DataError(
            f"{source.ref}: none of {counts['texts_read']} texts makes a sample ({counts['texts_without_pixels']} "
            "have no pixels); set pixel_licenses or unlicensed_pixels of image_text, or require_image: false"
        )
    counts += teacher.counts if teacher else Counter()
    splits = writer.finish()
    _report(config, context, counts, draws, teacher.name if teacher else "")
    return splits


def _plans(
    config: SamplesConfig, captions: Captions, draw: Draw, counts: Counter[str]
) -> Iterator[tuple[int, Row, Row]]:
    """(row of the data set, good sample, bad sample) with labels of the table."""
    for block in captions.blocks(config.block):
        for place, number in enumerate(block.rows):
            count = 0
            for good, bad in draw.pairs(block, place, config.pairs_per_text):
                count += 1
                yield number, good, bad
            counts["texts_used"] += count > 0
            counts["texts_that_no_damage_applies_to"] += count == 0


def _report(
    config: SamplesConfig, context: StepContext, counts: Counter[str], draws: dict[str, Draw], teacher: str
) -> None:
    report = context.report
    labels = f"a teacher's ({teacher})" if teacher else "of a table (ours)"
    describe(report, __file__, rows=sum(counts[f"{kind}_rows"] for kind in KINDS), labels=labels)
    report.counts |= {name: count for name, count in counts.items() if count or name == "texts_used"}
    kinds: Iterable[str] = dict.fromkeys(config.damages)
    table = [[kind, DAMAGES[kind], *(draw.used[kind] for draw in draws.values()),
              sum(draw.not_applicable[kind] for draw in draws.values())] for kind in kinds]  # fmt: skip
    columns = ["damage", "group", *draws, "not applicable"]
    note = "Kinds are drawn by turns; not applicable: texts that have nothing of the kind, such as no colour."
    report.table("Samples by damage", columns, table, note)
