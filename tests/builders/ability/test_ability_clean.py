"""What is left out of training, by which rule."""

from __future__ import annotations

from pathlib import Path

from hubwright.builders._lib.splits import connected_components
from hubwright.builders.ability.clean import Questions


def test_cleaning_goes_by_the_first_rule_that_holds(tmp_path: Path) -> None:
    long = "one two three four five six seven eight nine {} eleven"
    rows = [
        ("test", "What IS  it?"), ("test", long.format("9")), ("test", "Held?", "g1"),
        ("validation", "Nobody asks this?"), ("validation", "what is it"),
        ("train", "«What is it»"), ("train", long.format("7"), "g2"), ("train", "Anders?", "g1"),
        ("train", "Ganz anders?", "g2"), ("train", "nobody asks this", "g3"), ("train", "Kept?"),
    ]  # fmt: skip

    def rules(near: float | None) -> list[int]:
        questions = Questions(tmp_path / "hashes", near)
        for split, question, *group in rows:
            questions.add(split, question, [], *group or ("",))
        return questions.left_out().tolist()

    assert rules(0.5) == [0, 0, 0, 0, 1, 1, 2, 3, 4, 1, 0]
    assert rules(None) == [0, 0, 0, 0, 1, 1, 0, 3, 0, 1, 0]


def test_connected_components_give_the_least_key() -> None:
    assert connected_components([("b", "a"), ("c", "b"), ("x", "y")]) == {
        "a": "a",
        "b": "a",
        "c": "a",
        "x": "x",
        "y": "x",
    }
