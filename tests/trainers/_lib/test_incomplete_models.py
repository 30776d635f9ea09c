"""Checkpoints that lack weights, tokenizers and settings that do not fit: one line before training."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_parts import QUICK, context, make_model, make_tokenizer

from hubwright.hub_sync.errors import DataError, HubwrightError, UsageError
from hubwright.trainers import dpo, pretrain, sft

TURNS = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Seven."}]
METHODS: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "sft": (sft, sft.SFTConfig, {"messages": TURNS}, {"assistant_only_loss": False}),
    "dpo": (dpo, dpo.DPOConfig, {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": TURNS[:1]}, {}),
    "pretrain": (pretrain, pretrain.PretrainConfig, {"text": "How many? Seven."}, {"max_length": 64}),
}
METHODS["dpo"][2]["rejected"] = [{"role": "assistant", "content": "Blue."}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def changed(model: Path, folder: Path, weights: Callable[[dict[str, Any]], Any], **config: Any) -> Path:
    """A copy of a model with other weights and settings."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    held = load_file(folder / "model.safetensors")
    weights(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | config))
    return folder


def train(tmp_path: Path, method: str, model: Path, rows: list[dict[str, Any]] | None = None, **settings: Any) -> Any:
    module, config, row, own = METHODS[method]
    data = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows or [row] * 4))
    step = context(tmp_path, {"model": model, "dataset": data}, f"run{data.name}")
    module.train(config(**(QUICK | own | {"max_steps": 1} | settings)), step)
    return step


UP = "model.layers.1.mlp.up_proj.weight"
DEFECTS: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any], str]] = {
    "layer": (lambda held: held.pop(UP), {}, rf"org/model@\w+: {UP} is not in its files, and would be drawn at random"),
    "head": (lambda held: None, {"tie_word_embeddings": False}, r"org/model@\w+: lm_head.weight is not in its files"),
    "shape": (
        lambda held: held.update({UP: torch.zeros(3, 3)}), {},
        rf"org/model@\w+: {UP} is \[3, 3\] in the file and \[64, 32\] by config.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", list(DEFECTS))
@pytest.mark.parametrize("method", list(METHODS))
def test_checkpoint_without_weights_is_refused(tmp_path: Path, model: Path, method: str, defect: str) -> None:
    weights, config, said = DEFECTS[defect]
    broken = changed(model, tmp_path / "broken", weights, **config)
    with pytest.raises(DataError, match=said) as caught:
        train(tmp_path, method, broken)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_parameter_declared_as_new_may_be_absent(tmp_path: Path, model: Path) -> None:
    from hubwright.inference.loading import causal_lm

    headless = changed(model, tmp_path / "headless", lambda held: None, tie_word_embeddings=False)
    assert causal_lm(headless, "org/model", "float32", new=("lm_head",)).lm_head.weight.isfinite().all()
    with pytest.raises(DataError, match=r"lm_head\.weight"):
        causal_lm(headless, "org/model", "float32", new=("score",))


@pytest.mark.parametrize("method", list(METHODS))
def test_damaged_file_is_refused_in_one_line(tmp_path: Path, model: Path, method: str) -> None:
    shutil.copytree(model, tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"org/model@\w+ cannot be loaded as a causal language model") as caught:
        train(tmp_path, method, tmp_path / "cut")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", list(METHODS))
def test_token_beyond_the_embeddings_is_refused(tmp_path: Path, model: Path, method: str) -> None:
    """A tokenizer with a token more than the model has rows."""
    shutil.copytree(model, tmp_path / "wide")
    tokenizer = make_tokenizer()
    template = tokenizer.chat_template
    tokenizer.add_tokens(["Seven"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "wide")
    with pytest.raises(DataError, match="the token 'Seven' has id 259, and the model has 259 embeddings"):
        train(tmp_path, method, tmp_path / "wide")


def test_ids_with_holes_get_embeddings_for_the_largest(tmp_path: Path) -> None:
    """From random weights: the vocabulary's largest id counts, not how many tokens there are."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(
        models.WordLevel(vocab={"<pad>": 0, "</s>": 1, "<unk>": 2, "one": 3, "two": 40}, unk_token="<unk>")
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "one two two one two"}\n' * 4)
    step = context(tmp_path, {"tokenizer": tmp_path / "tokenizer", "dataset": tmp_path / "data"})
    shape = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    pretrain.train(pretrain.PretrainConfig(**(QUICK | {"max_length": 16, "max_steps": 1}), architecture=shape), step)
    assert AutoModelForCausalLM.from_pretrained(step.output).get_input_embeddings().weight.shape[0] == 41


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_sequence_beyond_the_positions_is_refused(tmp_path: Path, model: Path, method: str) -> None:
    short = changed(model, tmp_path / "short", lambda held: None, max_position_embeddings=32)
    with pytest.raises(UsageError, match=r"a sequence of \d+ tokens is longer than the 32 positions of org/model@"):
        train(tmp_path, method, short)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["q_proj", "v_prj"], "has no module 'v_prj'; did you mean 'v_proj'?"),
        (["c_attn"], "has no module 'c_attn'"),
        ("model.layers.7.*", "has no module 'model.layers.7.*'"),
        ("model.(", "is not a regular expression"),
    ],
)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_lora_target_that_does_not_exist_is_refused(
    tmp_path: Path, model: Path, method: str, targets: Any, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(tmp_path, method, model, lora={"r": 2, "target_modules": targets})
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("method", list(METHODS))
def test_training_without_an_accelerator_needs_no_setting(
    tmp_path: Path, model: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    module, config, row, own = METHODS[method]
    settings = {key: value for key, value in QUICK.items() if key not in ("use_cpu", "bf16")} | own | {"max_steps": 1}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text((json.dumps(row) + "\n") * 4)
    step = context(tmp_path, {"model": model, "dataset": tmp_path / "data"})
    module.train(config(**settings), step)
    body = next(s["body"] for s in step.report.sections if s["title"] == "Device and precision")
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    autocast = ", bfloat16 autocast" if re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) else ""
    assert body == f"Trained on `cpu`; weights in float32 while they were trained{autocast}."


def test_device_that_is_absent_is_refused(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HubwrightError, match="device cuda: torch finds no such device on this machine"):
        train(tmp_path, "sft", model, use_cpu=False, device="cuda")


@pytest.mark.parametrize("steps", [{"num_train_epochs": 5, "max_steps": -1}, {"max_steps": 20}])
def test_stable_decay_lasts_a_fifth_of_the_real_steps(tmp_path: Path, model: Path, steps: dict[str, Any]) -> None:
    """Warm-up, plateau and linear decay as transformers' own schedule has them for 20 steps."""
    from transformers import get_wsd_schedule

    rows = [METHODS["sft"][2]] * 8
    step = train(
        tmp_path,
        "sft",
        model,
        rows,
        **steps,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=2,
        learning_rate=1e-3,
    )
    rates = [
        rate
        for _, rate in next(c for c in step.report.curves if c["title"] == "Learning rate")["series"]["learning rate"]
    ]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_wsd_schedule(optimizer, num_warmup_steps=2, num_decay_steps=4, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)
    assert rates[15] == 1e-3 and rates[17] < 1e-3
