"""What is left out of training, by which rule."""

from __future__ import annotations

from hubwright.builders._lib.splits import connected_components
from hubwright.builders.ability.clean import SAME, Item, clean


def test_cleaning_goes_by_the_first_rule_that_holds() -> None:
    def item(config: str, split: str, question: str, group: str = "") -> Item:
        return Item(config, split, {"question": question, "choices": []}, group)

    long = "one two three four five six seven eight nine {} eleven"
    items = [
        item("a", "test", "What IS  it?"), item("b", "test", long.format("9")), item("c", "test", "Held?", "g1"),
        item("c", "validation", "Nobody asks this?"), item("d", "validation", "what is it"),
        item("d", "train", "«What is it»"), item("d", "train", long.format("7"), "g2"), item("e", "train", "Anders?", "g1"),
        item("f", "train", "Ganz anders?", "g2"), item("f", "train", "nobody asks this", "g3"), item("f", "train", "Kept?"),
    ]  # fmt: skip
    clean(items, 0.5)
    assert [i.left_out for i in items] == ["", "", "", "", SAME, SAME, "nearly the same", "translation",
                                           "translation of one left out", SAME, ""]  # fmt: skip
    for i in items:
        i.left_out = ""
    clean(items, None)
    assert [i.left_out for i in items][5:] == [SAME, "", "translation", "", SAME, ""]
    assert connected_components([("b", "a"), ("c", "b"), ("x", "y")]) == {
        "a": "a",
        "b": "a",
        "c": "a",
        "x": "x",
        "y": "x",
    }
