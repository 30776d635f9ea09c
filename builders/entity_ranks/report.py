"""What the card of `entity_ranks` says: counts, ranks by entity, and images of both buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.errors import RowRejected
from ...hub_sync.provenance import source_columns
from ...inference.media.contact_sheet import contact_sheet
from ...inference.media.images import open_image
from .._lib.cards import describe
from .measures import KNOWN, UNKNOWN, buckets
from .names import Names, candidate_hash
from .ranking import COLUMNS, Ranked

if TYPE_CHECKING:
    from datasets import DatasetDict

    from .build import EntityRanksConfig

MOST_ENTITIES, GALLERY = 50, 10
FIRST = (1, 2, 3, 5, 10, 20, 50, 100)


def fill(
    config: EntityRanksConfig,
    context: StepContext,
    result: DatasetDict,
    names: Names,
    ranked: Mapping[str, Ranked],
    least: float,
) -> None:
    """Fill the report, and write contact sheets beside the data."""
    report, source = context.report, context.inputs["dataset"]
    measures = [one.measures() for one in ranked.values()]
    rank, probability = (np.concatenate([getattr(one, name) for one in measures]) for name in ("rank", "probability"))
    entity = np.concatenate([np.array(one.entity) for one in ranked.values()])
    bucket = buckets(rank, probability, least, config.unknown_from)
    counts = Counter(bucket.tolist())
    encoders = {role: str(one.ref) for role, one in context.inputs.items() if role != "dataset"}
    describe(
        report, __file__, source=source.ref, names=len(names.names), images=len(rank), known=counts[KNOWN],
        unknown=counts[UNKNOWN], least=least, unknown_from=config.unknown_from,
        encoders=" and ".join(f"`{ref}`" for ref in encoders.values()),
    )  # fmt: skip
    rest = [name for name in next(iter(result.values())).column_names if name not in COLUMNS]
    report.columns = source_columns(source.path, source.ref.repo_id, rest) | report.columns
    faults = Counter(fault for one in ranked.values() for fault in one.faults.values())
    report.counts |= {"rows": sum(map(len, result.values())), "images": len(rank)}
    report.counts |= {f"images {name}": counts[name] for name in sorted(counts)}
    report.counts |= {f"rows without a rank: {reason}": number for reason, number in sorted(faults.items())}
    report.metrics |= {
        "rank_1_share": float((rank == 1).mean()), "median_rank": float(np.median(rank)),
        "known_probability": least, "chance_rank_1_share": 1 / len(names.names),
    }  # fmt: skip
    report.curve("True name among the first", "names", "share of the images", {
        "encoder": [[k, float((rank <= k).mean())] for k in FIRST if k <= len(names.names)],
        "chance": [[k, k / len(names.names)] for k in FIRST if k <= len(names.names)],
    })  # fmt: skip
    _entities(report, names, entity, rank, probability, bucket)
    _subsets(report, result)
    table = [["candidates", candidate_hash(config, names)], *[["template", text] for text in config.templates],
             *[[role, ref] for role, ref in encoders.items()]]  # fmt: skip
    report.table("What decides a rank", ["", ""], table, "The hash is of templates and names.")
    for name in (KNOWN, UNKNOWN):
        _gallery(config, context, result, name)


def _entities(
    report: Any, names: Names, entity: np.ndarray, rank: np.ndarray, probability: np.ndarray, bucket: np.ndarray
) -> None:
    numbers, counts = np.unique(entity, return_counts=True)
    most = numbers[np.argsort(-counts, kind="stable")][:MOST_ENTITIES]
    rows, shares = [], []
    for number in most.tolist():
        own = entity == number
        known, unknown = int((bucket[own] == KNOWN).sum()), int((bucket[own] == UNKNOWN).sum())
        rows.append([names.names[number], int(own.sum()), known, unknown, float(np.median(rank[own])),
                     float(probability[own].mean())])  # fmt: skip
        shares.append((names.names[number], known / own.sum(), unknown / own.sum()))
    note = "" if len(numbers) <= MOST_ENTITIES else f"The {MOST_ENTITIES} with most images, of {len(numbers):,}."
    report.table("By entity", ["name", "images", "known", "unknown", "median rank", "mean probability"], rows, note)
    if len(shares) <= 20:
        report.bars.append({
            "title": "Known and unknown", "y": "share of the images", "groups": [name for name, *_ in shares],
            "series": {KNOWN: [[one, None, None] for _, one, _ in shares],
                       UNKNOWN: [[other, None, None] for *_, other in shares]},
        })  # fmt: skip


def _subsets(report: Any, result: DatasetDict) -> None:
    rows = []
    for split, data in result.items():
        counts = Counter(name for row in data.select_columns(["subsets"]) for name in row["subsets"])
        rows += [[split, name, number] for name, number in sorted(counts.items())]
    report.table("Rows of the subsets", ["split", "subset", "rows"], rows)


def _gallery(config: EntityRanksConfig, context: StepContext, result: DatasetDict, bucket: str) -> None:
    """A sheet of images of a bucket, each of another entity as far as there are some."""
    from .._lib.tables import undecoded

    shown: dict[Any, tuple[Any, list[str]]] = {}
    for data in result.values():
        rows = undecoded(data)
        for number, row in enumerate(rows.select_columns(["bucket", config.entity])):
            if row["bucket"] != bucket or row[config.entity] in shown or len(shown) == GALLERY:
                continue
            whole = rows[number]
            try:
                image = open_image(whole["image"]["bytes"], config.image_limits())
            except (RowRejected, KeyError, TypeError):
                continue
            others = f"rank {whole['rank']}, p {whole['probability']:.2f}"
            shown[row[config.entity]] = image, [str(whole[config.name]), others]
    if contact_sheet(shown.values(), context.output / f"{bucket}.png"):
        body = f"Name, rank and probability.\n\n![Images that are {bucket}]({bucket}.png)"
        context.report.section(f"Images that are {bucket}", body)
