"""The KV shifting paper's experiments at the size of two CPU cores: who learns what, in how many steps, at what loss.

    python -m benchmarks.kv_experiments induction --out runs/kv
    python -m benchmarks.kv_experiments ngram hop_k --out runs/kv
    python -m benchmarks.kv_experiments text stability --out runs/kv --corpus CORPUS   # folder of a corpus data set
    python -m benchmarks.kv_experiments retrofit --out runs/kv --corpus CORPUS --model MODEL

A run is a training by the recipe step `pretrain`, in a process of its own with one thread; `--jobs` of them at a time.
A finished run is one JSON file, so the command goes on where it was stopped. Prints tables with the mean and the range
over seeds, and draws the curves into OUT/EXPERIMENT.png. `--estimate` says what would be trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import kv_tables

Settings = dict[str, Any]
KV, LLAMA = {"model_type": "kv_shift"}, {"model_type": "llama"}
CANON = KV | {
    "shift_targets": ["attention_input", "query", "key", "value", "mlp_input"], "shift_kernel_size": 4,
    "shift_per_channel": True, "shift_residual": True, "shift_init": "conv",
}  # fmt: skip


def shape(width: int, layers: int, heads: int, **more: Any) -> Settings:
    """A Llama's shape with an MLP of four times the width (ours)."""
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return sizes | {"num_attention_heads": heads} | more


