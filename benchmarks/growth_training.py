"""The paths of `benchmarks.growth` that train: a model and conversations on disk, and what prepares them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .growth_cases import WORDS, Case, chat, context_of, json_lines, text


def _short_chat(rng: random.Random, number: int) -> dict[str, Any]:
    """About 0.15 kB, so that a million rows take minutes."""
    turns = (("user", f"{number} {text(rng, 4)}"), ("assistant", text(rng, 6)))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _write_chat(make: Callable[[random.Random, int], Any]) -> Callable[[Path, int], None]:
    """Conversations, and a model."""

    def write(folder: Path, rows: int) -> None:
        (folder / "data").mkdir()
        json_lines(make)(folder / "data", rows)
        write_model(folder / "model")

    return write


def write_model(folder: Path) -> None:
    """A model of two small layers with a byte-level tokenizer of 2,000 entries."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from hubwright.trainers._lib.templates import CHATML_TOOLS

    bpe = ByteLevelBPETokenizer()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe.train_from_iterator([" ".join(WORDS)], vocab_size=2000, special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=special[2], pad_token=special[0])
    tokenizer.chat_template = CHATML_TOOLS.read_text(encoding="utf-8")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sft_preparation(processes: int) -> Callable[[Path, int], None]:
    """All of an SFT up to its first step."""

    def run(folder: Path, rows: int) -> None:
        from hubwright.trainers import sft
        from hubwright.trainers._lib import loop
        from hubwright.trainers.sft.trainer import fit

        loop.fit = lambda *_: {}
        context = context_of(folder, model=folder / "input" / "model", dataset=folder / "input" / "data")
        fit(sft.SFTConfig(use_cpu=True, bf16=False, max_length=1024, dataset_num_proc=processes), context)

    return run


def _sft_stream(folder: Path, rows: int) -> None:
    """An SFT of one step on a stream."""
    from hubwright.trainers import sft

    context = context_of(folder, model=folder / "input" / "model", dataset=folder / "input" / "data")
    config = sft.SFTConfig(use_cpu=True, bf16=False, max_length=1024, streaming=True, max_steps=1)
    sft.train(config, context)


def _pair(rng: random.Random, number: int) -> dict[str, Any]:
    """A state of about 0.3 kB with two actions, ten states to a trajectory."""

    def turn(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    return {"traj_id": f"t{number // 10}", "i": number % 10, "cycle": 1, "prompt": turn("user", text(rng, 40)),
            "chosen": turn("assistant", "go south"), "rejected": turn("assistant", text(rng, 2)),
            "tie": number % 7 == 0}  # fmt: skip


def _write_pairs(folder: Path, rows: int) -> None:
    (folder / "data").mkdir()
    json_lines(_pair)(folder / "data", rows)
    write_model(folder / "model")


def _stepagent_pairs(folder: Path, rows: int) -> None:
    """All of a discriminator's training up to its first step."""
    from hubwright.trainers._lib import loop
    from hubwright.trainers.stepagent import DiscriminatorConfig
    from hubwright.trainers.stepagent.discriminator_trainer import fit

    loop.fit = lambda *_: {}
    context = context_of(folder, model=folder / "input" / "model", dataset=folder / "input" / "data")
    fit(DiscriminatorConfig(use_cpu=True, bf16=False, dataset_configs=()), context)


def _peer_trl(folder: Path, rows: int) -> None:
    """TRL's SFTTrainer on the same rows, up to its first step."""
    import datasets
    import trl

    data = datasets.load_dataset(
        "json", data_files=str(folder / "input" / "data" / "rows.jsonl"), split="train",
        cache_dir=str(folder / "work"),
    )  # fmt: skip
    arguments = trl.SFTConfig(
        str(folder / "output"), assistant_only_loss=True, max_length=1024, use_cpu=True, bf16=False, report_to="none"
    )
    trl.SFTTrainer(str(folder / "input" / "model"), arguments, train_dataset=data)


CASES: dict[str, Case] = {
    "sft_preparation": Case(10_000, _write_chat(chat), _sft_preparation(1)),
    "sft_preparation_two": Case(10_000, _write_chat(chat), _sft_preparation(2)),
    "sft_preparation_short": Case(10_000, _write_chat(_short_chat), _sft_preparation(1)),
    "peer_trl_short": Case(10_000, _write_chat(_short_chat), _peer_trl),
    "sft_stream": Case(10_000, _write_chat(chat), _sft_stream),
    "stepagent_pairs": Case(10_000, _write_pairs, _stepagent_pairs),
    "peer_trl": Case(10_000, _write_chat(chat), _peer_trl),
}
