"""Names and numbers by their spelling."""

import pytest

from hubwright.inference.entities import entities, retention


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("A dog runs. The cat sleeps", ()),
        ("Eiffel Tower at night", ("eiffel", "tower")),
        ("Mont-Saint-Michel, 12.5 km", ("12.5", "mont-saint-michel")),
        ("view of Mont-Saint-Michel", ("mont-saint-michel",)),
        ("We met O'Brien at IBM on 2021-05-03", ("2021-05-03", "ibm", "o'brien")),
        ("сегодня в Москве", ("москве",)),
        ("东京塔 1958", ("1958",)),
        ("𝔘nicode \ud800 half", ()),
        ("The The", ()),
        ("IMG_1234.jpg", ()),
        ("DSC_0042", ()),
        ("https://cdn.example.com/2019/Rome.png of Oslo", ("oslo",)),
    ],
)
def test_entities_of_texts(text: str, expected: tuple[str, ...]) -> None:
    assert sorted(entities(text)) == sorted(expected)


def test_retention_ignores_case_and_order() -> None:
    assert retention("a cat in Rome and Oslo", "OSLO and Rome") == 1
    assert retention("a cat in Rome", "") == 0
