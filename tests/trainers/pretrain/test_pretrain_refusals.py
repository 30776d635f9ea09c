"""Pre-training: every setting that would do nothing, or cannot be, is refused in one line that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pretrain_parts import ARCHITECTURE, TINY, documents, save, sequences, trained
from trainer_parts import make_model

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import pretrain


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("texts"), train=documents(120))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"architecture": {"hidden_size": 8}}, "architecture needs model_type"),
        (
            {"architecture": ARCHITECTURE | {"vocab_size": 9}},
            "architecture.vocab_size follows from the tokenizer: drop it",
        ),
        ({"architecture": ARCHITECTURE | {"max_position_embeddings": 8}}, "8 is below max_length 64: raise it"),
        ({"retrofit": {"model_type": "kv_shift"}}, "retrofit changes a trained model"),
        ({"architecture": None}, "tokenizer kind words needs architecture"),
        ({"tokenizer": {"kind": "reuse", "vocab_size": 300}}, "has its own size: drop vocab_size"),
        ({"tokenizer": {"kind": "bpe", "vocab_size": 99}}, "vocab_size must be 260 or more"),
        ({"streaming": True, "max_steps": -1}, "set max_steps"),
        ({"streaming": True, "num_train_epochs": 2}, "drop num_train_epochs"),
        ({"shuffle_block": 5}, "shuffle_block is for streaming"),
        ({"fsdp": True}, "drop fsdp or use_cpu"),
        ({"fsdp": True, "use_cpu": False, "save_dtype": "bfloat16"}, "drop save_dtype"),
        ({"lora": {"r": 4}}, "Extra inputs are not permitted"),
        ({"chat_template": "keep"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pretrain.PretrainConfig(**(TINY | settings))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hiden_size": 8}, "architecture.hiden_size: llama has no such field; did you mean 'hidden_size'?"),
        (
            {"rope_theta": 1e5},
            "architecture.rope_theta: llama has no such field; write rope_parameters: {rope_theta: ...}",
        ),
        ({"rope_parameters": {"rope_thet": 1e5}}, "rope_thet: there is no such key; did you mean 'rope_theta'?"),
        ({"model_type": "lama"}, "'lama' is no causal language model; did you mean 'llama'?"),
        ({"model_type": "clip"}, "'clip' is no causal language model"),
        ({"model_type": "gemma3"}, "made of several models: use one for text alone"),
        ({"hidden_size": 30}, "llama cannot be made so: The hidden size"),
        ({"hidden_size": "wide"}, "hidden_size' expected int, got str"),
        ({"architectures": ["x"]}, "architecture.architectures: llama has no such field"),
    ],
)
def test_architectures_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, texts: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        trained(tmp_path, {"dataset": texts}, architecture=ARCHITECTURE | change)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=said):  # before any data is read
        trained(tmp_path, {"dataset": tmp_path / "absent"}, architecture=ARCHITECTURE | change)


def test_inputs_that_do_not_fit_the_settings_are_refused(tmp_path: Path, texts: Path) -> None:
    lender = make_model(tmp_path / "model")
    reuse = {"tokenizer": {"kind": "reuse"}}
    with pytest.raises(UsageError, match="there is no tokenizer to reuse"):
        trained(tmp_path, {"dataset": texts}, **reuse)
    with pytest.raises(UsageError, match="drop one of them"):
        trained(tmp_path, {"dataset": texts, "model": lender}, **reuse)
    with pytest.raises(UsageError, match="retrofit changes a trained model: add a `model:` input"):
        trained(
            tmp_path, {"dataset": texts, "tokenizer": lender}, architecture=None, retrofit={"model_type": "kv_shift"},
            **reuse,
        )  # fmt: skip
    with pytest.raises(UsageError, match="give architecture, for random weights, or a `model:` input"):
        trained(tmp_path, {"dataset": texts, "tokenizer": lender}, architecture=None, **reuse)
    with pytest.raises(UsageError, match="max_length 2000 is more than the 1024 positions of org/model@"):
        trained(tmp_path, {"dataset": texts, "model": lender}, architecture=None, max_length=2000, **reuse)
    mixed = save(tmp_path / "mixed", train=sequences(5))
    save(mixed, test=documents(5))
    with pytest.raises(DataError, match="words and 0 targets"):
        trained(tmp_path, {"dataset": mixed}, eval_split="test")


def test_a_recurrent_model_is_trained_on_single_documents_only(tmp_path: Path, texts: Path) -> None:
    recurrent = {"model_type": "mamba", "hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}
    with pytest.raises(UsageError, match=r"attn_implementation sdpa, mamba: .*try eager"):
        trained(tmp_path, {"dataset": texts}, architecture=recurrent)
    with pytest.raises(UsageError, match=r"lets packed rows see one another .*: set packing: false"):
        trained(tmp_path, {"dataset": texts}, architecture=recurrent, attn_implementation="eager")
    step = trained(
        tmp_path, {"dataset": texts}, architecture=recurrent, attn_implementation="eager", packing=False, max_steps=1
    )
    assert step.report.counts["train_rows"] == 120


def test_settings_are_checked_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, hubwright.trainers.pretrain as p; p.PretrainConfig(architecture={'model_type': 'llama'});"
        "assert not {'torch', 'transformers', 'trl', 'datasets', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
