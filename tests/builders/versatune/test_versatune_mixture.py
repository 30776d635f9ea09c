"""Mixtures of domains: what a trainer reads, slices that never leak, and sloppy inputs in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from column_parts import check_columns
from pydantic import ValidationError
from tiny_model import save_tiny_model

from hubwright.builders.versatune.mixture import MixtureConfig, build
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

Row = dict[str, Any]
SHARES = {"code": 0.6, "law": 0.3, "other": 0.1}


def save(folder: Path, rows: list[Row], card: str = "license: mit") -> Path:
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_list(rows).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    return folder


def texts(name: str, count: int) -> list[Row]:
    return [{"text": f"The {name} text with number {n}."} for n in range(count)]


def talk(name: str, number: int) -> Row:
    return {"messages": [{"role": "user", "content": f"{name} {number}?"}, {"role": "assistant", "content": "Yes."}]}


def probe(folder: Path, shares: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    soft = {name: {"share": share} for name, share in (shares or SHARES).items()}
    (folder / "distribution.json").write_text(json.dumps({"domains": list(soft), "soft": soft, "hard": soft}))
    return folder


def step(tmp_path: Path, name: str = "run", **inputs: Path) -> StepContext:
    given = {role: Input(ArtifactRef("dataset", f"me/{role}", "a" * 40), path) for role, path in inputs.items()}
    return StepContext("mixture", tmp_path / name / "work", tmp_path / name / "out", given)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    """Two domains of 300 and 100 documents."""
    return {f"domain_{n}": save(tmp_path / n, texts(n, count)) for n, count in (("code", 300), ("law", 100))}


def mixture_of(context: StepContext) -> Any:
    return json.loads((context.output / "mixture.json").read_text())


def test_mixture_of_texts_has_a_config_per_domain_and_every_strategy(tmp_path: Path, two: dict[str, Path]) -> None:
    save_tiny_model(tmp_path / "tokenizer")
    context = step(tmp_path, **two, probe=probe(tmp_path / "probe"), tokenizer=tmp_path / "tokenizer")
    data = build(MixtureConfig(held_out_share=0.1, draw=700), context)
    check_columns("versatune_mixture", data, context.report)
    mixture = mixture_of(context)
    assert sorted(data) == mixture["domains"] == ["code", "law"] and list(data["law"]) == ["train", "held_out"]
    assert mixture["weights"] == pytest.approx({"code": 2 / 3, "law": 1 / 3}) and mixture["form"] == "text"
    assert mixture["strategies"]["inverse"] == pytest.approx({"code": 1 / 3, "law": 2 / 3})
    assert set(mixture["strategies"]) == {"uniform", "proportional", "temperature", "matched", "inverse"}
    samples = mixture["samples"]["code"]
    assert {name: len(rows) for name, rows in data["code"].items()} == samples and sum(samples.values()) == 300
    assert mixture["tokens"]["code"]["train"] == sum(len(text.encode()) for text in data["code"]["train"]["text"])
    assert mixture["interleave"]["probabilities"] == pytest.approx([2 / 3, 1 / 3])
    row = data["law"]["held_out"][0]
    assert row["source"] == "me/domain_law" and row["license"] == "mit" and len(row["id"]) == 16
    assert datasets.interleave_datasets([data[n]["train"] for n in mixture["domains"]], **mixture["interleave"])
    note = next(table["note"] for table in context.report.tables if table["title"] == "Domains and weights")
    assert "law 2.5 times" in note and "(other 10.0%)" in note


def test_mixture_twice_is_the_same_and_no_text_is_in_two_places(tmp_path: Path) -> None:
    shared = [{"text": f"  Shared {n}\nhere"} for n in range(30)]
    inputs = {
        "domain_a": save(tmp_path / "a", [*texts("a", 50), *shared, *shared]),
        "domain_b": save(tmp_path / "b", [*texts("b", 50), *({"text": f"Shared {n} here"} for n in range(30))]),
    }
    config = MixtureConfig(strategy="uniform", held_out_share=0.3)
    first, context = build(config, step(tmp_path, "one", **inputs)), step(tmp_path, "two", **inputs)
    second = build(config, context)
    assert {n: {s: r.to_list() for s, r in d.items()} for n, d in first.items()} == {
        n: {s: r.to_list() for s, r in d.items()} for n, d in second.items()
    }
    everything = [" ".join(t.split()) for splits in second.values() for rows in splits.values() for t in rows["text"]]
    assert len(everything) == len(set(everything)) == 130
    assert context.report.counts["rejected: duplicate of a document of a"] == 30
    assert context.report.counts["rejected: duplicate"] == 30


def test_held_out_slice_stays_when_documents_are_added(tmp_path: Path, two: dict[str, Path]) -> None:
    config = MixtureConfig(strategy="uniform", held_out_share=0.2)
    before = build(config, step(tmp_path, "one", **two))["law"]["held_out"]["id"]
    more = two | {"domain_law": save(tmp_path / "more", [*texts("new", 50), *texts("law", 100)])}
    assert set(before) <= set(build(config, step(tmp_path, "two", **more))["law"]["held_out"]["id"])


def test_mixture_of_conversations_has_turns_and_refuses_functions(tmp_path: Path) -> None:
    rows = [talk("a", n) for n in range(40)]
    share = [
        {"messages": json.dumps([{"from": "human", "value": f"b {n}"}, {"from": "gpt", "value": "No."}])}
        for n in range(40)
    ]
    tool = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    inputs = {
        "domain_a": save(tmp_path / "a", rows),
        "domain_b": save(tmp_path / "b", [{**row, "tools": tool if n < 3 else "[]"} for n, row in enumerate(share)]),
    }
    context = step(tmp_path, **inputs)
    data = build(MixtureConfig(strategy="proportional", held_out_share=0.2), context)
    assert mixture_of(context)["form"] == "messages" and mixture_of(context)["tokens"] is None
    check_columns("versatune_mixture", data, context.report)
    assert [turn["role"] for turn in data["b"]["train"][0]["messages"]] == ["user", "assistant"]
    assert context.report.counts["rejected: the row offers functions, for which a mixture has no column"] == 3


def test_documents_with_a_question_of_a_test_are_left_out(tmp_path: Path, two: dict[str, Path]) -> None:
    test = save(tmp_path / "test", [{"question": "The law text with number 7."}])
    context = step(tmp_path, **two, decontaminate_against_exam=test)
    build(MixtureConfig(strategy="uniform", held_out_share=0.2), context)
    assert context.report.counts["rejected: 12 words in a row of a question of a test set"] == 1


def test_weights_of_tokens_are_turned_into_samples(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "tokenizer")
    inputs = {
        "domain_long": save(tmp_path / "long", [{"text": f"{n:03}" + "x" * 97} for n in range(40)]),
        "domain_short": save(tmp_path / "short", [{"text": f"{n:03}" + "y" * 7} for n in range(40)]),
        "tokenizer": tmp_path / "tokenizer",
    }
    context = step(tmp_path, **inputs)
    build(MixtureConfig(strategy="uniform", unit="tokens", held_out_share=0.2), context)
    assert mixture_of(context)["interleave"]["probabilities"] == pytest.approx([1 / 11, 10 / 11])


def test_a_weight_of_zero_never_makes_interleaving_hang(tmp_path: Path, two: dict[str, Path]) -> None:
    context = step(tmp_path, **two)
    data = build(MixtureConfig(strategy="given", weights={"code": 1, "law": 0}), context)
    settings = mixture_of(context)["interleave"]
    assert settings["stopping_strategy"] == "first_exhausted"
    rows = datasets.interleave_datasets([data[n]["train"].to_iterable_dataset() for n in ("code", "law")], **settings)
    assert all("code" in row["text"] for row in islice(rows, 1000))


def test_caps_and_floors_hold_by_name_and_passes_are_limited(tmp_path: Path, two: dict[str, Path]) -> None:
    context = step(tmp_path, **two, probe=probe(tmp_path / "probe"))
    build(MixtureConfig(caps={"code": 0.4}), context)
    assert mixture_of(context)["weights"] == pytest.approx({"code": 0.4, "law": 0.6})
    context = step(tmp_path, "passes", **two)
    build(MixtureConfig(strategy="uniform", draw=600, max_passes=2), context)
    mixture = mixture_of(context)
    assert 600 * mixture["weights"]["law"] == pytest.approx(2 * mixture["samples"]["law"]["train"])


def test_regress_prefers_the_domain_that_lowers_the_losses(tmp_path: Path, two: dict[str, Path]) -> None:
    import numpy as np

    w = np.random.default_rng(0).dirichlet([1, 1], 24)
    rows = [
        {
            "run": str(n),
            "seed": 0,
            "weight_law": b,
            "weight_code": a,
            "loss_code": 2 + np.exp(-2 * a),
            "loss_law": 3 + np.exp(-b),
        }
        for n, (a, b) in enumerate(w)
    ]
    inputs = two | {"runs": save(tmp_path / "runs", rows)}
    context = step(tmp_path, **inputs)
    build(MixtureConfig(strategy="regress", targets=("law",), kl=0, caps={"law": 0.8}), context)
    assert mixture_of(context)["weights"] == pytest.approx({"code": 0.2, "law": 0.8}, abs=1e-6)
    table = next(table for table in context.report.tables if table["title"].startswith("Predicted"))
    assert table["rows"][0][1] == pytest.approx(3 + np.exp(-0.8), abs=0.01) and table["rows"][0][4] > 0.9
    context = step(tmp_path, "pull", **inputs)
    build(MixtureConfig(strategy="regress", targets=("law",), kl=100), context)
    weights, strategies = (mixture_of(context)[name] for name in ("weights", "strategies"))
    assert weights == pytest.approx(strategies["proportional"], abs=0.01)
    rows[3]["loss_law"] = float("nan")
    broken = two | {"runs": save(tmp_path / "nan", rows)}
    with pytest.raises(DataError, match="row 3: loss_law is nan, not a finite number: leave that run out"):
        build(MixtureConfig(strategy="regress"), step(tmp_path, "nan", **broken))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"strategy": "given", "weights": {"code": 0.5, "lwa": 0.5}}, UsageError, "weights: no domain is called 'lwa'; did you mean 'law'"),
        ({"strategy": "given", "weights": {"code": 1.0}}, UsageError, "none for domain 'law': write 0 to leave it out"),
        ({"caps": {"codes": 0.3}}, UsageError, "caps: no domain is called 'codes'; did you mean 'code'"),
        ({"caps": {"code": 0.3, "law": 0.3}}, UsageError, "caps of all 2 domains sum to 0.6, less than 1: raise them"),
        ({"floors": {"code": 0.7, "law": 0.7}}, UsageError, "floors sum to 1.4, more than 1"),
        ({"floors": {"law": 0.7}, "caps": {"law": 0.2}}, UsageError, "the floor of law is 0.7 and its cap 0.2"),
        ({"splits": {"law": "tst"}}, DataError, "me/domain_law@a+: split 'tst' cannot be read"),
        ({"unit": "tokens"}, UsageError, "unit: tokens needs the input `tokenizer`"),
        ({"strategy": "matched"}, UsageError, "strategy matched needs the input `probe`"),
        ({"strategy": "regress"}, UsageError, "strategy regress needs the input `runs`"),
        ({"form": "messages"}, DataError, "has no column `messages`, which 0 of 2 domains have; it has text"),
        ({"min_chars": 1000}, DataError, r"domain code: no document is left for train of 300 .*fewer than 1000 characters: 300"),
        ({"draw": 10**6, "max_passes": 4}, UsageError, "max_passes 4 and caps allow 0.0015 of a draw of 1,000,000 samples"),
    ],
)  # fmt: skip
def test_settings_that_fit_no_mixture_are_one_line(
    tmp_path: Path, two: dict[str, Path], settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        build(MixtureConfig(**({"strategy": "uniform"} | settings)), step(tmp_path, **two))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"a": float("nan")}, "strategy": "given"}, "finite number"),
        ({"weights": {"a": -0.1, "b": 1.1}, "strategy": "given"}, "greater than or equal to 0"),
        ({"weights": {"a": 60, "b": 40}, "strategy": "given"}, "weights sum to 100, not 1: divide each by 100"),
        ({"weights": {"a": 1.0}}, "strategy: given goes with `weights`"),
        ({"max_passes": 4}, "max_passes does nothing without draw"),
        ({"targets": ["a"], "strategy": "uniform"}, "targets do nothing with strategy uniform"),
    ],
)
def test_weights_that_are_no_shares_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MixtureConfig(**settings)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"code": 1.0}, "has no domain 'law'; known: code"),
        ({"code": float("nan"), "law": 0.5}, "the soft share of code is nan"),
        ({"code": 0, "law": 0.0, "other": 1.0}, "all of code, law are 0"),
        ({"code": "much", "law": 0.5}, "holds no soft shares"),
    ],
)
def test_a_probe_that_is_no_distribution_is_one_line(
    tmp_path: Path, two: dict[str, Path], shares: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        build(MixtureConfig(), step(tmp_path, **two, probe=probe(tmp_path / "probe", shares)))
    (tmp_path / "probe" / "distribution.json").unlink()
    with pytest.raises(DataError, match=r"has no distribution\.json"):
        build(MixtureConfig(), step(tmp_path, **two, probe=tmp_path / "probe"))


def test_a_probe_by_a_weak_judge_is_not_believed(tmp_path: Path, two: dict[str, Path]) -> None:
    path = probe(tmp_path / "probe") / "distribution.json"
    judges = {"judge": {"model": "org/small", "weak": True, "mean_mass": 0.038}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"judges": judges}))
    context = step(tmp_path, **two, probe=path.parent)
    with pytest.raises(
        UsageError, match=r"judge org/small hold 3\.8% of the probability: probe with a stronger judge"
    ):
        build(MixtureConfig(), context)
    build(MixtureConfig(allow_weak_judge=True), context)
    assert build(MixtureConfig(strategy="uniform"), context)


def test_a_run_table_for_another_strategy_is_refused(tmp_path: Path, two: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="the input `runs` does nothing with strategy uniform"):
        build(MixtureConfig(strategy="uniform"), step(tmp_path, **two, runs=tmp_path))


def test_rows_that_hold_no_text_are_counted_by_reason(tmp_path: Path, two: dict[str, Path]) -> None:
    rows: list[Row] = [{"text": None}, {"text": " \n "}, *texts("medicine", 60)]
    context = step(tmp_path, **two, domain_medicine=save(tmp_path / "medicine", rows, card="tags: [x]"))
    build(MixtureConfig(strategy="uniform", held_out_share=0.2), context)
    assert context.report.counts["rejected: no text"] == context.report.counts["rejected: empty"] == 1
    table = next(table for table in context.report.tables if table["title"].startswith("Provenance"))
    assert table["rows"][2][3] == "unknown (60)"


def test_a_name_that_is_no_config_and_one_domain_alone_are_refused(tmp_path: Path, two: dict[str, Path]) -> None:
    code = two["domain_code"]
    for name, message in (("domain_data", "not `data`"), ("domain_Law", "a to z")):
        with pytest.raises(UsageError, match=message):
            build(MixtureConfig(strategy="uniform"), step(tmp_path, **{"domain_code": code, name: code}))
    with pytest.raises(UsageError, match="needs two inputs or more"):
        build(MixtureConfig(strategy="uniform"), step(tmp_path, domain_code=code))


def _lines(make: Callable[[int], Any]) -> bytes:
    return "\n".join(json.dumps({"text": make(n)}) for n in range(80)).encode()


@pytest.mark.parametrize(
    ("name", "content", "outcome"),
    [
        ("train.csv", ("text\n" + "\n".join(f"a row of code {n}" for n in range(80))).encode(), 80),
        ("train.jsonl", _lines(lambda n: None if n % 2 else f"code {n} of a program"), 40),
        ("train.jsonl", _lines(lambda n: f"<think>hm {n}</think> answer {n} of code"), 80),
        ("train.jsonl", _lines(lambda n: f"word {n} " * (100_000 if n == 3 else 3)), 80),
        ("train.jsonl", b"", "split 'train' cannot be read .*its files are empty"),
        ("train.jsonl", _lines(lambda n: n), r"no document is left for train of 80 .*\(no text: 80\)"),
        ("train.jsonl", _lines(lambda n: None), r"no document is left for train of 80 .*\(no text: 80\)"),
        ("train.jsonl", b"text\nplain rows\n", "split 'train' cannot be read .*JSON parse error"),
        ("train.jsonl", b'{"text": "half \\ud800 a pair"}', "split 'train' cannot be read .*surrogate pair"),
        ("train.jsonl", b'{"prompt": "q", "completion": "a"}', "has no column `text`, which 1 of 2 domains have"),
    ],
)
def test_files_of_a_domain_end_right_or_in_one_line(
    tmp_path: Path, two: dict[str, Path], name: str, content: bytes, outcome: int | str
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / name).write_bytes(content)
    context = step(tmp_path, **(two | {"domain_code": tmp_path / "files"}))
    if isinstance(outcome, int):
        splits = build(MixtureConfig(strategy="uniform"), context)["code"]
        assert sum(map(len, splits.values())) == outcome
        assert context.report.counts.get("rejected: no text", 0) == 80 - outcome
        return
    with pytest.raises(DataError, match=outcome) as caught:
        build(MixtureConfig(strategy="uniform"), context)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
