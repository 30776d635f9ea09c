"""Does mathematics learned from English texts reach other languages by weights alone? MAET, its parts and rivals.

    python -m benchmarks.maet_experiments --out runs/maet --model MODEL --ability ABILITY --wiki WIKI

MODEL is a folder of SmolLM2-135M-Instruct (or another causal model), ABILITY one of a data set of recipe `ability`,
WIKI one of `corpus_wiki`. Every training has the same number of tokens. Trained from the base, by the recipe steps: on
English mathematics (MSVAMP's train questions and answers) and on English summaries, each with and without the mask of
the weights that a short run on the mathematics moves most; on Spanish and on French summaries; and from each of these
two on MSVAMP's train questions in that language (translate-train). Arms are merges of them:

    language          the language's model as it is: continual pre-training
    maet              language + ability, masked, English taken away, in the tensors with the lowest cosines
    highest, random   the same in the tensors with the highest cosines, and in random ones
    no subtraction    the English general model is not taken away
    no mask           both English models trained in all weights
    task arithmetic   the mathematics of all weights, in all tensors, nothing taken away
    together          as maet, half of each language in one model
    translate-train   trained on mathematics in the language itself

Scored: MSVAMP's held-out questions, the right number among four by log-likelihood, and for what is forgotten the same
in English and held-out English summaries. Differences to `language` are of the same questions, with a 95 % bootstrap
interval for each seed. A finished training, merge or score is a file, so the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LANGUAGES = ("es", "fr")
FACTORS = {"alpha": 0.8, "beta": 0.2, "gamma": 1.0}
ARMS: dict[str, dict[str, Any]] = {  # arm -> how the ability is added; models by name
    "maet": {"ability": "math", "general": "english"},
    "highest": {"ability": "math", "general": "english", "select": {"keep": "highest", "fraction": 0.8}},
    "random": {"ability": "math", "general": "english", "select": {"keep": "random", "fraction": 0.8}},
    "no_subtraction": {"ability": "math"},
    "no_mask": {"ability": "math_all", "general": "english_all"},
    "task_arithmetic": {"ability": "math_all", "select": {"keep": "all"}},
    "together": {"ability": "math", "general": "english", "languages": LANGUAGES},
}
METRICS = ("acc", "choice_loss", "loss_per_byte")
TRAINING: dict[str, Any] = {
    "max_length": 256, "per_device_train_batch_size": 4, "learning_rate": 1e-4, "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1, "weight_decay": 0.0, "logging_steps": 5, "save_steps": 1000, "use_cpu": True,
}  # fmt: skip


def inputs(**paths: Path) -> dict[str, Any]:
    """Inputs of a step, from local folders."""
    from hubwright.hub_sync.context import Input
    from hubwright.hub_sync.refs import ArtifactRef

    kinds = {"dataset": "dataset", "masks": "dataset"}
    return {
        role: Input(ArtifactRef(kinds.get(role, "model"), f"local/{role}", "0" * 40), path.absolute())  # type: ignore[arg-type]
        for role, path in paths.items()
    }


def step(work: Callable[[Any, Any], object], config: Any, folder: Path, given: dict[str, Any]) -> None:
    """Run a step below `folder`, unless it has been run."""
    from hubwright.hub_sync.context import StepContext

    done = folder / "done.json"
    if done.is_file():
        return
    context = StepContext(folder.name, folder / "work", folder / "out", given)
    for path in (context.workdir, context.output):
        path.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    work(config, context)
    seconds = round(time.monotonic() - begun, 1)
    shutil.rmtree(context.workdir)
    done.write_text(json.dumps(context.report.metrics | {"seconds": seconds}))


def texts(arguments: argparse.Namespace, folder: Path, seed: int) -> dict[str, Path]:
    """Corpora as folders: `en`, `math_en` and so on; each in an order of the seed, mathematics as the tasks ask it."""
    from datasets import Dataset, load_dataset

    from hubwright.evals.maet.words import WORDS

    wiki = load_dataset(str(arguments.wiki), split="train")
    held = {}
    for language in ("en", *LANGUAGES):
        name, words = f"wikipedia-{language}-summaries", WORDS[language]
        held[language] = [text for text, source in zip(wiki["text"], wiki["source"], strict=True) if source == name]
        held[f"math_{language}"] = [
            f"{words.question} {row['question']}\n{words.direct} {row['answer']}"
            for row in load_dataset(str(arguments.ability), f"msvamp_{language}", split="train")
        ]
    found = {}
    for name, rows in held.items():
        found[name] = folder / "texts" / name
        path = found[name] / "data" / "train-00000-of-00001.parquet"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            random.Random(f"{seed}:{name}").shuffle(rows)
            Dataset.from_dict({"text": rows}).to_parquet(str(path))
    return found


def train(arguments: argparse.Namespace, folder: Path, seed: int) -> None:
    """Everything that is trained, merged and scored for one seed, below `folder`."""
    from hubwright.trainers import pretrain
    from hubwright.trainers.maet.config import ExtractConfig, LocateConfig
    from hubwright.trainers.maet.extract import extract
    from hubwright.trainers.maet.locate import locate

    data = texts(arguments, folder, seed)
    said = TRAINING | {"seed": seed, "threads": arguments.threads, "max_steps": arguments.steps}
    base, masks = arguments.model, folder / "masks" / "out"
    short = said | {"max_steps": max(1, arguments.steps // 2)}
    step(locate, LocateConfig(**short, fraction=0.05), folder / "masks", inputs(model=base, dataset=data["math_en"]))
    for name, corpus in (("math", "math_en"), ("english", "en")):
        given = inputs(model=base, dataset=data[corpus], masks=masks)
        step(extract, ExtractConfig(**said | {"learning_rate": arguments.masked_rate}), folder / name, given)
    plain = pretrain.PretrainConfig(**said)
    for name, corpus in (
        ("math_all", "math_en"),
        ("english_all", "en"),
        *((language, language) for language in LANGUAGES),
    ):
        step(pretrain.train, plain, folder / name, inputs(model=base, dataset=data[corpus]))
    for language in LANGUAGES:
        given = inputs(model=folder / language / "out", dataset=data[f"math_{language}"])
        step(pretrain.train, plain, folder / f"translate_train-{language}", given)
    for name in ("math", "math_all", "es", "translate_train-es"):
        forgotten(folder / name / "out", arguments, folder, name)
    for language in LANGUAGES:
        score(folder / language / "out", language, arguments, folder / f"language-{language}.json")
        name = f"translate_train-{language}"
        score(folder / name / "out", language, arguments, folder / f"{name}.json")
        for arm in ARMS:
            add(arm, language, arguments, folder)


def add(arm: str, language: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Merge an arm and score it; the merged weights are not kept."""
    from hubwright.trainers.maet.config import TransferConfig
    from hubwright.trainers.maet.transfer_step import transfer_step

    result, how = folder / f"{arm}-{language}.json", ARMS[arm]
    if result.is_file():
        return
    languages = how.get("languages", (language,))
    models = {"base": arguments.model} | {f"language_{one}": folder / one / "out" for one in languages}
    models |= {f"{role}_math": folder / how[role] / "out" for role in ("ability", "general") if role in how}
    factors = FACTORS | ({} if "general" in how else {"beta": 0.0})
    settings = {"abilities": {"math": factors}, "dtype": "float32", "select": how.get("select", {})}
    settings["languages"] = {one: {"mu": 1 / len(languages)} for one in languages}
    made = folder / f"{arm}-{language}"
    step(transfer_step, TransferConfig(**settings), made, inputs(**models))
    if (arm, language) == ("maet", "es"):
        forgotten(made / "out", arguments, folder, "maet-es")
    score(made / "out", language, arguments, result)
    shutil.rmtree(made / "out")


