"""The merger against mergekit: the same checkpoints, the same methods, whole commands in turn.

    python3.11 -m venv .venv-mergekit && .venv-mergekit/bin/pip install mergekit==0.1.5
    HUBWRIGHT_BENCH_MERGEKIT=.venv-mergekit/bin/python python -m benchmarks merge

Five checkpoints of 155.2 M parameters in bfloat16 (a base, four near it), or those named by `--models BASE MODEL ...`;
`--size large` makes them of 1.65 billion (20 GB on the disk), to see that memory stays as it is.
Both compute in float32 and round to bfloat16. Shown are wall time with imports, the largest anonymous memory (sampled
from /proc; file pages that can be dropped do not count), how many elements differ and by how many units in the last
place at most. mergekit draws what DARE drops from one random stream, ours by place and seed: what is compared there is
DARE with nothing dropped. mergekit is LGPL and runs in its own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

ROUNDS = 3
SIZES = {"small": (8, 1024, 2816, 25_600), "large": (28, 1536, 8960, 151_936)}  # layers, widths, vocabulary
WEIGHTS, DENSITY = (0.5, 0.3, -0.2, 0.4), 0.3
STABLE = "ties, with mergekit's sort made stable"
# Of equal magnitudes mergekit keeps those that torch.argsort puts first: any, unless it is told to be stable.
MAKE_STABLE = """import functools, sys, torch
torch.argsort = functools.partial(torch.argsort, stable=True)
from mergekit.scripts.run_yaml import main
sys.exit(main())"""
CASES: dict[str, dict[str, Any]] = {  # method -> mergekit's own parameters, and the models it takes
    "linear": {"models": 4, "parameters": {"normalize": True}},
    "task_arithmetic": {"models": 4, "parameters": {"normalize": False, "lambda": 1.0}},
    "slerp": {"models": 1, "parameters": {"t": 0.4}},
    "ties": {"models": 4, "parameters": {"normalize": True, "lambda": 1.0}},
    STABLE: {"models": 4, "parameters": {"normalize": True, "lambda": 1.0}},
    "dare_linear": {"models": 4, "parameters": {"normalize": False, "rescale": False, "lambda": 1.0}},
    "model_stock": {"models": 4, "parameters": {}},
}


def checkpoints(folder: Path, size: str) -> list[Path]:
    """The base and four models, a file a layer: names and shapes of a Llama, numbers at random, the models' near the
    base's. Each tensor is drawn by its own seed, so that few are held."""
    import torch
    from safetensors.torch import save_file

    layers, width, inner, vocabulary = SIZES[size]
    files = {"embed": {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}}
    if size == "small":
        files["head"] = {"lm_head.weight": (vocabulary, width)}
    for n in range(layers):
        layer = f"model.layers.{n}"
        shapes = {f"{layer}.self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{layer}.mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (width, inner)}
        shapes |= {f"{layer}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
        files[f"{n:02d}"] = shapes
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": vocabulary,
        "tie_word_embeddings": size != "small",
        "dtype": "bfloat16",
        "max_position_embeddings": 2048,
    }

    def drawn(name: str, shape: tuple[int, ...], n: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(f"{n}:{name}".encode())))

    made = []
    for n in range(5):
        path = folder / f"model-{n}"
        path.mkdir(parents=True)
        for file, shapes in files.items():
            held = {name: 0.02 * drawn(name, shape, 0) for name, shape in shapes.items()}
            if n:
                held = {name: one + 0.002 * drawn(name, shapes[name], n) for name, one in held.items()}
            rounded = {name: one.to(torch.bfloat16) for name, one in held.items()}
            save_file(rounded, path / f"model-{file}.safetensors", {"format": "pt"})
        where = {name: f"model-{file}.safetensors" for file, shapes in files.items() for name in shapes}
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
        (path / "config.json").write_text(json.dumps(config))
        made.append(path)
    return made


def ours(method: str, models: list[Path], out: Path) -> list[str]:
    """The command of our merge."""
    return [sys.executable, "-m", "benchmarks.merge", "--run", method, str(out), "--models", *map(str, models)]


def run(method: str, models: list[Path], out: Path) -> None:
    """Our merge of mergekit's configuration, in this process."""
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef
    from hubwright.trainers.merge.config import MergeConfig
    from hubwright.trainers.merge.mergekit import recipe_of
    from hubwright.trainers.merge.step import merge

    named = {f"bench/{path.name}": path for path in models}
    step = recipe_of(json.dumps(configuration(method, list(named))), method)["steps"]["merged"]
    inputs = {role: Input(ArtifactRef("model", name, "a" * 40), named[name]) for role, name in step["inputs"].items()}
    merge(MergeConfig(**step["with"]), StepContext("merge", out / "work", out / "made", inputs))


def configuration(named: str, models: list[str]) -> dict[str, Any]:
    """mergekit's configuration of a case, for models of these names, the base first."""
    method = named.split(",")[0]
    parameters, count = CASES[named]["parameters"], CASES[named]["models"]
    density = {"ties": {"density": DENSITY}, "dare_linear": {"density": 1.0}}.get(method, {})
    own: list[dict[str, float]] = [{"weight": weight} | density for weight in WEIGHTS]
    if method in ("slerp", "model_stock"):
        own = [{} for _ in WEIGHTS]
    said: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": m, "parameters": one} for m, one in zip(models[1 : count + 1], own, strict=False)],
        "parameters": parameters,
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    if method != "linear":
        said["base_model"] = models[0]
    if method == "slerp":
        said["models"].insert(0, {"model": models[0]})
    return said


