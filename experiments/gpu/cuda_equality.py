"""Whether CUDA computes what the reference computes: KV shift's kernel, the flash kernel, one masked step.

    python experiments/gpu/cuda_equality.py [--toy] [--out FILE]

1. The mix on the device (Triton where it is available) against `mix_reference` in float64 on the CPU: result and both
   gradients, for several shapes, taps, per head and per channel, with and without packed documents.
2. A KV shifting model in bfloat16 on PyTorch's flash backend against its math backend, and against float32 on the CPU.
3. One AdamW step on the weights of a mask alone, on the device and on the CPU, float32: outside of the mask every
   bit stays, inside the two agree.

Without CUDA the same code compares the CPU with itself, which shows that the script runs. Exits 1 if a bound is
passed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from common import architecture, module, save

SHAPE = {"vocab_size": 300, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}  # fmt: skip


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the larger magnitude."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def mixes(device: torch.device, toy: bool) -> dict[str, float]:
    """Case -> the worst relative difference of result and gradients."""
    mixing = module("trainers.architectures.kv_shift.mixing_kv_shift")
    found = {}
    lengths = (37,) if toy else (37, 512, 2049)
    for length in lengths:
        for heads, channels in ((3, 64), (8, 128)):
            for taps, per_channel in ((2, False), (4, True)):
                for packed in (False, True):
                    generator = torch.Generator().manual_seed(length + heads + taps)
                    x = torch.randn(2, length, heads, channels, generator=generator, dtype=torch.float64)
                    rows = heads * channels if per_channel else heads
                    weight = torch.randn(rows, taps, generator=generator, dtype=torch.float64)
                    keep = torch.rand(2, length, taps - 1, generator=generator) > 0.2 if packed else None
                    gradient = torch.randn(x.shape, generator=generator, dtype=torch.float64)
                    results = []
                    exact = ("cpu", torch.float64, mixing.mix_reference)
                    for place, dtype, mix in (exact, (device, torch.float32, mixing.mix)):
                        a = x.to(place, dtype, copy=True).requires_grad_(True)
                        w = weight.to(place, dtype, copy=True).requires_grad_(True)
                        out = mix(a, w, keep=None if keep is None else keep.to(place))
                        out.backward(gradient.to(place, dtype))
                        results.append((out, a.grad, w.grad))
                    name = f"{length}x{heads}x{channels}, {taps} taps{', per channel' if per_channel else ''}"
                    pairs = zip(results[1], results[0], strict=True)
                    found[name + (", packed" if packed else "")] = max(worst(a, b) for a, b in pairs)
    return found


def backends(device: torch.device) -> dict[str, float]:
    """Worst relative difference of the logits: flash against math in bfloat16, and both against float32 on the CPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    modeling = architecture()
    torch.manual_seed(0)
    model = modeling.KVShiftForCausalLM(modeling.KVShiftConfig(**SHAPE, attn_implementation="sdpa")).eval()
    ids = torch.randint(SHAPE["vocab_size"], (2, 256), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = model(ids).logits
        model = model.to(device, torch.bfloat16)
        found = {}
        logits = {}
        for name, backend in (("math", SDPBackend.MATH), ("flash", SDPBackend.FLASH_ATTENTION)):
            with sdpa_kernel(backend):
                logits[name] = model(ids.to(device)).logits.float()
            found[f"{name} against float32"] = worst(logits[name], exact)
        found["flash against math"] = worst(logits["flash"], logits["math"])
    return found


def masked_step(device: torch.device) -> dict[str, Any]:
    """One step of `mask_optimizer` on the device and on the CPU."""
    masked = module("trainers.maet.masked")
    modeling = architecture()
    results = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        model = modeling.KVShiftForCausalLM(modeling.KVShiftConfig(**SHAPE)).to(place).train()
        before = {name: p.detach().clone().cpu() for name, p in model.named_parameters()}
        generator = torch.Generator().manual_seed(2)
        masks = {name: torch.rand(p.shape, generator=generator) < 0.1 for name, p in before.items()}
        named = dict(model.named_parameters())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        masked.mask_optimizer(optimizer, {id(named[name]): mask for name, mask in masks.items()})
        ids = torch.randint(SHAPE["vocab_size"], (2, 64), generator=torch.Generator().manual_seed(3)).to(place)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        after = {name: p.detach().cpu() for name, p in model.named_parameters()}
        outside = all(torch.equal(before[name][~masks[name]], after[name][~masks[name]]) for name in before)
        results.append((outside, {name: after[name] - before[name] for name in before}))
    moved = max(worst(results[1][1][name], results[0][1][name]) for name in results[0][1])
    return {"outside_unchanged": results[0][0] and results[1][0], "inside_difference": moved}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    result = {"mix": mixes(device, settings.toy), "attention": backends(device), "masked_step": masked_step(device)}
    bounds = {
        "mix": max(result["mix"].values()) < 1e-5,
        "attention": result["attention"]["flash against math"] < 0.05,
        "masked_step": result["masked_step"]["outside_unchanged"]
        and result["masked_step"]["inside_difference"] < 0.05,
    }
    save("cuda_equality", result | {"within_bounds": bounds}, settings.out)
    return int(not all(bounds.values()))


if __name__ == "__main__":
    sys.exit(main())