def forgotten(model: Path, arguments: argparse.Namespace, folder: Path, name: str) -> None:
    """English mathematics and English summaries, as files."""
    score(model, "en", arguments, folder / f"{name}-on-en.json")
    score(model, "general", arguments, folder / f"{name}-on-general.json")


def score(model: Path, language: str, arguments: argparse.Namespace, result: Path) -> None:
    """Metrics of every question in a language, or of every summary of `general`, as a file.

    In float32: bfloat16 would round small changes away.
    """
    from hubwright.evals.harness.command import run_lm_eval

    if result.is_file():
        return
    task = "maet_general_en" if language == "general" else f"maet_msvamp_ll_{language}"
    os.environ["HUBWRIGHT_DATA_ABILITY"] = str(arguments.ability.absolute())
    os.environ["HUBWRIGHT_DATA_WIKI_SUMMARIES"] = str(arguments.wiki.absolute())
    with tempfile.TemporaryDirectory() as folder:
        found = run_lm_eval(
            task,
            ["--model", "hf", "--model_args", f"pretrained={model.absolute()},dtype=float32", "--device", "cpu",
             "--batch_size", "8", "--limit", str(arguments.limit), "--log_samples", "--output_path", folder],
        )  # fmt: skip
        assert found is not None
        (path,) = Path(folder).glob(f"**/samples_{task}_*.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: int(row["doc_id"]))
    if language == "general":
        values = {"loss_per_byte": [-row["bits_per_byte"][0] / row["bits_per_byte"][1] for row in rows]}
    else:
        values = {metric: [float(row[metric]) for row in rows] for metric in METRICS}
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(values))
    partial.replace(result)


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean, and the 95 % interval of a bootstrap over questions."""
    import numpy as np

    held = np.array(differences)
    draws = np.random.default_rng(0).integers(0, len(held), (2000, len(held)))
    low, high = np.quantile(held[draws].mean(1), [0.025, 0.975])
    return float(held.mean()), float(low), float(high)


def table(out: Path, seeds: int) -> str:
    """By language and arm: means over seeds, and what changed against `language` on the same questions."""
    lines = [
        "| language | arm | accuracy | loss of the choice | against `language` | nats a byte | against `language` |"
    ]
    lines.append("|---|---|---:|---:|---|---:|---|")

    def read(seed: int, arm: str, language: str) -> dict[str, list[float]]:
        path = out / (f"base-{language}.json" if arm == "base" else f"{seed}/{arm}-{language}.json")
        return dict(json.loads(path.read_text()))

    for language in LANGUAGES:
        for arm in ("base", "language", *ARMS, "translate_train"):
            runs = [(read(seed, arm, language), read(seed, "language", language)) for seed in range(seeds)]
            cells = [language, arm.replace("_", " ")]
            for metric in METRICS:
                values = [value for own, _ in runs for value in own[metric]]
                cells.append(f"{sum(values) / len(values):.3f}")
                if metric != "acc" and arm != "language":
                    parts = [
                        interval([a - b for a, b in zip(own[metric], ref[metric], strict=True)]) for own, ref in runs
                    ]
                    cells.append("; ".join(f"{mean:+.3f} ({low:+.3f} to {high:+.3f})" for mean, low, high in parts))
                elif metric != "acc":
                    cells.append("")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_forgetting(out, seeds), "", *_needed(out, seeds), "", *_cost(out, seeds)])


def _forgetting(out: Path, seeds: int) -> list[str]:
    lines = [
        "| in English | accuracy | loss of the choice | nats a byte | summaries, nats a byte |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in ("base", "math", "math_all", "es", "maet-es", "translate_train-es"):
        folders = [out] if name == "base" else [out / str(seed) for seed in range(seeds)]
        cells = [name.replace("_", " ")]
        for corpus, metrics in (("en", METRICS), ("general", METRICS[-1:])):
            end = f"{name}-{corpus}.json" if name == "base" else f"{name}-on-{corpus}.json"
            runs = [json.loads((folder / end).read_text()) for folder in folders]
            for metric in metrics:
                values = [value for run in runs for value in run[metric]]
                cells.append(f"{sum(values) / len(values):.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _needed(out: Path, seeds: int) -> list[str]:
    """Effects that would be seen in four cases of five: 2.8 standard errors of the difference over questions."""
    import numpy as np

    lines = [
        "| seen with 80 % power in one seed | accuracy | loss of the choice | nats a byte |",
        "|---|---:|---:|---:|",
    ]
    for language in LANGUAGES:
        cells = []
        for metric in METRICS:
            errors = []
            for seed in range(seeds):
                own, other = (
                    json.loads((out / f"{seed}/{arm}-{language}.json").read_text())[metric]
                    for arm in ("maet", "language")
                )
                errors.append(np.std(np.subtract(own, other), ddof=1) / len(own) ** 0.5)
            cells.append(f"{2.8 * float(np.mean(errors)):.3f}")
        lines.append(f"| maet against language, {language} | {' | '.join(cells)} |")
    return lines


def _cost(out: Path, seeds: int) -> list[str]:
    """Tokens and wall time of what a language more needs, and of what is made once."""

    def of(*names: str) -> str:
        held = [
            [json.loads((out / str(seed) / name / "done.json").read_text()) for name in names] for seed in range(seeds)
        ]
        tokens = sum(one.get("train_tokens", 0) for run in held for one in run) / seeds
        seconds = sum(one["seconds"] for run in held for one in run) / seeds
        return f"{tokens:,.0f} | {seconds:,.0f}"

    lines = ["| cost, mean of the seeds | tokens | seconds |", "|---|---:|---:|"]
    lines.append(f"| MAET, once: masks, mathematics, English | {of('masks', 'math', 'english')} |")
    for language in LANGUAGES:
        lines.append(f"| MAET, {language} more: its corpus, the merge | {of(language, f'maet-{language}')} |")
        lines.append(
            f"| continual pre-training, {language} more: its corpus, mathematics in it | "
            f"{of(language, f'translate_train-{language}')} |"
        )
    return lines


def main() -> None:
    """Train, merge and score what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "model", "ability", "wiki"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of 1,024 tokens")
    parser.add_argument("--limit", type=int, default=80, help="questions scored in a language")
    parser.add_argument(
        "--masked-rate", type=float, default=5e-4, help="learning rate within the mask; 1e-4 elsewhere"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each process")
    parser.add_argument("--together", type=int, default=1, help="seeds at a time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one == "base":
        for language in ("en", *LANGUAGES, "general"):
            score(arguments.model, language, arguments, arguments.out / f"base-{language}.json")
        return
    if arguments.one:
        train(arguments, arguments.out / arguments.one, int(arguments.one))
        return
    command = [sys.executable, "-m", "benchmarks.maet_experiments", *sys.argv[1:], "--one"]
    parts, running = ["base", *map(str, range(arguments.seeds))], dict[str, subprocess.Popen[bytes]]()
    while parts or running:
        while parts and len(running) < arguments.together:
            part = parts.pop(0)
            (arguments.out / part).mkdir(parents=True, exist_ok=True)
            running[part] = subprocess.Popen([*command, part], stdout=subprocess.DEVNULL)
        time.sleep(1)
        for part, process in list(running.items()):
            if process.poll() is None:
                continue
            if process.returncode:
                for other in running.values():
                    other.kill()
                sys.exit(f"maet_experiments: {part} failed, see above")
            del running[part]
    print(table(arguments.out, arguments.seeds))


if __name__ == "__main__":
    main()
