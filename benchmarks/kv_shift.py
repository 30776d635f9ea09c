"""What KV shifting attention costs against a plain Llama of the same shape, in one run: training, decoding, memory.

    python -m benchmarks kv_shift

A training step is forward, backward and AdamW on one batch; decoding is one token of one sequence, with a cache;
both in eager mode and compiled (where a C++ compiler is found). On a CUDA device bfloat16 and larger batches are used.
Ratios are of runs that follow one another.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

from .timing import Ratio, interleave

# Ratios to a plain Llama that must not be passed (quality target).
AIMS = {"training, eager": 1.08, "training, compiled": 1.03, "decoding, eager": 1.03, "decoding, compiled": 1.03}
SHAPE = {
    "vocab_size": 8192, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip
# SmolLM2-135M's blocks, six of them.


def models(device: str, dtype: Any) -> dict[str, Any]:
    """The two models, with equal weights where both have them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hubwright.trainers.architectures.kv_shift.modeling_kv_shift import KVShiftConfig, KVShiftForCausalLM

    torch.manual_seed(0)
    plain = LlamaForCausalLM(LlamaConfig(**SHAPE)).to(device, dtype)
    shifted = KVShiftForCausalLM(KVShiftConfig(**SHAPE)).to(device, dtype)
    shifted.load_state_dict(plain.state_dict(), strict=False)
    for module in shifted.modules():
        if hasattr(module, "targets"):
            module.float()
    return {"kv_shift": shifted, "llama": plain}


def training_step(model: Any, batch: int, length: int, device: str, steps: int, compiled: bool) -> Callable[[], None]:
    """`steps` optimiser steps on one random batch."""
    import torch

    ids = torch.randint(SHAPE["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(1)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if compiled else model

    def run() -> None:
        model.train()
        for _ in range(steps):
            forward(input_ids=ids, labels=ids, use_cache=False).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def decode(both: dict[str, Any], device: str, tokens: int, compiled: bool) -> Ratio:
    """One token after a prompt of 64, with a cache, both models in turn at every token; quartiles over two tokens.

    The cache grows in eager mode and is static when compiled.
    """
    import torch
    from transformers import DynamicCache, StaticCache

    ids = torch.ones(1, 64, dtype=torch.long, device=device)
    room = 64 + tokens
    caches: dict[str, Any] = {
        name: StaticCache(config=model.config, max_cache_len=room) if compiled else DynamicCache(config=model.config)
        for name, model in both.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in both}
    with torch.no_grad():
        for name, model in both.items():
            model.eval()(ids, past_key_values=caches[name], use_cache=True)
        steps = {name: torch.compile(model) if compiled else model for name, model in both.items()}
        for place in range(64, room):
            positions = torch.tensor([[place]], device=device)
            # Whoever goes first pays for what the other left in the caches of the processor.
            turns = list(steps.items()) if place % 2 else list(steps.items())[::-1]
            for name, step in turns:
                started = time.perf_counter()
                step(ids[:, :1], position_ids=positions, past_key_values=caches[name], use_cache=True)
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - started)
    # The first are the warm-up. Two tokens together hold both orders.
    ours, theirs = (
        [(first + second) / 2 for first, second in zip(seconds[name][20::2], seconds[name][21::2], strict=True)]
        for name in ("kv_shift", "llama")
    )
    low, middle, high = statistics.quantiles([x / y for x, y in zip(ours, theirs, strict=True)], n=4)
    return Ratio("llama", statistics.median(ours), statistics.median(theirs), middle, low, high)


def extra_memory(shifted: Any, plain: Any, device: str) -> float:
    """What the cache holds more than a Llama's, in tokens of keys and values."""
    import torch
    from transformers import DynamicCache

    sizes = {}
    ids = torch.ones(1, 100, dtype=torch.long, device=device)
    for name, model in (("kv_shift", shifted), ("llama", plain)):
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(ids, past_key_values=cache, use_cache=True)
        tensors = [t for layer in cache.layers for t in (layer.keys, layer.values, *_states(layer))]
        sizes[name] = sum(t.numel() * t.element_size() for t in tensors)
    return (sizes["kv_shift"] - sizes["llama"]) / (sizes["llama"] / 100)


def _states(layer: Any) -> list[Any]:
    return [t for t in getattr(layer, "conv_states", {}).values() if t is not None]


def main() -> None:
    """Measure and print a table."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    batch, length, steps, tokens, rounds = (16, 2048, 10, 500, 15) if device == "cuda" else (2, 256, 2, 500, 15)
    found: dict[str, Ratio] = {}
    compilers = [False, True]
    if device == "cpu" and shutil.which("g++") is None:
        print("compiled: left out, there is no g++")
        compilers = [False]
    for compiled in compilers:
        how = "compiled" if compiled else "eager"
        both = models(device, dtype)
        calls = {n: training_step(m, batch, length, device, steps, compiled) for n, m in both.items()}
        found[f"training, {how}"] = interleave(calls["kv_shift"], {"llama": calls["llama"]}, rounds)[0]
        both = models(device, dtype)
        found[f"decoding, {how}"] = decode(both, device, tokens, compiled)
    print(f"\n### KV shifting attention against a plain Llama of the same shape ({where}, {str(dtype)[6:]})\n")
    print("| | KV shift, s | Llama, s | ratio (quartiles) | at most | |\n|---|---:|---:|---:|---:|---|")
    for name, r in found.items():
        met = "met" if r.median <= AIMS[name] else "NOT MET"
        ratio = f"{r.median:.3f} ({r.low:.3f} to {r.high:.3f})"
        print(f"| {name} | {r.ours:.4f} | {r.theirs:.4f} | {ratio} | {AIMS[name]} | {met} |")
    tokens_more = extra_memory(both["kv_shift"], both["llama"], device)
    print(f"\nCache: {tokens_more:.2f} tokens of keys and values more per layer (at most 1).")
