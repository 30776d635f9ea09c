"""Small Llamas under the names that the mergekit configurations of the tests have, and mergekit's own results on them.

Weights are multiples of 1/4096 made of whole numbers, so that every machine has the same. The digests in
test_merge_mergekit_results.py are what this program prints in an environment with mergekit (LGPL, never a dependency):

    python3.11 -m venv .venv-mergekit && .venv-mergekit/bin/pip install torch==2.13.0 mergekit==0.1.5
    .venv-mergekit/bin/python tests/trainers/merge/mergekit_reference.py FOLDER_OF_CONFIGURATIONS

It makes torch's sorts stable: of equal magnitudes mergekit keeps any, ours the first. And it lets mergekit compute in
float32 where a configuration says `dtype: bfloat16`, and round at the end, as ours does.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def numbers(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Whole numbers between -500 and 500 over 4096, float32."""
    count = int(torch.tensor(shape).prod())
    places = torch.arange(1, count + 1, dtype=torch.int64)
    start = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")
    drawn = (places * 2654435761 + start) % 4294967291
    drawn = (drawn * 1103515245 + 12345) % 2147483647
    return (drawn % 1001 - 500).to(torch.float32).reshape(shape) / 4096


def save(root: Path) -> None:
    """The folders t/base, t/a, t/b, t/c, t/untied, t/tied, t/pad, t/inv and t/zfirst below `root`, float32."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tiny_model import save_tiny_model

    def model(name: str, seed: int, change: Any = lambda held: None, **config: Any) -> Path:
        folder: Path = save_tiny_model(root / "t" / name)
        shapes = {key: tuple(one.shape) for key, one in load_file(folder / "model.safetensors").items()}
        held = {key: numbers(key, shape, 0) for key, shape in sorted(shapes.items())}
        if seed:
            held = {key: one + numbers(key, shapes[key], seed) / 8 for key, one in held.items()}
        change(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "float32"} | config))
        return folder

    def pad(held: Tensors) -> None:
        for name in (EMBEDDINGS, HEAD):
            held[name] = torch.cat([held[name], torch.zeros(320 - len(held[name]), 32)])

    model("base", 0), model("a", 1), model("b", 2), model("c", 3)
    model("untied", 4, lambda held: held.update({HEAD: held[EMBEDDINGS].clone()}))
    model("tied", 5, lambda held: held.pop(HEAD), tie_word_embeddings=True)
    model("pad", 6, pad, vocab_size=320)
    model("inv", 7, lambda held: held.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    last = model("zfirst", 1, rope_parameters={"rope_theta": 500000.0, "rope_type": "default"})
    template = last / "chat_template.jinja"
    template.write_text(template.read_text() + "{# of zfirst #}")


def digest(folder: Path) -> str:
    """SHA-256 of a model's tensors: names, dtypes, shapes and bytes, in the order of the names."""
    said = hashlib.sha256()
    held: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        held |= load_file(path)
    for name, one in sorted(held.items()):
        said.update(f"{name} {one.dtype} {tuple(one.shape)}\n".encode())
        said.update(one.contiguous().view(torch.uint8).numpy().tobytes())
    return said.hexdigest()[:16]


def main(configurations: Path) -> None:
    import functools
    import logging

    torch.argsort = functools.partial(torch.argsort, stable=True)
    torch.sort = functools.partial(torch.sort, stable=True)
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        save(root)
        for path in sorted(configurations.glob("*.yml")):
            text = re.sub(r"(?<![\w/])t/(?=[a-z])", f"{root}/t/", path.read_text())
            if "out_dtype" not in text:
                text = text.replace("dtype: bfloat16", "dtype: float32\nout_dtype: bfloat16")
            try:
                out = root / "out" / path.stem
                run_merge(MergeConfiguration(**yaml.safe_load(text)), str(out), MergeOptions(quiet=True))
                print(f'    "{path.stem}": "{digest(out)}",', flush=True)
            except Exception as error:
                print(f"    # {path.stem}: {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
