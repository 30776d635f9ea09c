"""What a card says of executed call graphs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Report, StepContext
from .._lib.cards import describe
from .._lib.conversation_rows import CHECKS, COLUMNS
from .._lib.function_splits import FUNCTIONS, TEST, TRAIN
from .stubs.card import describe_definitions
from .variants import VARIANTS

if TYPE_CHECKING:
    from .build import Generator


def describe_rows(context: StepContext, generator: Generator, splits: dict[str, Any]) -> None:
    """Fill the report of a step with counts, tables and the summary."""
    report = context.report
    giver = "a typed stub" if generator.read else "a small world with state"
    describe(report, __file__, giver=giver)
    report.columns |= COLUMNS
    if generator.read:
        report.card["source_datasets"] = ["extended"]  # the licence follows from the input
    elif generator.config.tools:  # whose they are, and under what licence, their owner knows
        path = Path(generator.config.tools).expanduser()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        report.section("Functions", f"From a local copy of `{path.name}`, sha256 `{digest}`.")
    else:
        report.card["license"] = "cc0-1.0"
    rows = sum(generator.row_counts.values())
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    report.counts |= {"draws": generator.draws, "rows_accepted": rows}
    report.table(
        "What became of the draws",
        ["", "draws", "of all"],
        [
            ["accepted", rows, _share(rows, generator.draws)],
            *([reason, n, _share(n, generator.draws)] for reason, n in generator.failed.most_common()),
            *(
                [f"check: {name}", generator.rejected[name], _share(generator.rejected[name], generator.draws)]
                for name in CHECKS
            ),
        ],
        "No model was used: 0 tokens per row.",
    )
    if generator.faulty:
        report.summary += " **Part of the train rows were given a fault on purpose; see below.**"
        report.table(
            "Faults made on purpose",
            ["check that finds it", "rows"],
            [[name, generator.faulty[name]] for name in CHECKS if generator.faulty[name]],
            "The columns `check_*` say which rows. A row may fail several checks.",
        )
    compositions = sorted({composition for composition, _ in generator.row_counts})
    variants = [v for v in VARIANTS if any(v == variant for _, variant in generator.row_counts)]
    report.table(
        "Accepted rows",
        ["composition", *variants],
        [[c, *(generator.row_counts[c, v] for v in variants)] for c in compositions],
    )
    if generator.read:
        describe_definitions(
            report, generator.read, str(context.inputs["definitions"].ref), generator.sets, generator.exhausted
        )
        return
    _held_out(report, generator)
    worlds: dict[str, list[str]] = {}
    for tool in generator.whole.tools.values():
        worlds.setdefault(tool.world, []).append(tool.name)
    report.table(
        "Functions",
        ["world", "functions"],
        [[world, ", ".join(f"`{name}`" for name in names)] for world, names in sorted(worlds.items())],
    )


def _held_out(report: Report, generator: Generator) -> None:
    """What each split shares with the train rows, counted over the rows."""
    meanings = {
        TEST: "`test` holds out sets of functions: no train row plans or offers one of its sets, but each function "
        "may be in train rows beside others.",
        FUNCTIONS: "`test_functions` holds out functions: no row of another split plans or offers one of them.",
    }
    splits = [split for split in meanings if split in generator.used]
    if not splits:
        return
    trained, sets = generator.used.get(TRAIN, set()), generator.planned.get(TRAIN, set())
    table = [
        [split, len(used), len(used & trained), len(generator.planned[split]), len(generator.planned[split] & sets)]
        for split, used in generator.used.items()
    ]
    columns = ["split", "functions", "of them in train rows", "sets of functions", "of them in train rows"]
    note = " ".join(meanings[split] for split in splits) + " Planned and offered functions are counted."
    report.table("Held-out functions", columns, table, note)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
