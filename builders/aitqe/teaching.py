"""Twins with a teacher's labels: texts are judged first, then what the generators or the teacher made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...inference.media.images import ImageLimits
from ...inference.row_file import RowFile
from ...inference.serving import serve_input
from ...inference.shards import Failure
from . import labels
from .captions import Captions
from .draw import Draw
from .samples import Row, identity

if TYPE_CHECKING:
    from .build import SamplesConfig

Plan = tuple[int, Row, Row]


class Teacher:
    """A served model that sees.

    Attributes:
        name: for the card and the column `teacher`.
        counts: texts and twins that were left out, by reason; tokens.

    Raises UsageError for one that cannot be served.
    """

    def __init__(self, config: SamplesConfig, context: StepContext) -> None:
        self._config, self._context = config, context
        self._endpoint = serve_input("teacher", config.teacher, config, context)
        self.name = self._endpoint.made_by
        self.counts: Counter[str] = Counter()

    def plans(self, split: str, captions: Captions, draw: Draw) -> Iterator[Plan]:
        """(row of the data set, good sample, bad sample) of every text that the teacher labels, and whose twin it
        finds on the other side of `good_from`.
        """
        texts = ((number, text) for block in captions.blocks(self._config.block)
                 for number, text in zip(block.rows, block.texts, strict=True))  # fmt: skip
        first = self._first(captions, draw, self._ask("label", split, captions, texts))
        plans = RowFile(self._context.workdir, ({"plan": list(plan)} for plan in first))
        twins = ((number, (bad if bad["damage"] else good)["raw_text"])
                 for number, good, bad in (row["plan"] for row in plans))  # fmt: skip
        for row, label in zip(plans, self._ask("score", split, captions, twins), strict=True):
            number, good, bad = row["plan"]
            if label is None:
                continue
            twin = bad if bad["damage"] else good
            is_good = label["scores"]["overall"] >= self._config.good_from
            if is_good != (twin is good):
                self.counts["twins_that_the_teacher_finds_on_the_wrong_side"] += 1
                continue
            twin |= self._signed(label)
            yield number, good, bad

    def _first(self, captions: Captions, draw: Draw, results: Iterator[Row | None]) -> Iterator[Plan]:
        """Twins of every text with a label: by a generator of a good one, by the better text of a bad one."""
        for block in captions.blocks(self._config.block):
            for place, number in enumerate(block.rows):
                label = next(results)
                if label is None:
                    continue
                if label["recaption"] is None:
                    pair = next(draw.pairs(block, place, 1, "contrast"), None)
                    if pair is None:
                        self.counts["texts_that_no_damage_applies_to"] += 1
                        continue
                    good, bad = pair
                    good |= self._signed(label)
                else:
                    good, bad = self._rewritten(str(block.images[place]), block.texts[place], label)
                self.counts["texts_used"] += 1
                yield number, good, bad

    def _rewritten(self, image: str, text: str, label: Row) -> tuple[Row, Row]:
        """The samples of a bad text: its better one, and itself."""
        better = label["recaption"]
        ids = identity(image, f"{better}\n{text}", "contrast_good"), identity(image, text, "raw_bad")
        same: Row = {"damage": None, "detail": None} | self._signed(label)
        good = same | {"id": ids[0], "raw_text": better, "kind": "contrast_good", "twin": ids[1], "recaption": None}
        bad = same | {"id": ids[1], "raw_text": text, "kind": "raw_bad", "twin": ids[0], "recaption": better}
        return good, bad

    def _signed(self, label: Row) -> Row:
        named = {"teacher": self.name, "prompt_version": labels.VERSION}
        return {"scores": label["scores"], "explanations": label["explanations"]} | named

    def _ask(
        self, work: str, split: str, captions: Captions, texts: Iterable[tuple[int, str]]
    ) -> Iterator[Row | None]:
        """The teacher's labels in order; None, and counted, for those that it does not give.

        Raises DataError if it gives none.
        """
        from ...inference.stage import run_stage

        config, context = self._config, self._context

        # The images lie on the disk as text: what is asked is part of a shard's identity, and of the recording.
        asked = ({"n": n, "text": text, "image": self._image(captions.rows[number])}
                 for n, (number, text) in enumerate(texts))  # fmt: skip
        rows = RowFile(context.workdir, asked)
        names = ("seed", "temperature", "max_tokens", "attempts", "json_mode", "good_from")
        result = run_stage(
            f"{labels.__name__}:{work}",
            rows,
            {name: getattr(config, name) for name in names} | {"prompts": labels.VERSION, "split": split},
            endpoint=self._endpoint,
            folder=context.workdir / f"{work}-{split}",
            recording=context.recording or context.workdir / "recording",
            replay=context.replay,
            max_failed=config.max_failed,
            unusable=lambda row: str(row.get("rejected", "")),
            **config.scale(),
        )
        useful = 0
        for outcome in result:
            if isinstance(outcome, Failure):
                self.counts[f"{work}: the endpoint failed"] += 1
                yield None
                continue
            self.counts["tokens_read"] += outcome["used"][0]
            self.counts["tokens_written"] += outcome["used"][1]
            if "rejected" in outcome:
                self.counts[f"{work}: {outcome['rejected']}"] += 1
                yield None
                continue
            useful += 1
            yield outcome
        if len(rows) and not useful:
            reason = max((name for name in self.counts if name.startswith(work)), key=self.counts.__getitem__)
            raise DataError(f"teacher {self.name}: none of {len(rows)} replies can be used ({reason}); ask another")

    def _image(self, row: Row) -> str:
        """The row's image as a data URL. Raises DataError for one that cannot be read: `image_text` makes none."""
        content = (row["image"] or {}).get("bytes")
        if content is None:
            raise DataError(f"row {row['id']}: has no pixels, which a teacher looks at; set require_image: true")
        try:
            return labels.data_url(content, self._config.max_side, ImageLimits(max_bytes=len(content)))
        except RowRejected as error:
            raise DataError(f"row {row['id']}: {error}; build the data set with `uses: image_text`") from error