def theirs(python: str, named: str, models: list[Path], out: Path) -> list[str]:
    """mergekit's command for the same merge."""
    out.mkdir(parents=True)
    (out / "merge.yaml").write_text(json.dumps(configuration(named, list(map(str, models)))))  # JSON is YAML
    started = ["-c", MAKE_STABLE] if named == STABLE else ["-m", "mergekit.scripts.run_yaml"]
    return [python, *started, str(out / "merge.yaml"), str(out / "made"), "--quiet"]


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds, and MB of anonymous memory at most."""
    started, most = time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "2"})
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            try:
                held = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
                most = max(most, int(held.split()[1]))
            except (StopIteration, OSError):
                pass
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)}\n{said.read().decode()[-3000:]}")
    return seconds, most / 1000


def difference(method: str, mine: Path, other: Path, models: list[Path]) -> str:
    """How many elements differ, by how much, and why.

    Units in the last place are bfloat16's. Of equal magnitudes at TIES' cut mergekit keeps those that an unstable sort
    puts first: an element at the cut of one of the models is counted as such.
    """
    import numpy as np

    from hubwright.trainers.merge.checkpoint import open_checkpoint, same_tensors

    a, b = open_checkpoint(mine, "ours"), open_checkpoint(other, "mergekit's")
    same_tensors(a, {"b": b})
    parents = [open_checkpoint(path, path.name) for path in models[: CASES[method]["models"] + 1]]
    count = differ = far = at_cut = nearer = 0
    for name, kind in a.kinds.items():
        left, right = (one.raw(name, 0, kind.shape[0]).view(np.uint16).astype(np.int32) for one in (a, b))
        count += len(left)
        places = (left != right).nonzero()[0]
        if not len(places):
            continue
        # The bits of a number as an integer that rises with it.
        bits = [np.where(one >= 0x8000, 0x8000 - one, one)[places] for one in (left, right)]
        apart = abs(bits[0] - bits[1]) > 1
        differ, far = differ + len(places), far + int(apart.sum())
        held = [one.rows(name, 0, kind.shape[0]).reshape(-1) for one in parents]
        if method == "ties":
            near = np.zeros(len(places), bool)
            for model in held[1:]:
                size = abs(model - held[0])
                near |= (
                    size[places]
                    == np.partition(size, -max(1, int(DENSITY * len(size))))[-max(1, int(DENSITY * len(size)))]
                )
            at_cut += int(near.sum())
        elif method in EXACT:
            exact = EXACT[method](*(one.astype(np.float64) for one in held))[places]
            made = [one.rows(name, 0, kind.shape[0]).reshape(-1)[places] for one in (a, b)]
            nearer += int((abs(made[0] - exact) <= abs(made[1] - exact)).sum())
    said = f"{differ:,} of {count / 1e6:.0f} M, {far:,} by more than 1 ulp"
    if differ and method == "ties":
        said += f"; {at_cut:,} of them at a cut"
    elif differ and method in EXACT:
        said += f"; ours is as near or nearer to float64 in {nearer:,}"
    return said


def _slerp(a: Any, b: Any) -> Any:
    import numpy as np

    t = CASES["slerp"]["parameters"]["t"]
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def _stock(base: Any, *models: Any) -> Any:
    import numpy as np

    changes = [one - base for one in models]
    norms = [np.sqrt((one * one).sum()) for one in changes]
    n = len(changes)
    cosine = np.mean(
        [(changes[i] * changes[j]).sum() / (norms[i] * norms[j]) for i in range(n) for j in range(i + 1, n)]
    )
    t = n * cosine / (1 + (n - 1) * cosine)
    return t * sum(models) / n + (1 - t) * base


EXACT = {"slerp": _slerp, "model_stock": _stock}


def main(arguments: list[str] | None = None) -> None:
    """Print a table, a row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, nargs="+")
    parser.add_argument("--run", nargs=2, metavar=("METHOD", "OUT"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", choices=CASES)
    parser.add_argument("--size", choices=SIZES, default="small")
    chosen = parser.parse_args(arguments or [])
    if chosen.run:
        run(chosen.run[0], chosen.models, Path(chosen.run[1]))
        return
    python = os.environ.get("HUBWRIGHT_BENCH_MERGEKIT")
    print(
        "\n### Merging\n\n| method | ours, s | mergekit, s | ratio | ours, MB | mergekit, MB | elements that differ |"
    )
    print("|---|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = chosen.models or checkpoints(folder, chosen.size)
        for method in chosen.only or CASES:
            took: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
            for _ in range(chosen.rounds):
                for side in ("ours", "theirs")[: 2 if python else 1]:
                    out = folder / side
                    shutil.rmtree(out, ignore_errors=True)
                    command = (
                        ours(method.split(",")[0], models, out)
                        if side == "ours"
                        else theirs(str(python), method, models, out)
                    )
                    took[side].append(measured(command))
            mine, other = (list(zip(*took[side], strict=True)) for side in ("ours", "theirs"))
            row = [method, f"{statistics.median(mine[0]):.1f}"]
            if python:
                ratio = statistics.median(a / b for a, b in zip(mine[0], other[0], strict=True))
                row += [
                    f"{statistics.median(other[0]):.1f}",
                    f"{ratio:.2f}",
                    f"{max(mine[1]):.0f}",
                    f"{max(other[1]):.0f}",
                ]
                row.append(difference(method, folder / "ours/made", folder / "theirs/made", models))
            else:
                row += ["–", "–", f"{max(mine[1]):.0f}", "–", "–"]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
