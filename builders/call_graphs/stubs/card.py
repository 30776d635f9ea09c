"""What a card says of rows over stubs of definitions."""

from collections import Counter
from collections.abc import Collection, Mapping

from ....hub_sync.context import Report
from ..._lib.data_files import read_yaml
from .read import HELD_OUT, Definitions


def describe_definitions(
    report: Report, read: Definitions, source_name: str, sets: Mapping[frozenset[str], int], exhausted: Collection[str]
) -> None:
    """What a card says of the definitions that rows were drawn over.

    Args:
        sets: functions of a row -> rows.
        exhausted: compositions of which there were no more.
    """
    tools = read.toolset.tools
    drawn = {name for functions in sets for name in functions}
    report.counts |= {"definitions": read.total, "definitions_used": len(tools), "functions_in_rows": len(drawn)}
    report.table(
        "Definitions",
        ["", "definitions", "of all"],
        [
            [reason, number, f"{number / read.total:.1%}"]
            for reason, number in [("used", len(tools)), *read.unused.most_common()]
        ],
    )
    domains = Counter(tool.world for tool in tools.values())
    rows = Counter(tools[name].world for name in drawn)
    report.table(
        "Functions",
        ["domain", "used", "in rows"],
        [[domain, number, rows[domain]] for domain, number in sorted(domains.items())],
    )
    chained = sum(bool(tool.output_types) for tool in tools.values())
    text = read_yaml(__file__, "card.yaml")["functions"].strip()
    body = text.format(source_name=source_name, chained=f"{chained:,}", held_out=HELD_OUT)
    if exhausted:
        body += f"\n\nThere were no more new rows of: {', '.join(sorted(exhausted))}."
    report.section("Functions", body)
