"""Pre-training: losses against ones computed alone, what is refused, what is published."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_parts import ARCHITECTURE, TINY, documents, save, sequences, trained
from torch.nn.functional import cross_entropy
from trainer_parts import context, make_model

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers import pretrain
from hubwright.trainers._lib import live as _live
from hubwright.trainers._lib import loop as _loop
from hubwright.trainers.pretrain import data

Prepare = Callable[..., Any]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("texts"), train=documents(120), test=documents(25, seed=1))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("scored"), train=sequences(60), test=sequences(25, seed=1))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prepare:
    """The trainer as it is before its first step."""

    def prepare(inputs: dict[str, Path], **settings: Any) -> Any:
        caught: list[Any] = []

        def stop(trainer: Any, *_: Any) -> dict[str, float]:
            caught.append(trainer)
            raise KeyboardInterrupt

        monkeypatch.setattr(_loop, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain.train(pretrain.PretrainConfig(**(TINY | settings)), context(tmp_path, inputs))
        return caught[0]

    return prepare


def read_alone(net: Any, rows: list[Any]) -> tuple[float, int, int]:
    """Loss (sum of nats), hits and scored positions of rows of `data.pack`, every piece by itself."""
    loss, hits, count = 0.0, 0, 0
    for row in rows:
        start = 0
        for length in row["seq_lengths"]:
            ids = torch.tensor([list(row["input_ids"][start : start + length])])
            if "labels" in row:
                labels = torch.tensor(list(row["labels"][start : start + length]))
            else:
                labels = torch.cat([ids[0, 1:], torch.tensor([data.UNSCORED])])
            with torch.no_grad():
                logits = net(input_ids=ids).logits[0]
            kept = labels != data.UNSCORED
            loss += float(cross_entropy(logits[kept].double(), labels[kept], reduction="sum"))
            hits += int((logits[kept].argmax(-1) == labels[kept]).sum())
            count += int(kept.sum())
            start += length
    return loss, hits, count


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["texts", "scored", "scored_packed"])
def test_the_loss_of_a_batch_is_that_of_its_documents_alone(
    prepared: Prepare, request: pytest.FixtureRequest, kind: str, attention: str
) -> None:
    settings = {"packing": True} if kind == "scored_packed" else {}
    folder = request.getfixturevalue(kind.removesuffix("_packed"))
    trainer = prepared({"dataset": folder}, attn_implementation=attention, **settings)
    rows = [trainer.train_dataset[i] for i in range(6)]
    assert (max(len(row["seq_lengths"]) for row in rows) > 1) == (kind != "scored")
    trainer.model.eval()
    loss, _, count = read_alone(trainer.model, rows)
    batches, items = trainer.get_batch_samples(iter([trainer.data_collator(rows)]), 1, "cpu")
    assert int(items) == count and trainer.state.num_input_tokens_seen == sum(len(row["input_ids"]) for row in rows)
    together = trainer.compute_loss(trainer.model, dict(batches[0]), num_items_in_batch=items)
    assert together.item() == pytest.approx(loss / count, abs=1e-5)


def test_no_gradient_flows_from_one_document_to_another(prepared: Prepare, texts: Path) -> None:
    trainer = prepared({"dataset": texts})
    row = next(row for row in trainer.train_dataset if len(row["seq_lengths"]) > 2)
    batch, net = trainer.data_collator([row]), trainer.model.eval()
    embedded = net.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = net(inputs_embeds=embedded, position_ids=batch["position_ids"], use_cache=False).logits[0]
    first, second = (int(length) for length in row["seq_lengths"][:2])
    logits[first : first + second].sum().backward()
    reached = embedded.grad[0].abs().sum(-1) > 0
    assert reached[first : first + second].all() and int(reached.sum()) == second


@pytest.mark.parametrize("kind", ["texts", "scored"])
def test_evaluation_is_the_mean_over_tokens_whatever_the_batches(
    prepared: Prepare, request: pytest.FixtureRequest, kind: str
) -> None:
    found = []
    for size in (1, 4, 100):
        trainer = prepared(
            {"dataset": request.getfixturevalue(kind)}, eval_split="test", per_device_eval_batch_size=size
        )
        found.append(trainer.evaluate())
    loss, hits, count = read_alone(trainer.model.eval(), list(trainer.eval_dataset))
    for metrics in found:
        assert metrics["eval_loss"] == pytest.approx(loss / count, abs=1e-6)
        assert metrics["eval_perplexity"] == pytest.approx(math.exp(loss / count), rel=1e-5)
        assert metrics["eval_accuracy"] == hits / count
    # A mean of the batches' means is another figure, as rows differ in length.
    means = [read_alone(trainer.model, [row]) for row in trainer.eval_dataset]
    assert abs(sum(part[0] / part[2] for part in means) / len(means) - loss / count) > 1e-6


def test_scored_sequences_are_learnt_and_their_accuracy_reported(scored: Path, tmp_path: Path) -> None:
    step = trained(
        tmp_path, {"dataset": scored}, max_steps=80, learning_rate=1e-2, per_device_train_batch_size=8, eval_split="test",
        eval_steps=40, logging_steps=20,
    )  # fmt: skip
    assert step.report.metrics["eval_accuracy"] > 0.99
    curves = {curve["title"]: curve["series"] for curve in step.report.curves}
    assert [x for x, _ in curves["Accuracy"]["eval"]] == [40, 80]
    assert {"Loss", "Learning rate", "Gradient norm", "Speed", "Memory"} <= set(curves)


def test_the_published_model_loads_and_its_card_knows_where_it_is_from(texts: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step = trained(tmp_path, {"dataset": texts}, eval_split="test", save_dtype="bfloat16")
    assert {p.name for p in step.output.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for path in step.output.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    net, words = AutoModelForCausalLM.from_pretrained(step.output), AutoTokenizer.from_pretrained(step.output)
    assert net.dtype == torch.bfloat16 and net.config.use_cache and net.config.max_position_embeddings == 64
    assert net.config.vocab_size == len(words) == 34
    ids = words("w1 w2", return_tensors="pt").input_ids
    assert net.generate(ids, max_new_tokens=3, do_sample=False).shape[1] >= 3
    report = step.report
    json.dumps([report.metrics, report.curves, report.tables, report.card, report.counts])
    assert "base_model" not in report.card and report.card["datasets"] == ["org/dataset"]
    assert report.card["library_name"] == "transformers" and report.card["pipeline_tag"] == "text-generation"
    assert report.metrics["peak_memory_gib"] > 0 and report.metrics["eval_loss"] > 0
    assert report.metrics["parameters"] == net.num_parameters()
    assert ["hidden_size", 32] in report.tables[0]["rows"]
    assert "trained from random weights on" in report.summary


@pytest.mark.parametrize("logging_steps", [3, 1000])
def test_tokens_are_counted_to_the_last(texts: Path, tmp_path: Path, logging_steps: int) -> None:
    step = trained(tmp_path, {"dataset": texts}, max_steps=-1, logging_steps=logging_steps)
    assert step.report.metrics["train_seconds"] > 0 and step.report.metrics["train_loss_last"] > 0
    counts = step.report.counts
    assert step.report.metrics["train_tokens"] == counts["train_tokens"]  # one whole pass
    assert counts["train_documents"] == 120 and counts["train_documents_without_text"] == 0


def test_weights_follow_from_architecture_and_seed_alone(prepared: Prepare, texts: Path, scored: Path) -> None:
    def weights(**settings: Any) -> torch.Tensor:
        return torch.cat(
            [p.flatten() for p in prepared({"dataset": texts}, **settings).model.model.layers.parameters()]
        )

    first = weights()
    torch.manual_seed(99)
    assert torch.equal(first, weights(max_length=32, packing=False))
    assert not torch.equal(first, weights(seed=7))


def test_training_goes_on_from_a_model_with_its_tokenizer(tmp_path: Path, texts: Path) -> None:
    inputs = {"dataset": texts, "model": make_model(tmp_path / "model")}
    step = trained(tmp_path, inputs, architecture=None, tokenizer={"kind": "reuse"}, max_length=200)
    assert step.report.card["base_model"] == "org/model"
    assert step.report.card["base_model_relation"] == "finetune"
    config = json.loads((step.output / "config.json").read_text())
    assert config["max_position_embeddings"] == 1024 and "org/model" not in config.get("_name_or_path", "")
    assert json.loads((step.output / "tokenizer.json").read_text()) == json.loads(
        (inputs["model"] / "tokenizer.json").read_text()
    )


def test_a_tokenizer_can_be_lent_to_random_weights(tmp_path: Path, texts: Path) -> None:
    from hubwright.model_cards.card import _model_metadata

    lender = make_model(tmp_path / "model")
    step = trained(tmp_path, {"dataset": texts, "tokenizer": lender}, tokenizer={"kind": "reuse"}, max_length=200)
    assert "base_model" not in step.report.card
    inputs = [{"role": role, "type": "model", "repo_id": f"org/{role}"} for role in ("tokenizer", "model")]
    made = {"inputs": inputs[:1], "files": []}
    assert "base_model" not in _model_metadata([made])
    assert _model_metadata([made | {"inputs": inputs}])["base_model"] == "org/model"


def test_kv_shifting_attention_is_one_architecture_among_others(tmp_path: Path, texts: Path) -> None:
    from safetensors import safe_open

    step = trained(
        tmp_path, {"dataset": texts}, architecture=ARCHITECTURE | {"model_type": "kv_shift"}, save_dtype="bfloat16"
    )
    assert json.loads((step.output / "config.json").read_text())["model_type"] == "kv_shift"
    assert step.report.summary.startswith("A kv_shift language model")
    with safe_open(step.output / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118  not a dict
            kept = "kv_shift" in name  # near 1 bfloat16 has no room for what was learnt
            assert weights.get_tensor(name).dtype == (torch.float32 if kept else torch.bfloat16), name


def test_a_model_whose_loss_shifts_on_its_own_is_refused(prepared: Prepare, texts: Path) -> None:
    from hubwright.trainers.pretrain.model import check_labels

    net = prepared({"dataset": texts}).model
    check_labels(net, "org/model@1")
    original = net.loss_function
    net.loss_function = lambda logits, labels, vocab_size, shift_labels=None, **_: original(
        logits=logits, labels=labels, vocab_size=vocab_size
    )
    with pytest.raises(UsageError, match="org/model@1 computes its loss in a way of its own"):
        check_labels(net, "org/model@1")


def test_weight_decay_spares_what_is_named(prepared: Prepare, texts: Path) -> None:
    trainer = prepared({"dataset": texts}, no_decay=["embed_tokens", "q_proj"])
    names = trainer.get_decay_parameter_names(trainer.model)
    assert names and not [n for n in names if "norm" in n or "embed_tokens" in n or "q_proj" in n]
    assert "lm_head.weight" in names


def test_some_parameters_learn_at_a_rate_of_their_own(prepared: Prepare, texts: Path) -> None:
    trainer = prepared({"dataset": texts}, learning_rate=0.001, learning_rate_factors={"q_proj": 10, "norm": 0.5})
    rates = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        expected = 0.01 if "q_proj" in name else 0.0005 if "norm" in name else 0.001
        assert rates.pop(id(parameter)) == pytest.approx(expected), name
    assert not rates
    kept = trainer.get_decay_parameter_names(trainer.model)
    decayed = {id(p) for group in trainer.optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for name, p in trainer.model.named_parameters() if name in kept}


def test_a_rate_for_nothing_is_refused(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"learning_rate_factors.kv_shift: no trained parameter has a name that"):
        trained(tmp_path, {"dataset": texts}, learning_rate_factors={"kv_shift": 10})


def test_a_training_that_diverges_stops_in_one_line(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.trainers.pretrain.trainer import PretrainTrainer

    inner = PretrainTrainer.compute_loss
    monkeypatch.setattr(PretrainTrainer, "compute_loss", lambda *a, **k: inner(*a, **k) * float("nan"))
    with pytest.raises(UsageError, match="the loss is nan at step 1: lower learning_rate"):
        trained(tmp_path, {"dataset": texts})


def test_streaming_reports_and_learns_like_a_cached_data_set(texts: Path, tmp_path: Path) -> None:
    step = trained(
        tmp_path, {"dataset": texts}, streaming=True, shuffle_block=16, max_steps=60, eval_split="test", eval_rows=10,
        eval_steps=30, logging_steps=30,
    )  # fmt: skip
    metrics = step.report.metrics
    assert metrics["steps"] == 60 and metrics["epochs"] >= 1  # whole passes
    # Rows of one pass, by the cached way.
    cached = trained(tmp_path, {"dataset": texts}, "cached", eval_split="test", eval_rows=10).report.counts
    assert metrics["train_tokens"] > 0.9 * 120 * cached["train_tokens"] / cached["train_rows"]
    assert metrics["train_tokens"] <= 120 * 64
    assert not list((step.workdir / "datasets").rglob("*.arrow")) if (step.workdir / "datasets").exists() else True
    first = step.report.metrics["train_loss_first"]
    assert metrics["eval_loss"] < first


@pytest.mark.parametrize("packed", ["one document", "many documents"])
@pytest.mark.slow
def test_rows_of_12288_tokens_train(tmp_path: Path, packed: str) -> None:
    """One optimiser step, forward and backward, of one layer of width 32; what it takes is printed by -s."""
    import time

    longest = 12287 if packed == "one document" else 600
    draw = documents(1 if longest > 600 else 60, seed=2, longest=longest)
    if packed == "one document":
        draw = [{"text": " ".join(f"w{i % 30}" for i in range(12287))}]
    folder = save(tmp_path / "data", train=draw)
    started = time.perf_counter()
    step = trained(
        tmp_path, {"dataset": folder}, architecture=ARCHITECTURE | {"num_hidden_layers": 1}, max_length=12288, max_steps=1,
        per_device_train_batch_size=1,
    )  # fmt: skip
    metrics = step.report.metrics
    assert metrics["train_tokens"] > 11000 and math.isfinite(metrics["train_loss_last"])
    print(f"\n{packed}: {time.perf_counter() - started:.1f} s, peak {metrics['peak_memory_gib']:.2f} GiB")


def test_the_loss_is_drawn_in_a_terminal() -> None:
    falling = _live.plot([4.0, 3.0, math.nan, 2.0, 1.0], width=30, height=4)
    assert falling[1].startswith("4.00") and falling[4].startswith("1.00") and "\x1b" not in "".join(falling)
    first, last = (next(i for i, line in enumerate(falling[1:5]) if line[side].strip("│ ")) for side in (5, -2))
    assert first < last
    assert all(len(line) <= 75 for line in _live.plot([1 / (i + 1) for i in range(10_000)]))
    assert len(_live.plot([2.0], scale=(0.0, 4.0))) == 11 and _live.plot([]) == _live.plot([math.inf]) == []


def test_the_curve_is_shown_where_there_is_a_terminal(
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import sys

    caplog.set_level("INFO", "hubwright.trainers")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    trained(tmp_path, {"dataset": texts}, max_steps=6)
    shown = " ".join(capsys.readouterr().err.split())  # a line may wrap
    assert "step 6/6" in shown and "tokens/s" in shown and "│" in shown and "peak GiB" in shown


def test_the_shipped_fsdp_file_is_read_by_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    from hubwright.inference.launch import command

    assert load_config_from_file(str(pretrain.FSDP)).distributed_type == "FSDP"
    line = command(2, ["--config_file", str(pretrain.FSDP)], Path("job.json"))
    assert line[2] == "accelerate.commands.launch" and "--multi_gpu" not in line
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(line[3:]))
    assert arguments.use_fsdp and arguments.num_processes == 2 and arguments.mixed_precision == "no"
    for name, value in prepare_multi_gpu_env(arguments).items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert "FULL" in str(plugin.state_dict_type) and not plugin.cpu_ram_efficient_loading


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_lm_eval_scores_what_the_model_says(texts: Path, tmp_path: Path, kind: str) -> None:
    """Pairs of context and continuation, as multiple-choice tasks have them."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    size = {"vocab_size": 300} if kind == "bpe" else {}
    step = trained(tmp_path, {"dataset": texts}, tokenizer={"kind": kind, **size}, max_length=128)
    judge = HFLM(pretrained=str(step.output), device="cpu", dtype="float32", batch_size=2)
    pairs = [("w1 w2 w3", " w4"), ("w5", " w6 w7"), ("w1 w1 w2 ", "w9")]
    made = judge.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)])
    net, words = AutoModelForCausalLM.from_pretrained(step.output), AutoTokenizer.from_pretrained(step.output)
    for (head, tail), (score, _) in zip(pairs, made, strict=True):
        ids, start = words.encode(head.rstrip() + " " + tail.strip()), len(words.encode(head.rstrip()))
        with torch.no_grad():
            said = torch.log_softmax(net(input_ids=torch.tensor([ids])).logits[0].float(), -1)
        expected = sum(said[i - 1, ids[i]].item() for i in range(start, len(ids)))
        assert score == pytest.approx(expected, abs=1e-4)
