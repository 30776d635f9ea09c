"""Synthetic sequences: every scored word re-derived from the text alone by other, slower code; draws that never drift."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hubwright.builders import local_context, sequences
from hubwright.builders.sequences import arithmetic, common, hop_k, induction, ngram
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import UsageError

Row = dict[str, Any]
SMALL = {"train_rows": 60, "test_rows": 20}
BUILDS: dict[str, tuple[Any, Any]] = {
    "induction": (sequences.InductionConfig, sequences.build_induction),
    "ngram": (sequences.NgramConfig, sequences.build_ngram),
    "hop_k": (sequences.HopKConfig, sequences.build_hop_k),
    "arithmetic": (sequences.ArithmeticConfig, sequences.build_arithmetic),
}


def made(name: str, **settings: Any) -> tuple[dict[str, list[Row]], StepContext]:
    config, build = BUILDS[name]
    settings = ({"test_hard_rows": 20} if name == "arithmetic" else {}) | settings
    context = local_context()
    return {k: list(v) for k, v in build(config(**SMALL | settings), context).items()}, context


@pytest.fixture(scope="module")
def sets() -> dict[str, dict[str, list[Row]]]:
    return {name: made(name)[0] for name in BUILDS}


def rows_of(splits: dict[str, list[Row]]) -> list[Row]:
    return [row for rows in splits.values() for row in rows]


# What a row must be, whatever the set.


@pytest.mark.parametrize("name", BUILDS)
def test_columns_agree_with_the_text(name: str, sets: dict[str, dict[str, list[Row]]]) -> None:
    positions = set()
    for row in rows_of(sets[name]):
        words = row["text"].split(" ")
        assert words == row["text"].split(), "one blank between two words"
        assert len(row["targets"]) == len(words)
        place = len(row["context"].split(" ")) - 1
        assert row["context"] == " ".join(words[: place + 1])
        assert row["target"] == row["targets"][place] != ""
        positions.add(place)
        if name != "hop_k":
            assert (
                all(t in ("", w) for t, w in zip(row["targets"], words[1:], strict=False)) and row["targets"][-1] == ""
            )
    assert len(positions) > 5, "not always the same place"


@pytest.mark.parametrize("name", BUILDS)
def test_no_test_row_is_a_train_row_of_any_seed(name: str, sets: dict[str, dict[str, list[Row]]]) -> None:
    key = "solution" if name == "arithmetic" else "text"
    train = {row[key] for row in sets[name]["train"]} | {row[key] for row in made(name, seed=7)[0]["train"]}
    assert not any(common.is_test(text) for text in train)
    for split in sets[name].keys() - {"train"}:
        assert all(common.is_test(row[key]) for row in sets[name][split])


@pytest.mark.parametrize("name", BUILDS)
def test_a_row_depends_on_seed_split_and_number_alone(name: str, sets: dict[str, dict[str, list[Row]]]) -> None:
    fewer = made(name, train_rows=25, test_rows=5)[0]
    assert fewer["train"] == sets[name]["train"][:25] and fewer["test"] == sets[name]["test"][:5]
    assert made(name, seed=1)[0]["train"] != sets[name]["train"]


# A change of these is a change of every published set: then raise `version` in builders/steps.py.
DIGESTS = {
    "induction": "0b7d019032ba2293",
    "ngram": "29bc009cfb881713",
    "hop_k": "ab57f5746e36d76b",
    "arithmetic": "747bf2cb70bc8590",
}


def digests() -> dict[str, str]:
    return {
        name: hashlib.sha256("\n".join(row["text"] + "|" + row["context"] for row in rows_of(made(name)[0])).encode())
        .hexdigest()[:16]
        for name in BUILDS
    }  # fmt: skip


def test_the_rows_are_those_of_every_platform_and_process() -> None:
    assert digests() == DIGESTS
    code = "import json, test_sequences; print(json.dumps(test_sequences.digests()))"
    env = {
        **os.environ,
        "PYTHONHASHSEED": "12345",
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2]))),
    }
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == DIGESTS


@pytest.mark.parametrize("name", BUILDS)
def test_the_card_says_what_is_had_without_learning(name: str) -> None:
    _, context = made(name)
    report = context.report
    assert report.card["license"] == "cc0-1.0" and "arxiv:2411.19574" in report.card["tags"]
    assert ("language" in report.card) == (name == "arithmetic")
    inside, floor = report.tables
    sizes = ("train_rows", "test_rows", "test_hard_rows")
    assert inside["rows"][0] == ["rows", *(report.counts[size] for size in sizes if size in report.counts)]
    assert floor["rows"] and all(0 <= accuracy <= 1 for _, accuracy in floor["rows"])
    json.dumps(vars(report), allow_nan=False)


def test_the_card_describes_the_columns() -> None:
    steps = {name: local_context() for name in BUILDS}
    splits = {name: build(config(**SMALL), steps[name]) for name, (config, build) in BUILDS.items()}
    check_columns("induction", splits["induction"], steps["induction"].report)
    check_columns("ngram", splits["ngram"], steps["ngram"].report)
    check_columns("hop_k", splits["hop_k"], steps["hop_k"].report)
    check_columns("arithmetic", splits["arithmetic"], steps["arithmetic"].report)


# Induction: the successor is that of the first visit.


def check_induction(row: Row, config: sequences.InductionConfig) -> None:
    words = row["text"].split(" ")
    assert len(words) == config.length and len(set(words)) <= config.pool
    first: dict[str, str] = {}
    expected = []
    for i in range(0, len(words) - 1, 2):
        key, successor = words[i], words[i + 1]
        expected += [successor if key in first else "", ""]
        assert first.setdefault(key, successor) == successor
    expected += [""] * (len(words) - len(expected))
    assert row["targets"] == expected and row["repeats"] == sum(map(bool, expected)) > 0
    assert len(set(first.values())) == len(first), "no two keys have one successor"
    # Nothing else in the row contradicts it: a key that was seen is never followed by another word.
    followers: dict[str, set[str]] = {}
    for a, b in itertools.pairwise(words):
        followers.setdefault(a, set()).add(b)
    assert all(len(followers[key]) == 1 for key in first)


def test_induction_rows(sets: dict[str, dict[str, list[Row]]]) -> None:
    for row in rows_of(sets["induction"]):
        check_induction(row, sequences.InductionConfig())


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(20, 45), st.integers(0, 40), st.integers(0, 2**40))
def test_induction_of_other_sizes(half: int, length: int, spare: int, seed: int) -> None:
    config = sequences.InductionConfig(pool=2 * max(2, half), vocabulary=2 * max(2, half) + spare, length=length)
    row = induction.make_row(config, common.Draws(seed))
    if row is not None:
        check_induction(row, config)


def test_induction_floor_is_below_a_fifth_at_the_defaults() -> None:
    splits, _ = made("induction", train_rows=1, test_rows=300)
    assert max(induction.floors(splits["test"]).values()) < 0.2


# N-gram: one rule for each left side, and a rule wherever its left side stands.


def test_ngram_rules_are_inferred_back_from_the_rows() -> None:
    config = sequences.NgramConfig(train_rows=1500, test_rows=50)
    splits, context = made("ngram", train_rows=1500, test_rows=50)
    rules: dict[tuple[str, ...], str] = {}
    for row in rows_of(splits):
        words = row["text"].split(" ")
        for i, target in enumerate(row["targets"]):
            if target:
                assert rules.setdefault(tuple(words[i - 1 : i + 1]), target) == target
    assert len(rules) == 200 == context.report.counts["rules"]
    drawn = ngram.make_rules(config)
    assert rules == {tuple(map(common.word, left)): common.word(right) for left, right in drawn.items()}
    # Exactly there: wherever the left side of a rule stands, the position is scored.
    for row in rows_of(splits):
        words = row["text"].split(" ")
        at = [i for i in range(1, len(words) - 1) if tuple(words[i - 1 : i + 1]) in rules]
        assert at == [i for i, target in enumerate(row["targets"]) if target] and len(at) == row["matches"]


@pytest.mark.parametrize(("order", "vocabulary", "rules"), [(2, 20, 8), (3, 6, 15), (4, 5, 50)])
def test_no_chain_of_rules_runs_in_a_circle(order: int, vocabulary: int, rules: int) -> None:
    drawn = ngram.make_rules(sequences.NgramConfig(order=order, vocabulary=vocabulary, rules=rules))
    assert len(drawn) == rules
    for start in drawn:
        here, steps = start, 0
        while here in drawn:
            here, steps = (*here[1:], drawn[here]), steps + 1
            assert steps <= len(drawn)


# Hop-k: straight from the definition.


def hops_by_definition(letters: str, k: int) -> list[str]:
    """hop_k for 0-based words: find_1(i) is the greatest j in 1..i with X[j-1] == X[i]."""

    def find(i: int) -> int | None:
        return max((j for j in range(1, i + 1) if letters[j - 1] == letters[i]), default=None)

    found = []
    for i in range(len(letters)):
        place: int | None = i
        for _ in range(k):
            place = None if place is None else find(place)
        found.append("" if place is None else letters[place])
    return found


def test_hops_by_hand() -> None:
    # 0 1 2 3 4 5 6      position 3 (a) was last at 0, behind it stands b; position 6 (a) was last at 3, behind it c.
    # a b c a c b a
    assert hop_k.hop([0, 1, 2, 0, 2, 1, 0], 1) == [None, None, None, 1, 0, 2, 2]
    # Second hop: from 6 to 4 (c), which was last at 2, behind it a; from 5 to 2 (c), which was never before.
    assert hop_k.hop([0, 1, 2, 0, 2, 1, 0], 2) == [None, None, None, None, 1, None, 0]


@given(st.text("abcd", min_size=1, max_size=40), st.integers(1, 9))
def test_hops_are_those_of_the_definition(letters: str, k: int) -> None:
    found = hop_k.hop([ord(c) for c in letters], k)
    assert ["" if f is None else chr(f) for f in found] == hops_by_definition(letters, k)


def test_hop_rows(sets: dict[str, dict[str, list[Row]]]) -> None:
    for split in sets["hop_k"].values():
        assert [row["hops"] for row in split] == [(1, 2, 4, 8, 16)[i % 5] for i in range(len(split))]
        for row in split:
            first, *words = row["text"].split(" ")
            assert first == f"k={row['hops']}" and len(words) == 99
            assert all(a != b for a, b in itertools.pairwise(words))
            letters = "".join(word.removeprefix("t") for word in words)
            assert row["targets"] == ["", *(f"t{c}" if c else "" for c in hops_by_definition(letters, row["hops"]))]
    letters = Counter(w for row in rows_of(sets["hop_k"]) for w in row["text"].split(" ") if w.startswith("t"))
    assert set(letters) == {"t0", "t1", "t2", "t3"} and max(letters.values()) < 1.1 * min(letters.values())


# Arithmetic: the question alone, worked out by another evaluator.


def split_terms(expression: str) -> list[str]:
    return expression.replace(" + ", "|").replace(" - ", "|").replace(" * ", "|").split("|")


def solve(question: str, modulus: int) -> tuple[dict[str, int], str, dict[str, str]]:
    """(value of every quantity, the one asked for, its definitions), from the words of a question."""
    *definitions, asked = question.removesuffix(" ?").split(" . ")
    defined = dict(definition.split(" = ") for definition in definitions)
    assert len(defined) == len(definitions), "each quantity is defined once"
    values: dict[str, int] = {}
    while len(values) < len(defined):  # by rounds, whatever the order
        before = len(values)
        for name, expression in defined.items():
            terms = split_terms(expression)
            if name in values or not all(term.isdigit() or term in values for term in terms):
                continue
            numbers = [int(term) if term.isdigit() else values[term] for term in terms]
            sign = expression.removeprefix(terms[0]).removesuffix(terms[-1]).strip() if len(terms) == 2 else ""
            a, b = numbers[0], numbers[-1]
            values[name] = {"": a, "+": a + b, "-": a - b, "*": a * b}[sign] % modulus
        assert len(values) > before, "no quantity depends on itself"
    return values, asked.removeprefix("how many "), defined


def test_arithmetic_solutions_are_right(sets: dict[str, dict[str, list[Row]]]) -> None:
    useless = 0
    for row in rows_of(sets["arithmetic"]):
        assert row["text"] == f"{row['question']} {row['solution']} answer {row['answer']}"
        values, asked, defined = solve(row["question"], 23)
        assert str(values[asked]) == row["answer"] == row["target"]
        done: set[str] = set()
        operations = 0
        for step in row["solution"].removesuffix(" .").split(" . "):
            name, expression, *rest = step.split(" = ")
            assert defined[name] == expression and name not in done
            terms = split_terms(expression)
            assert all(term.isdigit() or term in done for term in terms), "only what is worked out already"
            if rest:
                operations += 1
                numbers, result = rest
                shown = expression
                for term in terms:
                    shown = shown.replace(term, str(values[term])) if term in values else shown
                assert numbers == shown and result == str(values[name])
            done.add(name)
        assert name == asked and operations == row["difficulty"]
        # Everything in the solution serves the answer: whatever is not asked for is an operand further on.
        used = " ".join(defined[name] for name in done)
        assert all(name in used for name in done - {asked})
        useless += len(defined) - len(done)
        assert len(defined) - len(done) <= 4
        start = len(row["question"].split(" ")) - 1
        assert [bool(t) for t in row["targets"]] == [i >= start for i in range(len(row["targets"]) - 1)] + [False]
        assert row["context"].endswith(" =")
    assert useless > 0
    for split, wanted in (("train", [2 + i % 11 for i in range(60)]), ("test_hard", [15] * 20)):
        assert [row["difficulty"] for row in sets["arithmetic"][split]] == wanted


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(0, 2**40))
def test_a_graph_needs_exactly_as_many_operations_as_asked(ops: int, seed: int) -> None:
    config = sequences.ArithmeticConfig(distractors=6)
    quantities, asked = arithmetic.draw_graph(config, common.Draws(seed), ops)
    order = arithmetic.needed(quantities, asked)
    assert sum(bool(quantities[q].operation) for q in order) == ops
    assert len(set(order)) == len(order) and order[-1] == asked
    assert len(quantities) - len(order) <= 6
    for number, quantity in enumerate(quantities):
        assert all(o.value < number for o in quantity.operands if o.is_quantity)


# Settings that cannot be met.


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("induction", {"pool": 200}, "pool 200 is above vocabulary 128; set pool to at most that"),
        ("induction", {"train_rows": 0}, "greater than or equal to 1"),
        ("induction", {"keys": 3}, "Extra inputs are not permitted"),
        ("ngram", {"rules": 600}, "rules 600 is above 512, half of all left sides; lower rules or raise vocabulary"),
        ("ngram", {"order": 6, "length": 5}, "length 5 leaves no room for order 6; raise length"),
        ("hop_k", {"hops": [1, 2, 1]}, "hops names 1 twice; name each number once"),
        ("hop_k", {"hops": [0]}, "greater than or equal to 1"),
        ("arithmetic", {"min_ops": 13}, "min_ops 13 is above max_ops 12; lower min_ops"),
        ("arithmetic", {"hard_ops": 12}, "hard_ops 12 is no harder than max_ops 12; raise hard_ops"),
        ("arithmetic", {"modulus": 21}, "modulus 21 is not a prime; take a prime such as 23"),
    ],
)
def test_bad_settings_name_field_value_and_remedy(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BUILDS[name][0](**settings)
    message = caught.value.errors()[0]["msg"]
    assert said in message and "\n" not in message


def test_settings_without_a_row_are_one_line() -> None:
    with pytest.raises(
        UsageError, match="hop_k: 1000 draws gave no train row that can be scored: set a greater length"
    ):
        made("hop_k", length=6, hops=(16,))


def test_the_shipped_recipe_publishes_what_datasets_reads(hubwright_in_process: Any, namespace: str) -> None:
    import datasets

    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    sizes = {"train_rows": 12, "test_rows": 6, "test_hard_rows": 4}
    told = [x for key, n in sizes.items() for x in ("--set", f"steps.arithmetic.with.{key}={n}")]
    run = hubwright_in_process("run", "sequences", "--only", "arithmetic", "--set", f"namespace={namespace}", *told)
    assert run.returncode == 0, run.stderr[-2000:]
    loaded = datasets.load_dataset(str(pull(ArtifactRef.parse(f"{namespace}/arithmetic@v1.0.0", "dataset"))))
    assert {name: rows.num_rows for name, rows in loaded.items()} == {"train": 12, "test": 6, "test_hard": 4}
    row = loaded["test_hard"][0]
    assert row["difficulty"] == 15 and isinstance(row["targets"], list) and row["target"] == row["answer"]
