"""KV shifting attention against plain attention on text: the loss after equal tokens, several seeds.

    python experiments/gpu/kv_shift_text.py --prepare PARQUET --tokens tokens.npy     # on the CPU, before
    python experiments/gpu/kv_shift_text.py --tokens tokens.npy [--toy] [--out FILE]

`--prepare` reads the column `text` of Parquet files (a `corpus` data set) and writes bytes of documents as uint16
token ids, each document ending in 256: no tokenizer travels with them, and losses are nats per byte. Both models have
the same shape, start from the same seed, and see the same batches in the same order; the last 2 % of the tokens are
held out. Reported: the held-out losses, their difference by seed (KV shift minus plain), and its mean with a t
interval
of 95 %.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import architecture, save

END, VOCABULARY = 256, 257
BIG = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 9,
       "num_key_value_heads": 9}  # fmt: skip
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
       "num_key_value_heads": 4}  # fmt: skip
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # Student's t by degrees of freedom


def prepare(source: Path, target: Path) -> None:
    """Write the documents of Parquet files as one array of uint16."""
    import pyarrow.parquet as pq

    parts = []
    for path in sorted([source] if source.is_file() else source.rglob("*.parquet")):
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
            parts += [np.frombuffer(text.encode(), np.uint8).astype(np.uint16), np.array([END], np.uint16)]
    tokens = np.concatenate(parts)
    np.save(target, tokens)
    print(f"{target}: {len(tokens):,} tokens of {len(parts) // 2:,} documents")


def held_out_loss(model: Any, rows: torch.Tensor, batch: int) -> float:
    """Mean loss in nats per token of rows (n, length)."""
    model.eval()
    with torch.no_grad(), autocast(rows.device):
        losses = [model(input_ids=part, labels=part).loss.item() * len(part) for part in rows.split(batch)]
    model.train()
    return sum(losses) / len(rows)


def autocast(device: torch.device) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def train(kv_shift: bool, seed: int, tokens: np.ndarray, settings: argparse.Namespace) -> dict[str, float]:
    """One training; its held-out loss, tokens and seconds."""
    modeling = architecture()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    shape = (TOY if settings.toy else BIG) | {"vocab_size": VOCABULARY, "max_position_embeddings": settings.length}
    targets = ["key", "value"] if kv_shift else []
    config = modeling.KVShiftConfig(**shape, shift_targets=targets, use_cache=False, tie_word_embeddings=True)
    model = modeling.KVShiftForCausalLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.1)
    held = len(tokens) // 50
    train_part, test_part = tokens[:-held], tokens[-held:]
    draw = np.random.default_rng(seed)
    began = time.perf_counter()
    for step in range(settings.steps):
        rate = settings.rate * min(1.0, (step + 1) / max(1, settings.steps // 50))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = draw.integers(0, len(train_part) - settings.length, settings.batch)
        rows = np.stack([train_part[s : s + settings.length] for s in starts]).astype(np.int64)
        batch = torch.from_numpy(rows).to(device)
        with autocast(device):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - began
    count = len(test_part) // settings.length
    rows = torch.from_numpy(test_part[: count * settings.length].reshape(count, -1).astype(np.int64)).to(device)
    return {
        "loss": held_out_loss(model, rows, settings.batch),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": settings.steps * settings.batch * settings.length,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--toy", action="store_true", help="a small model and few steps, for a CPU")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--limit-s", type=float, default=280.0, help="no training begins that would pass it")
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    if settings.prepare:
        prepare(settings.prepare, settings.tokens)
        return
    settings.steps = settings.steps or (20 if settings.toy else 600)
    settings.batch = settings.batch or (4 if settings.toy else 64)
    settings.length = 128 if settings.toy else settings.length
    tokens = np.load(settings.tokens)
    began, longest = time.perf_counter(), 0.0
    runs: list[dict[str, Any]] = []
    for seed in range(settings.seeds):
        if time.perf_counter() - began + 2 * longest > settings.limit_s:
            break  # a pair is whole or absent
        for kv_shift in (False, True):
            start = time.perf_counter()
            runs.append({"seed": seed, "kv_shift": kv_shift} | train(kv_shift, seed, tokens, settings))
            longest = max(longest, time.perf_counter() - start)
            print(runs[-1], flush=True)
    by = {(run["seed"], run["kv_shift"]): run["loss"] for run in runs}
    differences = [by[seed, True] - by[seed, False] for seed in range(len(runs) // 2)]
    result: dict[str, Any] = {"runs": runs, "differences": differences, "mean": float(np.mean(differences))}
    if len(differences) > 1:
        half = T95[min(4, len(differences) - 1)] * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
        result["interval_95"] = [result["mean"] - half, result["mean"] + half]
    save("kv_shift_text", result, settings.out)


if __name__ == "__main__":
    main()
