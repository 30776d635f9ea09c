"""A whole model and real data in miniature: byte-level tokenizer, two-layer Llama, data sets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.refs import ArtifactRef

PLAIN_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "",
            "parameters": {"type": "object", "properties": {key: {"type": "string"}}},
        },
    }
    for name, key in (("weather", "city"), ("add", "a"))
]


def make_tokenizer(template: str = PLAIN_CHATML) -> Any:
    """Byte-level BPE without merges: 256 bytes and three special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<pad>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.chat_template = template
    return tokenizer


def make_model(folder: Path, dropout: float = 0.1) -> Path:
    """A random two-layer Llama with dropout, so that a resume must restore the random state too."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        attention_dropout=dropout,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tool_conversation(number: int) -> dict[str, Any]:
    """A conversation with two calls of different functions, an answer in words and a question back."""
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": f"Town {number}"}}}
    other = {"type": "function", "function": {"name": "add", "arguments": {"a": str(number)}}}
    return {
        "messages": [
            {"role": "user", "content": f"Weather in Town {number}?"},
            {"role": "assistant", "content": "", "tool_calls": [call, other]},
            {"role": "tool", "name": "weather", "content": '{"degrees": 20}'},
            {"role": "tool", "name": "add", "content": "3"},
            {"role": "assistant", "content": "20 degrees, and 3."},
            {"role": "user", "content": "Thanks"},
            {"role": "assistant", "content": "Goodbye ä 好"},
        ],
        "tools": TOOLS,
    }


def save_tools(folder: Path, rows: list[dict[str, Any]], split: str = "train") -> Path:
    from datasets import Dataset, Features, Json, List

    features = Features({"messages": List(Json()), "tools": List(Json())})
    return _save(folder, Dataset.from_list(rows, features=features), split)


def save_drills(folder: Path, rows: int = 24, test_rows: int = 6) -> Path:
    """Prompt, completion, chosen and rejected from the project's own generator."""
    from hubwright.builders.feedback_drills import FeedbackDrillsConfig, build

    splits = build(FeedbackDrillsConfig(train_rows=rows, test_rows=test_rows, languages=("en",)), context(folder, {}))
    for name, split in splits.items():
        _save(folder, split, name)
    return folder


def _save(folder: Path, dataset: Any, split: str) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def context(folder: Path, inputs: dict[str, Path], name: str = "run") -> StepContext:
    kinds = {"dataset": "dataset", "masks": "dataset"}
    return StepContext(
        "step",
        folder / name / "work",
        folder / name / "out",
        {
            role: Input(ArtifactRef(kinds.get(role, "model"), f"org/{role}", "0123456789" * 4), path)  # type: ignore[arg-type]
            for role, path in inputs.items()
        },
    )


QUICK: dict[str, Any] = {
    "max_steps": 4,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "max_length": 512,
    "use_cpu": True,
    "bf16": False,
    "threads": 1,
    "logging_steps": 1,
}
