"""Supervised fine-tuning: what is supervised, what is refused, what is published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_parts import QUICK, TOOLS, context, make_model, save_drills, save_tools, tool_conversation

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import sft
from hubwright.trainers._lib import loop as _loop
from hubwright.trainers._lib import model as _model
from hubwright.trainers._lib import output as _output
from hubwright.trainers._lib.templates import CHATML_TOOLS

Capture = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def drills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_drills(tmp_path_factory.mktemp("drills"))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return save_tools(tmp_path / "tools", [tool_conversation(n) for n in range(6)])


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Capture:
    """The trainer as it is before its first step, and the step's context."""

    def prepare(inputs: dict[str, Path], **settings: Any) -> tuple[Any, Any]:
        caught: list[Any] = []
        monkeypatch.setattr(_loop, "fit", lambda trainer, *_: caught.append(trainer))
        step = context(tmp_path, inputs)
        sft.train(sft.SFTConfig(**(QUICK | settings)), step)
        return caught[0], step

    return prepare


def supervised(trainer: Any, row: dict[str, Any]) -> list[str]:
    """The supervised runs of a row as text."""
    runs: list[list[int]] = [[]]
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        if label == -100:
            if runs[-1]:
                runs.append([])
        else:
            assert label == token
            runs[-1].append(token)
    return [trainer.processing_class.decode(run) for run in runs if run]


def test_assistant_turns_are_supervised_and_nothing_else(prepared: Capture, model: Path, tools: Path) -> None:
    trainer, step = prepared({"model": model, "dataset": tools}, chat_template="chatml_tools", max_length=2000)
    row = trainer.train_dataset[1]
    assert supervised(trainer, row) == [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Town 1"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": "1"}}\n</tool_call><|im_end|>',
        "20 degrees, and 3.<|im_end|>",
        "Goodbye ä 好<|im_end|>",
    ]
    text = trainer.processing_class.decode(row["input_ids"])
    # Arguments of one function must not leak into another's through Arrow's struct type.
    assert "null" not in text
    for tool in TOOLS:
        assert json.dumps(tool) in text
    assert '<|im_start|>user\n<tool_response>\n{"degrees": 20}\n</tool_response>\n<tool_response>\n3' in text
    counts = step.report.counts
    assert counts["train_rows"] == 6 and counts["train_rows_without_supervised_token"] == 0
    assert counts["train_supervised_tokens"] == sum(
        label != -100 for r in trainer.train_dataset for label in r["labels"]
    )


def test_completion_alone_is_supervised(prepared: Capture, model: Path, drills: Path) -> None:
    import datasets

    trainer, _ = prepared({"model": model, "dataset": drills})
    rows = datasets.load_dataset(str(drills), split="train")
    for index in range(4):
        expected = rows[index]["completion"][0]["content"] + "<|im_end|>\n"
        assert supervised(trainer, trainer.train_dataset[index]) == [expected]


@pytest.mark.parametrize("form", ["tools", "turns", "text"])
def test_tokens_and_labels_are_those_of_trl(prepared: Capture, model: Path, tmp_path: Path, form: str) -> None:
    import datasets
    import trl

    if form == "tools":
        data = save_tools(tmp_path / "data", [tool_conversation(n) for n in range(4)])
    elif form == "turns":
        data = save_drills(tmp_path / "data")
    else:
        data = tmp_path / "data"
        texts = [{"prompt": f"{n} and {n} is", "completion": f" {2 * n}"} for n in range(9)]
        data.mkdir()
        datasets.Dataset.from_list(texts).to_parquet(str(data / "train.parquet"))
    settings = {"chat_template": "chatml_tools"} if form == "tools" else {}
    ours, _ = prepared({"model": model, "dataset": data}, max_length=900, **settings)
    arguments = trl.SFTConfig(
        str(tmp_path / "trl"), max_length=900, assistant_only_loss=form == "tools", use_cpu=True, bf16=False
    )
    rows = datasets.load_dataset(str(data), split="train", cache_dir=str(tmp_path / "cache"))
    theirs = trl.SFTTrainer(ours.model, arguments, train_dataset=rows, processing_class=ours.processing_class)
    for column in ("input_ids", "labels"):
        assert ours.train_dataset[column][:] == theirs.train_dataset[column][:]