def synthetic(steps: int, rate: float, length: int, **more: Any) -> Settings:
    """A training on scored sequences."""
    return {
        "max_steps": steps, "learning_rate": rate, "max_length": length, "tokenizer": {"kind": "words"},
        "per_device_train_batch_size": 32, "per_device_eval_batch_size": 256, "eval_rows": 512,
        "eval_steps": max(25, steps // 40),
    } | more  # fmt: skip


def induction(seeds: int) -> dict[str, Settings]:
    """The paper's induction experiments: depth, which of keys and values, width."""
    wide, narrow = {"heads": 4, "width": 64}, {"heads": 1, "width": 8}
    kinds = {
        "1 layer, KV shift": (KV, 1, wide, 1200, 2e-3),
        "1 layer, K only": (KV | {"shift_targets": ["key"]}, 1, wide, 1200, 2e-3),
        "1 layer, V only": (KV | {"shift_targets": ["value"]}, 1, wide, 1200, 2e-3),
        "1 layer, vanilla": (LLAMA, 1, wide, 1200, 2e-3),
        "2 layers, vanilla": (LLAMA, 2, wide, 3000, 2e-3),
        "1 layer of width 8, KV shift": (KV, 1, narrow, 3000, 3e-3),
        "2 layers of width 8, vanilla": (LLAMA, 2, narrow, 3000, 3e-3),
    }
    return {
        f"{name}#{seed}": synthetic(steps, rate, 48, eval_steps=25)
        | {"architecture": kind | shape(layers=layers, **size), "seed": seed, "data": "induction"}
        for name, (kind, layers, size, steps, rate) in kinds.items()
        for seed in range(seeds)
    }


def ngram(seeds: int) -> dict[str, Settings]:
    """Rules of three words, where the paper finds no difference."""
    return {
        f"depth {layers}, {name}#{seed}": synthetic(1000, 2e-3, 64)
        | {"architecture": kind | shape(64, layers, 4), "seed": seed, "data": "ngram"}
        for layers in (1, 2)
        for name, kind in (("KV shift", KV), ("vanilla", LLAMA))
        for seed in range(seeds)
    }


def hop_k(seeds: int) -> dict[str, Settings]:
    """Chains of look-ups, five layers as in the paper."""
    return {
        f"5 layers, {name}#{seed}": synthetic(1500, 1e-3, 128, eval_steps=100)
        | {"architecture": kind | shape(64, 5, 4), "seed": seed, "data": "hop_k"}
        for name, kind in (("KV shift", KV), ("vanilla", LLAMA))
        for seed in range(seeds)
    }


# (width, layers, heads), learning rates, most seeds
SIZES = {"S": ((64, 4, 4), (4e-3, 1.6e-2, 6.4e-2), 3), "M": ((128, 4, 4), (1e-3, 4e-3, 1.6e-2), 3)}
VARIANTS = {"vanilla": LLAMA, "KV shift": KV, "Canon-like": CANON}
IDENTITY = {"KV shift (identity start)": KV | {"shift_init": "identity"}}

TEXT: Settings = {
    "data": "corpus", "tokenizer": {"kind": "bpe", "vocab_size": 1024}, "max_length": 256, "max_steps": 500,
    "per_device_train_batch_size": 8, "warmup_steps": 50, "lr_scheduler_type": "cosine", "eval_split": "validation",
    "eval_rows": 100, "eval_steps": 25, "per_device_eval_batch_size": 16,
}  # fmt: skip


def text(seeds: int) -> dict[str, Settings]:
    """The paper's pre-training in miniature: loss on held-out text, the same sweep of rates for every variant."""
    runs = {}
    for size, ((width, layers, heads), rates, most) in SIZES.items():
        for rate in rates:
            for name, kind in (VARIANTS | (IDENTITY if rate == 4e-3 else {})).items():
                for seed in range(min(seeds, most)):
                    runs[f"{size}, {name}, {rate:g}#{seed}"] = TEXT | {
                        "architecture": kind | shape(width, layers, heads, tie_word_embeddings=True),
                        "seed": seed, "learning_rate": rate,
                    }  # fmt: skip
    return runs


def stability(seeds: int) -> dict[str, Settings]:
    """Rates at which a model breaks: no clipping, and no decay that would mend it."""
    width, layers, heads = SIZES["S"][0]
    return {
        f"S, {name}, {rate:g}#{seed}": TEXT | {
            "architecture": kind | shape(width, layers, heads, tie_word_embeddings=True), "seed": seed,
            "learning_rate": rate, "max_grad_norm": 0.0, "lr_scheduler_type": "constant_with_warmup",
            "max_steps": 200, "warmup_steps": 20,
        }
        for rate in (1.6e-2, 6.4e-2, 0.256, 1.024)
        for name, kind in VARIANTS.items()
        for seed in range(min(seeds, 3))
    }  # fmt: skip


ARMS: dict[str, Settings] = {
    "plain": {},
    "KV shift": {"retrofit": KV},
    "KV shift (scalars x 100)": {"retrofit": KV, "learning_rate_factors": {"kv_shift": 100.0}},
}


def retrofit(seeds: int) -> dict[str, Settings]:
    """A trained model that goes on, on the same data: as it is, and with scalars that begin as the identity."""
    common = {
        "data": "corpus", "bf16": True, "max_length": 256, "max_steps": 40, "warmup_steps": 4, "learning_rate": 1e-4,
        "per_device_train_batch_size": 4, "lr_scheduler_type": "cosine", "eval_split": "validation", "eval_rows": 40,
        "eval_steps": 8, "per_device_eval_batch_size": 8,
    }  # fmt: skip
    return {
        f"{name}#{seed}": common | more | {"seed": seed}
        for name, more in ARMS.items()
        for seed in range(min(seeds, 3))
    }


BASE = {"text": "vanilla", "stability": "vanilla", "retrofit": "plain"}
EXPERIMENTS = {
    "induction": induction,
    "ngram": ngram,
    "hop_k": hop_k,
    "text": text,
    "stability": stability,
    "retrofit": retrofit,
}


def data_folder(name: str, out: Path, corpus: Path | None) -> Path:
    """The data set, built once; a corpus is given."""
    if name == "corpus":
        if corpus is None:
            sys.exit("kv_experiments: this needs --corpus, the folder of a corpus data set (recipe corpus_wiki)")
        return corpus
    folder = out / "data" / name
    if not (folder / "done").is_file():
        from hubwright.builders import sequences
        from hubwright.hub_sync.context import StepContext

        more = {"ngram": {"train_rows": 32_000}, "hop_k": {"train_rows": 48_000}, "induction": {"train_rows": 96_000}}
        title = "".join(part.title() for part in name.split("_"))
        config = getattr(sequences, f"{title}Config")(**more[name])
        made = getattr(sequences, f"build_{name}")(config, StepContext(name, out / "work", out / "work"))
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for split in ("train", "test"):
            made[split].to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
        (folder / "done").touch()
    return folder


def train(settings: Settings, inputs: dict[str, str], work: Path, result: Path) -> None:
    """One run, and its curves as one JSON file."""
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef
    from hubwright.trainers.pretrain import PretrainConfig
    from hubwright.trainers.pretrain import train as pretrain

    common = {
        "use_cpu": True,
        "bf16": False,
        "threads": 1,
        "eval_split": "test",
        "logging_steps": 50,
        "save_steps": 10_000,
    }
    config = PretrainConfig(**common | {k: v for k, v in settings.items() if k != "data"})
    given = {kind: Input(ArtifactRef(kind, f"local/{kind}", "0" * 40), Path(path)) for kind, path in inputs.items()}
    context = StepContext("run", work, work / "output", given)
    work.mkdir(parents=True, exist_ok=True)
    try:
        pretrain(config, context)
        curves = {curve["title"]: curve["series"] for curve in context.report.curves}
        found = {
            "metrics": context.report.metrics,
            "loss": curves["Loss"]["eval"],
            "accuracy": curves["Accuracy"]["eval"],
        }
    except Exception as error:  # a run that diverges is a result
        if "the loss is" not in str(error):
            raise
        found = {"diverged": str(error)}
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    partial.replace(result)


def digest(settings: Settings) -> str:
    """What a run's file is called: other settings are another run."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    """Train what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, help="text, stability, retrofit: folder of a corpus data set")
    parser.add_argument("--model", type=Path, help="retrofit: folder of a Llama, such as SmolLM2-135M")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--estimate", action="store_true", help="say what would be trained and stop")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        job = json.loads(arguments.one)
        train(job["settings"], job["inputs"], Path(job["work"]), Path(job["result"]))
        return
    if "retrofit" in arguments.experiments and arguments.model is None:
        parser.error("retrofit needs --model, the folder of a Llama such as SmolLM2-135M")
    failed = 0
    for experiment in arguments.experiments:
        if experiment not in EXPERIMENTS:
            parser.error(f"{experiment!r} is unknown: use {', '.join(EXPERIMENTS)}")
        runs = EXPERIMENTS[experiment](arguments.seeds)
        folder = arguments.out.absolute() / experiment
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{digest(settings)}.json" for name, settings in runs.items()}
        missing = [name for name, path in paths.items() if not path.is_file()]
        if arguments.estimate:
            steps = sum(runs[name]["max_steps"] for name in missing)
            print(f"{experiment}: {len(missing)} of {len(runs)} runs, {steps:,} steps")
            continue

        def one(name: str, experiment=experiment, runs=runs, paths=paths, folder=folder) -> None:
            settings = runs[name]
            corpus = arguments.corpus.absolute() if arguments.corpus else None
            inputs = {"dataset": str(data_folder(settings["data"], arguments.out.absolute(), corpus))}
            if "architecture" not in settings:
                inputs["model"] = str(arguments.model.absolute())
            job = {
                "settings": settings, "inputs": inputs,
                "work": str(folder / "work" / paths[name].stem), "result": str(paths[name]),
            }  # fmt: skip
            command = [sys.executable, "-m", "benchmarks.kv_experiments", "--out", ".", "--one", json.dumps(job)]
            done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
            print(f"{experiment}: {name} {'done' if done.returncode == 0 else done.stderr[-2000:]}", file=sys.stderr)

        if missing:
            one(missing[0])  # builds the data, which the others find
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(one, missing[1:]))
        results = {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}
        failed += len(runs) - len(results)
        print(kv_tables.table(experiment, results))
        if experiment in kv_tables.LOSSES:
            print(f"\n{kv_tables.gains(results, BASE[experiment])}\n\n{kv_tables.pairs(results)}")
        kv_tables.plot(experiment, results, arguments.out / f"{experiment}.png")
    if failed:
        sys.exit(f"kv_experiments: {failed} runs failed, see above; run again to try them once more")


if __name__ == "__main__":
    main()
