"""Whether calls may stand side by side is told in the system turn of every row that a model is trained on."""

from __future__ import annotations

import json
from pathlib import Path

from hubwright.builders.button.importer import import_line
from hubwright.builders.button.template import from_button, to_button
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import StepContext

# Spelt out here: BUTTON's switch says that independent calls may be made in parallel, or one call at a time.
TOLD = {
    True: "Calls that do not need one another's results may stand side by side in one reply.",
    False: "Make one call in a reply, and wait for its result before the next.",
}


def test_system_turn_of_executed_rows_tells_whether_calls_stand_side_by_side(tmp_path: Path) -> None:
    config = CallGraphsConfig(
        train_rows=80, compositions=("parallel", "parallel_then_sequential"), variants=("plain",)
    )
    rows = build(config, StepContext("executed", tmp_path, tmp_path))["train"]
    widest = {True: set(), False: set()}
    for row in rows:
        assert [m["content"] for m in row["messages"] if m["role"] == "system"] == [TOLD[row["parallel"]]]
        assert row["messages"][0]["role"] == "system"
        widest[row["parallel"]].add(max(len(m.get("tool_calls") or ()) for m in row["messages"]))
    # Two independent calls stand in one turn exactly where the system turn allows it.
    assert widest == {True: {2}, False: {1}}


def test_system_turn_of_a_row_survives_the_textual_form_without_saying_it_twice(tmp_path: Path) -> None:
    (row,) = build(CallGraphsConfig(train_rows=1), StepContext("executed", tmp_path, tmp_path))["train"].to_list()
    written = to_button(row)
    assert written["messages"][0]["content"].count(TOLD[row["parallel"]]) == 1
    assert from_button(written)["messages"][0] == row["messages"][0]
    again = import_line(json.dumps(written).encode(), "x")
    assert again["messages"][0] == row["messages"][0] and to_button(again) == written