def test_rows_that_are_cut_or_unsupervised_are_counted(prepared: Capture, model: Path, tmp_path: Path) -> None:
    long_question = {"messages": [{"role": "user", "content": "x" * 900}, {"role": "assistant", "content": "y"}]}
    no_answer = {"messages": [{"role": "user", "content": "alone"}]}
    rows = [tool_conversation(n) for n in range(10)]
    rows += [long_question | {"tools": []}, no_answer | {"tools": []}]
    data = save_tools(tmp_path / "data", rows)
    inputs = {"model": model, "dataset": data}
    settings = {"chat_template": "chatml_tools", "max_length": 800}
    with pytest.raises(UsageError, match="1 of 11 rows of the train split have no supervised token"):
        prepared(inputs, **settings)
    trainer, step = prepared(inputs, **settings, max_unsupervised_share=0.1)
    counts = step.report.counts
    assert counts["train_rows_without_assistant_turn"] == 1
    assert counts["train_rows_without_supervised_token"] == 1
    assert counts["train_rows_cut_at_max_length"] == sum(n > 800 for n in _lengths(rows, trainer))
    assert len(trainer.train_dataset) == 10
    assert max(len(r["input_ids"]) for r in trainer.train_dataset) <= 800


def _lengths(rows: list[dict[str, Any]], trainer: Any) -> list[int]:
    return [
        len(
            trainer.processing_class.apply_chat_template(
                r["messages"], tools=r["tools"] or None, tokenize=True, return_dict=True
            )["input_ids"]
        )
        for r in rows
        if any(m["role"] == "assistant" for m in r["messages"])
    ]


def test_nothing_to_learn_is_refused(prepared: Capture, model: Path, tmp_path: Path, drills: Path) -> None:
    alone = {"messages": [{"role": "user", "content": "alone"}], "tools": []}
    data = save_tools(tmp_path / "data", [alone, alone])
    with pytest.raises(DataError, match="no row of the train split has an assistant turn"):
        prepared({"model": model, "dataset": data}, chat_template="chatml_tools")
    with pytest.raises(DataError, match="no row of the train split has a supervised token within max_length 16"):
        prepared({"model": model, "dataset": drills}, max_length=16)


@pytest.mark.parametrize("missing", ["tools", "marks"])
def test_template_that_cannot_do_it_is_refused_in_one_line(
    prepared: Capture, model: Path, tmp_path: Path, missing: str
) -> None:
    row = tool_conversation(0)
    if missing == "marks":
        row = {"messages": row["messages"][4:], "tools": []}
        row["messages"] = [{"role": "user", "content": "hello"}, *row["messages"][:1]]
    data = save_tools(tmp_path / "data", [row, row])
    with pytest.raises(UsageError, match="set chat_template: chatml_tools") as caught:
        prepared({"model": model, "dataset": data})
    assert "\n" not in str(caught.value) and "org/model@" in str(caught.value)


def test_wrong_columns_and_missing_splits_are_named(
    prepared: Capture, model: Path, tmp_path: Path, drills: Path
) -> None:
    from datasets import Dataset

    (tmp_path / "odd").mkdir()
    Dataset.from_dict({"text": ["a"]}).to_parquet(str(tmp_path / "odd" / "train.parquet"))
    with pytest.raises(DataError, match="neither `messages` nor `prompt`"):
        prepared({"model": model, "dataset": tmp_path / "odd"})
    with pytest.raises(DataError, match="split 'validation' cannot be read") as caught:
        prepared({"model": model, "dataset": drills}, train_split="validation")
    assert str(drills) not in str(caught.value)


