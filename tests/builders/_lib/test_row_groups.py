"""Groups on disk are those of the union-find in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.row_groups import RowGroups
from hubwright.builders._lib.splits import connected_components

KEYS = st.lists(st.text(st.sampled_from("ab\U0001f600\uffff é"), max_size=3), min_size=1, max_size=3)


@given(rows=st.lists(KEYS, max_size=20))
def test_the_name_of_a_group_is_its_least_key(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    groups = RowGroups(tmp_path_factory.mktemp("groups") / "keys")
    for keys in rows:
        groups.add(keys)
    expected = connected_components((first, key) for first, *others in rows for key in (first, *others))
    assert list(groups.names()) == [expected[first] for first, *_ in rows]


@given(rows=st.lists(st.tuples(KEYS, st.booleans()), max_size=20))
def test_rows_that_are_not_chosen_tie_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[str], bool]]
) -> None:
    every, chosen = (RowGroups(tmp_path_factory.mktemp("groups") / "keys") for _ in range(2))
    for keys, counts in rows:
        every.add(keys)
        if counts:
            chosen.add(keys)
    names = every.names(np.array([counts for _, counts in rows], bool))
    assert [name for name, (_, counts) in zip(names, rows, strict=True) if counts] == list(chosen.names())


def test_half_a_surrogate_pair_is_a_key_too(tmp_path: Path) -> None:
    groups = RowGroups(tmp_path / "keys")
    groups.add(["\ud800", "x"])
    groups.add(["x"])
    assert list(groups.names()) == ["x", "x"]
