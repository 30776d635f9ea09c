"""Trainings on domains from a mixture on disk to the published model: what is drawn, measured, moved and refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mixture_parts import DOMAINS, REFERENCES, conversations, pretrained, save_mixture, texts, tuned
from trainer_parts import context, make_model

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers.versatune import VersatunePretrainConfig, VersatuneSFTConfig, domains, trainer


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mixture(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Any:
    return pretrained(tmp_path_factory.mktemp("run"), documents)


def schedule(step: Any) -> list[dict[str, Any]]:
    return pq.read_table(step.output / "schedule.parquet").to_pylist()


def one_hot_after(start: int) -> Any:
    """A rule that gives all weight to `law`, by which it shows which draw was the first under it."""

    def rule(config: Any, names: Any, weights: Any, *arguments: Any) -> Any:
        return np.array([0.0, 1.0, 0.0]), arguments[4]

    return rule


def test_schedule_losses_and_shares_are_published(run: Any) -> None:
    rows, metrics = schedule(run), run.report.metrics
    assert [row["domain"] for row in rows] == [*DOMAINS] * 3
    assert [(row["update"], row["from_draw"], row["from_step"]) for row in rows[::3]] == [
        (0, 0, 0),
        (1, 6, 3),
        (2, 10, 5),
    ]
    assert [row["weight"] for row in rows[:3]] == pytest.approx([0.5, 0.3, 0.2])
    for first in (3, 6):
        before, now = rows[first - 3 : first], rows[first : first + 3]
        for row in now:
            gamma = max((row["held_out_loss"] - row["reference_loss"]) / row["held_out_loss"], 0)
            assert row["potential"] == pytest.approx(gamma) and row["reference_loss"] == REFERENCES[row["domain"]]
        raised = np.array([old["weight"] * (1 + 0.5 * new["potential"]) for old, new in zip(before, now, strict=True)])
        assert [row["weight"] for row in now] == pytest.approx(raised / raised.sum())
    assert metrics["held_out_loss"] == pytest.approx(np.mean([metrics[f"held_out_loss_{name}"] for name in DOMAINS]))
    for unit in ("samples", "tokens"):
        assert sum(metrics[f"share_of_{unit}_{name}"] for name in DOMAINS) == pytest.approx(1)
    titles = [curve["title"] for curve in run.report.curves]
    assert {"Domain weights", "Held-out loss by domain", "Forgetting by domain"} <= set(titles)
    json.dumps(vars(run.report))


def test_held_out_loss_is_the_mean_over_the_domain_s_tokens(run: Any, documents: Path) -> None:
    """Computed document by document with the published model, without packing."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(run.output), AutoTokenizer.from_pretrained(run.output)
    for name in DOMAINS:
        total, count = 0.0, 0
        for row in load_dataset(str(documents), name, split="held_out"):
            ids = torch.tensor([[*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id]])
            with torch.no_grad():
                total += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
        assert run.report.metrics[f"held_out_loss_{name}"] == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_change_of_weights_lands_on_the_predicted_draw(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    from hubwright.trainers.pretrain import data

    monkeypatch.setattr(trainer, "decide", one_hot_after(3))
    batches: list[list[int]] = []
    collate, measure = data.Collator.__call__, trainer.measure.token_sums

    def recorded(self: Any, rows: Any) -> Any:
        if "domain" in rows[0]:
            batches.append([int(row["domain"]) for row in rows])
        return collate(self, rows)

    monkeypatch.setattr(data.Collator, "__call__", recorded)
    drawn: list[tuple[int, int]] = []

    def measured(me: Any, *arguments: Any) -> Any:
        drawn.append((me.state.global_step, me.sampler.drawn))
        return measure(me, *arguments)

    monkeypatch.setattr(trainer.measure, "token_sums", measured)
    weights = {"code": 1, "law": 0, "other": 1}
    step = pretrained(
        tmp_path, documents, weights=weights, update_every=3, gradient_accumulation_steps=accumulation, max_steps=6
    )
    rows = 2 * accumulation
    [(from_draw, from_step)] = {(row["from_draw"], row["from_step"]) for row in schedule(step) if row["update"] == 1}
    assert (from_draw, from_step) == (4 * rows, 4)
    order = [domain for batch in batches for domain in batch][
        : 6 * rows
    ]  # a last batch may be read and not trained on
    assert set(order[:from_draw]) == {0, 2} and set(order[from_draw:]) == {1}
    ahead = {count for number, count in drawn if number == 3}
    assert ahead == {3 * rows + 2}  # one batch ahead of the step, within the step that the switch leaves alone


def test_references_are_measured_on_the_same_rows(run: Any, documents: Path, tmp_path: Path) -> None:
    """A model that is its own reference has the losses that it ended with, and a potential of 0 for a trained one."""
    step = pretrained(
        tmp_path, documents, inputs={"model": run.output, "reference": run.output, "reference_law": run.output},
        reference_losses={"code": 0.5}, architecture=None, tokenizer={"kind": "reuse"}, max_steps=4, learning_rate=1e-9,
    )  # fmt: skip
    first = {row["domain"]: row for row in schedule(step)[:3]}
    assert first["code"]["reference_loss"] == 0.5
    for name in ("law", "other"):
        assert first[name]["reference_loss"] == pytest.approx(run.report.metrics[f"held_out_loss_{name}"], rel=1e-6)
        assert first[name]["potential"] == pytest.approx(0, abs=1e-6)
    body = step.report.sections[-1]["body"]
    assert (
        "Reference losses of code: given as settings" in body and "Reference losses of law: `org/reference_law" in body
    )


def test_target_grows_and_a_weight_near_one_is_told(
    documents: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hubwright.trainers"):
        step = pretrained(
            tmp_path, documents, weights={"code": 1, "law": 17, "other": 2}, target="law", delta=0.06, epsilon=1, sigma=0,
            reference_losses={},
        )  # fmt: skip
    weights = [row["weight"] for row in schedule(step) if row["domain"] == "law"]
    assert weights == pytest.approx([0.85, 0.91, 0.97])
    assert "domain law has weight 0.910 from step 3 on, more than 0.9" in caplog.text and "0.970" not in caplog.text
    assert "law reached weight 0.970, above 0.9" in step.report.tables[-1]["note"]
    assert schedule(step)[0]["reference_loss"] is None and step.report.metrics["highest_weight"] == pytest.approx(0.97)


def test_domains_can_be_left_out_and_weighed_by_tokens(documents: Path, tmp_path: Path) -> None:
    step = pretrained(
        tmp_path, documents, domains=["law", "code"], strategy="static", weigh_by="tokens", reference_losses={},
        packing=False, max_steps=50, logging_steps=50, update_every=50,
    )  # fmt: skip
    rows, metrics = schedule(step), step.report.metrics
    assert [(row["domain"], row["weight"]) for row in rows[:2]] == [("code", 0.625), ("law", pytest.approx(0.375))]
    assert metrics["share_of_tokens_code"] == pytest.approx(0.625, abs=0.15)
    assert "train_other_rows" not in step.report.counts and "share_of_samples_other" not in metrics


def test_weights_are_shares_of_what_the_mixture_says(tmp_path: Path) -> None:
    step = context(tmp_path, {"dataset": save_mixture(tmp_path / "data", rows=2, unit="tokens")})
    assert domains.unit(VersatunePretrainConfig(), step) == "tokens"
    assert domains.unit(VersatunePretrainConfig(weigh_by="samples"), step) == "samples"
    save_mixture(tmp_path / "data", rows=2, unit="letters")
    with pytest.raises(DataError, match="weights by 'letters', not samples or tokens: set weigh_by"):
        domains.unit(VersatunePretrainConfig(), step)


def test_packed_documents_are_drawn_by_their_number(tmp_path: Path) -> None:
    def long_law(domain: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        rows = texts(domain, count, seed)
        return [{"text": " ".join([row["text"]] * 4)[:120]} if domain == "law" else {"text": row["text"][:12]}
                for row in rows]  # fmt: skip

    data = save_mixture(tmp_path / "data", long_law, rows=200, weights={"code": 0.5, "law": 0.5, "other": 0.0})
    step = pretrained(
        tmp_path, data, strategy="static", reference_losses={}, max_steps=60, update_every=60, logging_steps=60
    )
    rows = {name: step.report.counts[f"train_{name}_rows"] for name in ("code", "law")}
    assert rows["law"] > 3 * rows["code"]  # a packed row holds many documents of code and few of law
    assert step.report.metrics["share_of_samples_code"] == pytest.approx(0.5, abs=0.1)
    assert step.report.metrics["share_of_tokens_law"] > 0.7


@pytest.mark.parametrize("packing", [False, True])
def test_conversations_are_drawn_by_domain(tmp_path: Path, packing: bool) -> None:
    data = save_mixture(tmp_path / "data", conversations, rows=12, form="messages")
    step = tuned(
        tmp_path, data, make_model(tmp_path / "model"), chat_template="chatml_tools", packing=packing,
        strategy="doremi", normaliser="all", max_steps=4, max_length=256,
    )  # fmt: skip
    rows, metrics = schedule(step), step.report.metrics
    assert {row["update"] for row in rows} == {0, 1} and metrics["updates"] == 1
    assert 4 < metrics["held_out_loss_law"] < 6 and step.report.counts["train_law_supervised_tokens"] > 0
    assert (step.output / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domains": ["lawe"]}, "domains: .* has no domain 'lawe'; did you mean 'law'"),
        ({"weights": {"code": 1}}, "weights: no weight for law, other"),
        ({"weights": {"code": float("nan"), "law": 1, "other": 1}}, "weights: code is nan"),
        ({"target": "medicine"}, "target: there is no domain 'medicine'; known: code, law, other"),
        ({"target": "law", "weights": {"code": 1, "law": 0, "other": 1}}, "target: law has weight 0 at the start: give it"),
        ({"target": "law", "weights": {"code": 0, "law": 1, "other": 0}}, "target: law has weight 1 at the start: give it"),
        ({"reference_losses": {"code": 1.0}}, "law, other has none: set reference_losses, or give the input `reference`"),
        ({"reference_losses": REFERENCES | {"lo": 1.0}}, "reference losses: there is no domain 'lo'"),
        ({"reference_losses": REFERENCES | {"law": 0.0}}, "held-out loss of domain law is 0 in reference_losses"),
        ({"update_every": 6}, "update_every 6: the training has 6 steps, so no update would act: lower it to 1"),
        ({"strategy": "odm", "update_every": 2}, "uniform until its update 4, and this training has 2: lower it to 1"),
        ({"floor": 0.5, "update_every": 2}, "floor 0.5 is too much for 3 domains"),
        ({"strategy": "doremi", "reference_losses": {}}, "strategy doremi compares held-out losses with references"),
        ({"learning_rate": 1e20, "max_grad_norm": 0}, "(held-out loss of domain code is nan|the loss is nan) at step"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_domains_are_refused_in_one_line(
    documents: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        pretrained(tmp_path, documents, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "static", "sigma": 0.5}, "sigma has no meaning for strategy static"),
        ({"strategy": "odm", "floor": 0.1}, "floor has no meaning for strategy odm"),
        ({"strategy": "doremi", "target": "law"}, "target has no meaning for strategy doremi"),
        ({"delta": 0.1}, "delta is for domain expansion: set target"),
        ({"sigma": 0}, "sigma 0 moves no weight"),
        ({"eval_split": None}, "eval_split: weights move by held-out losses"),
        ({"dataset_configs": ["law"]}, "dataset_configs: configs are domains here: use domains"),
        ({"streaming": True, "max_steps": 5}, "streaming: rows are drawn by number: drop it"),
        ({"strategy": "dynamic"}, "Input should be 'static'"),
        ({"weights": {"law": "much"}}, "valid number"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [VersatunePretrainConfig, VersatuneSFTConfig])
def test_settings_that_do_nothing_are_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)
    assert kind(**kind(strategy="odm").model_dump(mode="json")) == kind(strategy="odm")  # as processes are started


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "mixture.json").unlink(), "has no mixture.json with weights: set weights for code, law"),
        (lambda folder: (folder / "mixture.json").write_text("{"), "mixture.json cannot be read"),
        (lambda folder: (folder / "mixture.json").write_text('{"weights": [1]}'), "mixture.json cannot be read"),
        (lambda folder: (folder / "mixture.json").write_text('{"domains": "law"}'), "mixture.json cannot be read"),
        (lambda folder: (folder / "mixture.json").write_text('{"weights": {"code": -1, "law": 1, "other": 1}}'),
         "mixture.json, weights: code is -1"),
        (lambda folder: empty(folder, "train"), "split 'train' of config 'law' has no rows"),
        (lambda folder: empty(folder, "held_out"), "split 'held_out' of config 'law' has no rows"),
        (lambda folder: (folder / "law" / "held_out-00000-of-00001.parquet").unlink(), "of config 'law' cannot be read"),
        (lambda folder: rename(folder), "domain law has the columns  and code has text"),
    ],
)  # fmt: skip
def test_mixtures_that_cannot_be_used_are_refused_by_domain(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = save_mixture(tmp_path / "data", rows=8)
    spoil(folder)
    with pytest.raises((DataError, UsageError), match=message) as caught:
        pretrained(tmp_path, folder)
    assert "\n" not in str(caught.value)


def empty(folder: Path, split: str) -> None:
    path = folder / "law" / f"{split}-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def rename(folder: Path) -> None:
    for path in (folder / "law").iterdir():
        pq.write_table(pq.read_table(path).rename_columns(["words"]), path)


def test_reference_of_another_vocabulary_is_refused(documents: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reference org/reference@.* has another vocabulary than the trained model"):
        pretrained(tmp_path, documents, inputs={"reference": make_model(tmp_path / "model")}, reference_losses={})


def test_domain_smaller_than_its_draws_is_passed_over_again_and_counted(tmp_path: Path) -> None:
    data = save_mixture(tmp_path / "data", lambda name, count, seed: texts(name, 2 if name == "law" else count, seed))
    step = pretrained(
        tmp_path, data, weights={"code": 0, "law": 1, "other": 0}, strategy="static", max_steps=9, packing=False
    )
    table = step.report.tables[-1]
    assert [row[table["columns"].index("passes")] for row in table["rows"]] == [0.0, 9.0, 0.0]
