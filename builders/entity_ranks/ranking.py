"""The images of a split, ranked batch by batch, and what their rows get of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.pace import Pace
from ...inference.media.images import open_image
from .._lib.splits import unit_hash
from .measures import Measures, buckets, measure, subsets
from .names import Names

if TYPE_CHECKING:
    from .build import EntityRanksConfig

COLUMNS = ("rank", "similarity", "probability", "margin", "bucket", "subsets", "encoder", "fault")


class Ranked:
    """The images of a split that have a rank.

    Attributes:
        row: number of the first row of each.
        of: for each row of the split the number of its image; -1 if that has none.
        encoders: input of each image's encoder.
        faults: row -> why it has no rank.
        broken: rows whose image cannot be opened.
    """

    def __init__(self) -> None:
        self.row, self.of, self.entity = array("q"), array("q"), array("q")
        self.rank, self.similarity, self.probability, self.margin = array("q"), array("d"), array("d"), array("d")
        self.encoders: list[str] = []
        self.orders = array("d")
        self.faults: dict[int, str] = {}
        self.broken: set[int] = set()

    def measures(self) -> Measures:
        """All images' measures."""
        numbers = (self.rank, self.similarity, self.probability, self.margin)
        return Measures(*(np.array(values) for values in numbers))


def rank(
    config: EntityRanksConfig, rows: Any, names: Names, encoders: Mapping[str, tuple[Any, np.ndarray]], what: str
) -> Ranked:
    """Ranks of the images of a split, batch by batch."""
    needed = [config.id, "image", config.entity, *filter(None, (config.group, config.fold))]
    ranked, last, waiting = Ranked(), None, list[tuple[str, Any, int, np.ndarray]]()
    pace = Pace(what, "rows", total=len(rows))
    for number, row in enumerate(rows.select_columns(list(dict.fromkeys(needed)))):
        pace.add(1)
        key = None if row[config.id] is None else str(row[config.id])
        if key is not None and last is not None and last[0] == key:
            ranked.of.append(last[1])
            if last[1] < 0:
                ranked.faults[number] = last[2]
                if last[3]:
                    ranked.broken.add(number)
            continue
        fault = ""
        try:
            own, candidates = names.of(row)
            role = "encoder" if config.fold is None else f"encoder_{row[config.fold]}"
            if role not in encoders:
                raise RowRejected("no encoder ranks its fold", row[config.fold or ""])
            value = row["image"]
            content = value if isinstance(value, bytes | None) else value.get("bytes")
            if content is None:
                raise RowRejected("its pixels are not in the data set")
            ranked.broken.add(number)
            image = open_image(content, config.image_limits())
            ranked.broken.discard(number)
        except RowRejected as error:
            fault = ranked.faults[number] = error.reason
            last = key, -1, fault, number in ranked.broken
            ranked.of.append(-1)
            continue
        last = key, len(ranked.row), "", False
        ranked.of.append(len(ranked.row))
        ranked.row.append(number)
        ranked.entity.append(own)
        ranked.encoders.append(role)
        ranked.orders.append(unit_hash(f"{config.seed}:{key if key is not None else number}"))
        waiting.append((role, image, own, candidates))
        if len(waiting) == config.batch:
            _measure(ranked, waiting, encoders)
            waiting.clear()
    _measure(ranked, waiting, encoders)
    return ranked


def _measure(
    ranked: Ranked, batch: Sequence[tuple[str, Any, int, np.ndarray]], encoders: Mapping[str, tuple[Any, np.ndarray]]
) -> None:
    """Append the measures of a batch, in its order."""
    results: dict[int, tuple[Any, ...]] = {}
    for role, (encoder, vectors) in encoders.items():
        places = [place for place, (own, *_) in enumerate(batch) if own == role]
        if not places:
            continue
        cosines = encoder.images(batch[place][1] for place in places) @ vectors.T
        if not np.isfinite(cosines).all():
            raise DataError(f"input {role}: its vectors are not finite: the encoder's training has diverged")
        true, among = np.array([batch[p][2] for p in places]), np.stack([batch[p][3] for p in places])
        results |= dict(zip(places, zip(*measure(cosines, true, among, encoder.scale), strict=True), strict=True))
    for place in range(len(batch)):
        rank, similarity, probability, margin = (value.item() for value in results[place])
        ranked.rank.append(rank)
        ranked.similarity.append(similarity)
        ranked.probability.append(probability)
        ranked.margin.append(margin)


def added(config: EntityRanksConfig, ranked: Ranked, least: float) -> Iterator[dict[str, Any]]:
    """The new columns of each row of a split."""
    measures = ranked.measures()
    bucket = buckets(measures.rank, measures.probability, least, config.unknown_from)
    chosen = subsets(measures, bucket, np.array(ranked.entity), np.array(ranked.orders), config.share)
    empty = dict.fromkeys(COLUMNS) | {"subsets": []}
    for number, place in enumerate(ranked.of):
        if place < 0:
            # The bytes of a broken image would end every loop over the published rows.
            yield empty | {"fault": ranked.faults[number]} | ({"image": None} if number in ranked.broken else {})
            continue
        yield {
            "rank": int(measures.rank[place]), "similarity": float(measures.similarity[place]),
            "probability": float(measures.probability[place]), "margin": float(measures.margin[place]),
            "bucket": str(bucket[place]), "subsets": [name for name, mask in chosen.items() if mask[place]],
            "encoder": ranked.encoders[place], "fault": None,
        }  # fmt: skip