def test_several_configs_are_trained_on_one_after_another(prepared: Capture, model: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    listed = []
    for config, number in (("small", 2), ("large", 3)):
        turns = [
            [{"role": "user", "content": f"{config} {n}"}, {"role": "assistant", "content": "yes"}]
            for n in range(number)
        ]
        (tmp_path / "data" / config).mkdir(parents=True)
        Dataset.from_dict({"messages": turns}).to_parquet(str(tmp_path / "data" / config / "train.parquet"))
        # Only the small one has rows that are held out.
        splits = ["train", "test"] if config == "small" else ["train"]
        files = [{"split": split, "path": f"{config}/train.parquet"} for split in splits]
        listed.append({"config_name": config, "data_files": files})
    (tmp_path / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(listed)}\n---\n")
    given = {"model": model, "dataset": tmp_path / "data"}
    for configs, rows in ((("large",), 3), (("small", "large"), 5)):
        trainer, _ = prepared(given, dataset_configs=configs, chat_template="chatml_tools")
        assert len(trainer.train_dataset) == rows
    with pytest.raises(DataError, match=r"BuilderConfig 'huge' not found. Available: \['small', 'large'\]"):
        prepared(given, dataset_configs=("huge",), chat_template="chatml_tools")
    with pytest.raises(DataError, match="split 'test' of config 'large' cannot be read: Unknown split"):
        prepared(given, dataset_configs=("small", "large"), eval_split="test", chat_template="chatml_tools")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_have_the_loss_and_gradients_of_separate_rows(
    prepared: Capture, model: Path, drills: Path, attention: str
) -> None:
    trainer, _ = prepared(
        {"model": model, "dataset": drills}, packing=True, max_length=1200, attn_implementation=attention
    )
    packed = trainer.data_collator([trainer.train_dataset[0]])
    starts = (packed["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) >= 3 and "attention_mask" not in packed
    net = trainer.model.eval()
    with torch.no_grad():
        together = net(input_ids=packed["input_ids"], position_ids=packed["position_ids"]).logits[0]
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            alone = net(input_ids=packed["input_ids"][:, start:end]).logits[0]
            assert (together[start:end] - alone).abs().max() <= 1e-5

    def loss_and_gradient(batches: list[dict[str, Any]]) -> tuple[float, Any]:
        net.zero_grad()
        items = torch.tensor(sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches))
        losses = [trainer.compute_loss(net, dict(b), num_items_in_batch=items) for b in batches]
        sum(losses).backward()
        return float(sum(losses).detach()), next(net.parameters()).grad.clone()

    separate = [
        {k: packed[k][:, start:end] for k in ("input_ids", "labels", "position_ids")}
        for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]
    (a, ga), (b, gb) = loss_and_gradient([packed]), loss_and_gradient(separate)
    assert a == pytest.approx(b, abs=1e-5)
    assert (ga - gb).abs().max() <= 1e-5


def test_packing_is_refused_for_a_model_that_mixes_rows(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    mixing = MambaForCausalLM(
        MambaConfig(vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=1, intermediate_size=32)
    )
    with pytest.raises(UsageError, match="packing"):
        _model.check_isolation(mixing, "org/model@1")


@pytest.mark.parametrize("packing", [False, True])
def test_loss_on_cpu_is_that_of_trl(prepared: Capture, model: Path, drills: Path, packing: bool) -> None:
    import trl

    trainer, _ = prepared({"model": model, "dataset": drills}, packing=packing, max_length=600)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    net, items = trainer.model.eval(), torch.tensor(100)
    results = []
    for compute in (trainer.compute_loss, lambda *a, **k: trl.SFTTrainer.compute_loss(trainer, *a, **k)):
        net.zero_grad()
        loss = compute(net, dict(batch), num_items_in_batch=items)
        loss.backward()
        results.append((loss.item(), [p.grad.clone() for p in net.parameters()]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    metrics = trainer._metrics["eval"]["mean_token_accuracy"]
    assert metrics[0] == pytest.approx(metrics[1])


def test_published_model_has_no_path_no_pickle_and_our_template(model: Path, tools: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step = context(tmp_path, {"model": model, "dataset": tools})
    sft.train(
        sft.SFTConfig(
            **(QUICK | {"max_length": 2000}),
            chat_template="chatml_tools",
            save_dtype="bfloat16",
            eval_split="train",
            eval_rows=2,
        ),
        step,
    )
    names = {p.name for p in step.output.rglob("*")}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for path in step.output.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(step.output)
    assert tokenizer.chat_template == CHATML_TOOLS.read_text()
    loaded = AutoModelForCausalLM.from_pretrained(step.output)
    assert loaded.dtype == torch.bfloat16
    assert loaded.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    report = step.report
    json.dumps([report.metrics, report.curves, report.card, report.counts])
    curves = {c["title"]: c["series"] for c in report.curves}
    assert [x for x, _ in curves["Loss"]["train"]] == [1, 2, 3, 4]
    assert {"Loss", "Learning rate", "Gradient norm", "Speed", "Token accuracy"} <= set(curves)
    assert report.metrics["steps"] == 4 and report.metrics["eval_loss"] > 0
    assert report.metrics["train_tokens"] > 0 and report.metrics["tokens_per_second"] > 0
    assert report.card["base_model"] == "org/model" and report.card["datasets"] == ["org/dataset"]


@pytest.mark.parametrize("merge", [False, True])
def test_lora_adapter_names_the_hub_model_or_is_merged(model: Path, drills: Path, tmp_path: Path, merge: bool) -> None:
    step = context(tmp_path, {"model": model, "dataset": drills})
    sft.train(sft.SFTConfig(**QUICK, lora={"r": 4}, merge_adapter=merge), step)
    names = {p.name for p in step.output.iterdir()}
    assert "README.md" not in names
    if merge:
        assert "model.safetensors" in names and "adapter_config.json" not in names
        assert step.report.card["base_model_relation"] == "finetune"
        return
    adapter = json.loads((step.output / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "org/model"
    assert adapter["revision"] == "0123456789" * 4
    assert "adapter_model.safetensors" in names and "model.safetensors" not in names
    metrics = step.report.metrics
    assert 0 < metrics["trainable_parameters"] < metrics["parameters"]
    assert step.report.card["base_model_relation"] == "adapter"


def test_leaks_are_refused(tmp_path: Path) -> None:
    step = context(tmp_path, {})
    step.output.mkdir(parents=True)
    (step.output / "training_args.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"training_args\.bin is a pickle"):
        _output.check_output(step)
    (step.output / "training_args.bin").unlink()
    (step.output / "config.json").write_text(json.dumps({"from": str(step.workdir / "x")}))
    with pytest.raises(DataError, match=r"config\.json names a local folder"):
        _output.check_output(step)


def test_settings_are_checked_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, hubwright.trainers.sft as s, hubwright.trainers.dpo as d; s.SFTConfig(); d.DPOConfig();"
        "assert not {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ValueError, match="merge_adapter needs lora"):
        sft.SFTConfig(merge_adapter=True)
    with pytest.raises(ValueError, match="set bf16: false"):
        sft.SFTConfig(dtype="bfloat16", bf16=True)
    with pytest.raises(ValueError, match="Extra inputs"):
        sft.SFTConfig(learning_rte=1.0)


def test_row_of_exactly_max_length_is_not_cut_and_share_is_inclusive(
    prepared: Capture, model: Path, tmp_path: Path
) -> None:
    """What fills max_length to the last token is whole, and as many idle rows as the share allows may be left out."""
    from datasets import Dataset

    # One token per byte, and the end that is added: 16, 18, and 18 times 4 tokens. The second learns nothing.
    rows = [{"prompt": "x" * 14, "completion": "y"}, {"prompt": "x" * 16, "completion": "y"}]
    rows += [{"prompt": "x" * 2, "completion": "y"}] * 18
    (tmp_path / "data").mkdir()
    Dataset.from_list(rows).to_parquet(str(tmp_path / "data" / "train.parquet"))
    trainer, step = prepared({"model": model, "dataset": tmp_path / "data"}, max_length=16)
    assert len(trainer.train_dataset) == 19 and sft.SFTConfig().max_unsupervised_share * 20 == 1
    counts = step.report.counts
    assert counts["train_rows_cut_at_max_length"] == 1
    assert (counts["train_rows"], counts["train_rows_without_supervised_token"], counts["train_rows_used"]) == (
        20,
        1,
        19,
    )
    assert counts["train_tokens"] == 16 + 16 + 18 * 4 and counts["train_supervised_tokens"] == 2 + 18 * 2


@pytest.mark.parametrize("packing", [False, True])
def test_rows_prepared_in_two_processes_are_those_of_one(
    prepared: Capture, model: Path, tmp_path: Path, packing: bool
) -> None:
    tools = save_tools(tmp_path / "tools", [tool_conversation(n) for n in range(6)] + [{"messages": [], "tools": []}])
    settings = {"chat_template": "chatml_tools", "max_length": 1024, "packing": packing, "max_refused_share": 0.2}
    one, first = prepared({"model": model, "dataset": tools}, **settings)
    counts, rows = dict(first.report.counts), one.train_dataset.to_list()
    shutil.rmtree(tmp_path / "run")  # or the caches would be read
    two, second = prepared({"model": model, "dataset": tools}, **settings, dataset_num_proc=2)
    assert two.args.dataset_num_proc == 2 and one.args.dataset_num_proc is None
    assert two.train_dataset.to_list() == rows and second.report.counts == counts
