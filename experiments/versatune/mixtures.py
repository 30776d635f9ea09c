"""Which weights of six domains give a small model the lowest held-out losses, and what does expanding one domain cost?

    python experiments/versatune/mixtures.py --work DIR --data ../shared/data [--seeds 0 1] [--arms NAME ...]
        [--steps 240] [--runs 24] [--target law] [--threads 2] [--out FILE] [--model DIR --known code=5.5 ...]

A Llama of 1.3 M parameters (BPE of 4,096 tokens, rows of 256, 8 rows per step) learns from random weights. Six
domains, cut to equal tokens (188,390 each); documents held out by hash. Arms with weights that stay: `uniform`;
`matched` to the released hard labels of Llama-2-7B (KNOWN: a given distribution, since a model with random weights
knows nothing); `inverse` of them; `proportional` to the tokens that each domain had before it was cut; `regress`, from
short runs. Arms that move: `dynamic` (VersaTune's rule from `matched`), `dynamic_uniform` (from uniform), `odm`,
`doremi_domain` and `doremi_all` (from uniform). References: the lowest held-out loss within a run on that domain
alone, once for all seeds.

Expansion: the `uniform` model of the seed learns on for half as many steps: with the rule's target, on the target
alone, on all uniformly. The run on the target alone is also read where an early stop would have ended it.

`--model` has a trained model learn on instead (rows of 128, 5 updates), with its own tokenizer; `--known` is then its
distribution over the domains, from the probe.

Every training is a step of the package on local folders; what is done is not done again, and a killed one resumes.
With no seed (`--seeds`) only what the seeds share is made; after that each seed may have a process of its own.
Cost: 37 times `steps` of 2,048 tokens (0.56 CPU seconds each, one thread on a busy machine) and 800 CPU seconds of
measurements: about 5,800 by default, an hour of two busy cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from domain_texts import documents
from local_steps import context, once, save_card, save_rows

VOCABULARY, RESAMPLES, WIDTH, MODEL_WIDTH = 4096, 1000, 256, 128
ARCHITECTURE = {"model_type": "llama", "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4,
                "num_attention_heads": 4, "max_position_embeddings": WIDTH, "tie_word_embeddings": True}  # fmt: skip
# Counts in the authors' repository for Llama-2-7B, percent.
KNOWN = {"law": 5.7, "medicine": 8.7, "finance": 6.5, "science": 6.0, "code": 8.1, "other": 65.0}
DOMAINS = tuple(sorted(KNOWN))
ARMS: dict[str, dict[str, Any]] = {
    "uniform": {"strategy": "static"},
    "matched": {"strategy": "static"},
    "inverse": {"strategy": "static"},
    "proportional": {"strategy": "static"},
    "regress": {"strategy": "static"},
    "dynamic": {"strategy": "versatune", "weights": "matched"},
    "dynamic_uniform": {"strategy": "versatune", "weights": "uniform"},
    "odm": {"strategy": "odm", "weights": "uniform"},
    "odm_often": {"strategy": "odm", "weights": "uniform", "updates": 40},
    "doremi_domain": {"strategy": "doremi", "normaliser": "domain", "weights": "uniform"},
    "doremi_all": {"strategy": "doremi", "normaliser": "all", "weights": "uniform"},
}
EXPANSION = ("expand", "target_alone", "uniform_on")
SHARED_SEED, SWEEP_SEED, HELD_OUT = 1000, 2000, 0.08
Losses = dict[str, list[list[float]]]  # by domain, of every document [nats, scored tokens]


def cut(folder: Path, data: Path, limit: int | None, model: Path | None) -> None:
    """The tokenizer, of the texts or of a model, and every domain's documents up to as many tokens as the smallest
    domain has, and `limit`."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    from hubwright.builders._lib.splits import unit_hash
    from hubwright.trainers.pretrain.tokenizer import bpe

    texts = {name: sorted(set(rows), key=unit_hash) for name, rows in documents(data).items()}
    fewest = min(sum(map(len, rows)) for rows in texts.values())
    shares = [rows[: max(1, int(len(rows) * fewest / sum(map(len, rows))))] for rows in texts.values()]
    if model:
        tokenizer = AutoTokenizer.from_pretrained(model)
    else:
        tokenizer = bpe(({"text": text} for rows in shares for text in rows), VOCABULARY, WIDTH)
    tokenizer.save_pretrained(folder / "tokenizer")
    sizes = {name: [len(ids) for ids in tokenizer(rows, verbose=False)["input_ids"]] for name, rows in texts.items()}
    natural = {name: sum(rows) for name, rows in sizes.items()}
    budget = min(limit or max(natural.values()), *natural.values())
    for name, rows in texts.items():
        last = int(np.searchsorted(np.cumsum(sizes[name]), budget, side="right"))
        save_rows(folder / name, {"train": Dataset.from_dict({"text": rows[:last]})})
        save_card(folder / name, {"default": ("train",)})
    (folder / "natural.json").write_text(json.dumps(natural))
    print(f"{budget} tokens of each domain; before: {natural}", flush=True)


def mix(folder: Path, domains: Path, known: dict[str, float], strategy: str, **more: Path) -> None:
    """The mixture data set by the package's step."""
    from hubwright.builders.versatune.mixture import MixtureConfig, build

    probe = folder / "probe"
    probe.mkdir(parents=True, exist_ok=True)
    shares = {name: {"share": value / sum(known.values())} for name, value in known.items()}
    (probe / "distribution.json").write_text(json.dumps({"domains": DOMAINS, "hard": shares}))
    config = MixtureConfig.model_validate(
        {
            "strategy": strategy,
            "labels": "hard",
            "unit": "tokens",
            "held_out_share": HELD_OUT,
            "licenses": dict.fromkeys(DOMAINS, "other"),
        }
    )
    inputs = {f"domain_{name}": domains / name for name in DOMAINS}
    step = context(folder, **inputs, probe=probe, tokenizer=domains / "tokenizer", **more)
    for name, splits in build(config, step).items():
        save_rows(step.output, splits, name)
    save_card(step.output, dict.fromkeys(DOMAINS, ("train", "held_out")))


def settings(arguments: argparse.Namespace, seed: int, steps: int, updates: int = 10) -> dict[str, Any]:
    own = {"max_length": WIDTH, "learning_rate": 2e-3, "bf16": False, "eval_rows": 16}
    if arguments.model:
        own, updates = {"max_length": MODEL_WIDTH, "learning_rate": 2e-4, "bf16": True, "eval_rows": 8}, 5
    return own | {
        "max_steps": steps, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 16,
        "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "seed": seed,
        "update_every": max(1, steps // updates), "save_steps": max(1, steps // 4), "use_cpu": True,
        "logging_steps": max(1, steps // 10), "threads": arguments.threads,
    }  # fmt: skip


def train(folder: Path, config: dict[str, Any], **inputs: Path) -> None:
    """A training; `losses.json` beside it: [step, losses by domain] at every update and at the end."""
    from hubwright.trainers.versatune import VersatunePretrainConfig, pretrain

    fresh = {} if "model" in inputs else {"architecture": ARCHITECTURE}
    step = context(folder, **inputs)
    pretrain(VersatunePretrainConfig.model_validate({**config, **fresh}), step)
    import pyarrow.parquet as pq

    rows, every = pq.read_table(step.output / "schedule.parquet").to_pylist(), config["update_every"]
    course: dict[int, dict[str, float]] = {}
    for row in rows:
        course.setdefault(row["update"] * every, {})[row["domain"]] = row["held_out_loss"]
    names = sorted(course[0])
    course[config["max_steps"]] = {name: step.report.metrics[f"held_out_loss_{name}"] for name in names}
    weights = {name: [row["weight"] for row in rows if row["domain"] == name] for name in names}
    (folder / "losses.json").write_text(json.dumps({"course": list(course.items()), "weights": weights}))


def measure(folder: Path, mixture: Path, width: int, dtype: str) -> None:
    """`documents.json`: nats and scored tokens of every held-out document, read in windows of `width` tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hubwright.hub_sync.parquet import load_split

    model = AutoModelForCausalLM.from_pretrained(folder / "out", dtype=dtype).eval()
    tokenizer, result = AutoTokenizer.from_pretrained(folder / "out"), {}
    for name in DOMAINS:
        texts = load_split(mixture, name, "held_out", folder / "work" / "datasets")["text"][:]
        windows: list[tuple[int, list[int]]] = []
        for number, ids in enumerate(tokenizer(texts, verbose=False)["input_ids"]):
            ids = [*ids, tokenizer.eos_token_id]
            windows += [(number, ids[at : at + width]) for at in range(0, len(ids) - 1, width - 1)]
        windows.sort(key=lambda one: len(one[1]))
        sums = np.zeros((len(texts), 2))
        for at in range(0, len(windows), 16):
            some = windows[at : at + 16]
            ids = torch.full((len(some), max(len(one) for _, one in some)), -100)
            for row, (_, one) in enumerate(some):
                ids[row, : len(one)] = torch.tensor(one)
            with torch.inference_mode():  # padding stands behind, and attention looks back alone
                logits = model(ids.clamp(min=0)).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            for row, (number, one) in enumerate(some):
                sums[number] += losses[row].sum().item(), len(one) - 1
        result[name] = sums.tolist()
    (folder / "documents.json").write_text(json.dumps(result))


def shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all seeds need: data, weights by name, references."""
    work = arguments.work
    domains = once(work / "domains", lambda to: cut(to, arguments.data, arguments.tokens, arguments.model))
    mixture = once(work / "mixture", lambda to: mix(to, domains, arguments.known, "matched")) / "out"
    inputs = {"dataset": mixture, "tokenizer": domains / "tokenizer"}
    inputs |= {"model": arguments.model} if arguments.model else {}
    references = {}
    for name in DOMAINS:
        alone = {"strategy": "static", "domains": (name,)} | settings(arguments, SHARED_SEED, arguments.steps)
        folder = once(work / "references" / name, lambda to: train(to, alone, **inputs))  # noqa: B023
        course = json.loads((folder / "losses.json").read_text())["course"]
        references[name] = min(losses[name] for _, losses in course)
    natural = json.loads((domains / "natural.json").read_text())
    strategies = json.loads((mixture / "mixture.json").read_text())["strategies"]
    weights = {name: strategies[name] for name in ("uniform", "matched", "inverse")} | {"proportional": natural}
    if "regress" in arguments.arms:
        runs = once(work / "sweep", lambda to: sweep(to, arguments, inputs)) / "out"
        fitted = once(work / "regress", lambda to: mix(to, domains, arguments.known, "regress", runs=runs)) / "out"
        weights["regress"] = json.loads((fitted / "mixture.json").read_text())["weights"]
    total = sum(weights["proportional"].values())
    weights["proportional"] = {name: value / total for name, value in natural.items()}
    return {"inputs": inputs, "weights": weights, "references": references}


def sweep(folder: Path, arguments: argparse.Namespace, inputs: dict[str, Path]) -> None:
    """Short runs on random mixtures around uniform weights, as a run table."""
    from hubwright.trainers.versatune import sweep as runs

    config = settings(arguments, SWEEP_SEED, max(2, arguments.steps // 3)) | {
        "runs": arguments.runs, "weights": dict.fromkeys(DOMAINS, 1.0),
        **({} if arguments.model else {"architecture": ARCHITECTURE}),
    }  # fmt: skip
    step = context(folder, **inputs)
    save_rows(step.output, dict(runs.sweep(runs.SweepConfig.model_validate(config), step)))
    save_card(step.output, {"default": ("train",)})


def seed_runs(arguments: argparse.Namespace, seed: int, given: dict[str, Any]) -> None:
    """All trainings of a seed, each measured by document."""
    folder, inputs = arguments.work / f"seed{seed}", given["inputs"]

    def run(name: str, steps: int, arm: dict[str, Any], updates: int = 10, **more: Path) -> None:
        moves = {"reference_losses": given["references"]} if arm["strategy"] in ("versatune", "doremi") else {}
        own = {key: value for key, value in arm.items() if key != "updates"}
        config = settings(arguments, seed, steps, arm.get("updates", updates)) | moves | own

        def work(to: Path) -> None:
            train(to, config, **(inputs | more))
            width, dtype = (MODEL_WIDTH, "bfloat16") if arguments.model else (WIDTH, "float32")
            measure(to, inputs["dataset"], width, dtype)

        once(folder / name, work)

    for name in arguments.arms:
        run(name, arguments.steps, ARMS[name] | {"weights": given["weights"][ARMS[name].get("weights", name)]})
    if arguments.target:
        alone = {name: float(name == arguments.target) for name in DOMAINS}
        uniform, slow = given["weights"]["uniform"], {"learning_rate": 5e-4}
        for name, arm in {
            "expand": {"strategy": "versatune", "target": arguments.target, "weights": uniform},
            "target_alone": {"strategy": "static", "weights": alone},
            "uniform_on": {"strategy": "static", "weights": uniform},
        }.items():
            more = {"model": folder / "uniform" / "out"}
            run(f"{name}_{arguments.target}", max(2, arguments.steps // 2), arm | slow, 15, **more)


def compare(work: Path, seeds: Sequence[int], names: Sequence[str], base: str) -> list[dict[str, Any]]:
    """Losses by domain, means over the seeds, and the difference of their mean from `base` with its interval of 95 %:
    the bootstrap over held-out documents, the same documents for both and for all seeds."""
    from hubwright.inference.resampling import bootstrap_sums, interval

    def losses(seed: int, name: str) -> Losses:
        result: Losses = json.loads((work / f"seed{seed}" / name / "documents.json").read_text())
        return result

    rows = []
    for name in names:
        pairs = [(losses(seed, name), losses(seed, base)) for seed in seeds]
        row: dict[str, Any] = {"arm": name, "by_seed": [0.0] * len(seeds)}
        draws = np.zeros(RESAMPLES)
        for domain in DOMAINS:
            # nats of both arms by seed, and tokens, which are the same in all
            columns = [np.array(one[domain])[:, 0] for pair in pairs for one in pair]
            values = np.column_stack([*columns, np.array(pairs[0][0][domain])[:, 1]])
            own = values.sum(axis=0)[:-1] / values[:, -1].sum()
            sums = bootstrap_sums(values, RESAMPLES, 0)
            draws += (sums[:, :-1:2] - sums[:, 1:-1:2]).mean(axis=1) / sums[:, -1] / len(DOMAINS)
            row[domain] = float(own[::2].mean())
            row["by_seed"] = [
                a + float(b) / len(DOMAINS) for a, b in zip(row["by_seed"], own[::2] - own[1::2], strict=True)
            ]
        low, high = interval(draws)
        rows.append(row | {"mean": float(np.mean([row[domain] for domain in DOMAINS])),
                           "difference": float(np.mean(row["by_seed"])), "low": low, "high": high})  # fmt: skip
    return rows


def real(row: dict[str, Any]) -> str:
    """Whether every seed and the interval agree on the sign."""
    signs = {np.sign(value) for value in (*row["by_seed"], row["low"], row["high"])}
    return {1.0: "higher", -1.0: "lower"}[signs.pop()] if len(signs) == 1 and 0.0 not in signs else "not shown"


def show(rows: Sequence[dict[str, Any]], base: str) -> None:
    print(f"\n| arm | {' | '.join(DOMAINS)} | mean | minus {base} | 95 % | by seed | |\n|---|{'---:|' * 9}---|---|")
    for row in rows:
        cells = [f"{row[name]:.3f}" for name in (*DOMAINS, "mean")]
        seeds = " ".join(f"{value:+.4f}" for value in row["by_seed"])
        print(f"| {row['arm']} | {' | '.join(cells)} | {row['difference']:+.4f} | {row['low']:+.4f} to "
              f"{row['high']:+.4f} | {seeds} | {real(row) if row['arm'] != base else ''} |")  # fmt: skip


def expansion(work: Path, seeds: Sequence[int], target: str) -> list[dict[str, Any]]:
    """Target and mean of the others (held-out rows of the trainer), at the start and the end of the runs, and of the
    run on the target alone where it has the lowest mean over all domains, and where it first reaches `expand`."""
    rows = []
    for seed in seeds:
        courses = {}
        for name in EXPANSION:
            course = json.loads((work / f"seed{seed}" / f"{name}_{target}" / "losses.json").read_text())["course"]
            rest = [[losses[other] for other in DOMAINS if other != target] for _, losses in course]
            courses[name] = [(step, losses[target], float(np.mean(own)))
                             for (step, losses), own in zip(course, rest, strict=True)]  # fmt: skip
        alone, goal = courses["target_alone"], courses["expand"][-1][1]
        points = {"start": courses["expand"][0]} | {name: course[-1] for name, course in courses.items()}
        points["target_alone, lowest mean"] = min(
            alone[1:], key=lambda one: (one[1] + (len(DOMAINS) - 1) * one[2]) / len(DOMAINS)
        )
        reached = next((point for point in alone[1:] if point[1] <= goal), None)
        points["target_alone, as far as expand"] = reached or (-1, float("nan"), float("nan"))
        _, first, before = points["start"]
        rows += [{"seed": seed, "run": name, "step": step, "target": a, "others": b, "target_change": a - first,
                  "others_change": b - before} for name, (step, a, b) in points.items()]  # fmt: skip
    return rows


def check(arguments: argparse.Namespace) -> None:
    """End with one line if the folder holds trainings of other settings; an absent one is begun."""
    own = {name: getattr(arguments, name) for name in ("steps", "runs", "tokens", "threads")}
    own |= {"model": str(arguments.model), "known": arguments.known} if arguments.model else {}
    path = arguments.work / "settings.json"
    if path.exists() and (other := json.loads(path.read_text())) != own:
        raise SystemExit(f"{arguments.work} holds trainings with {other}, not {own}: give another --work")
    if "regress" in arguments.arms and arguments.runs < len(DOMAINS) + 2:
        raise SystemExit(f"--runs {arguments.runs}: the law of regress needs {len(DOMAINS) + 2} runs or more")
    if arguments.target and "uniform" not in arguments.arms:
        raise SystemExit("--target continues from the arm uniform: add it to --arms, or give --target ''")
    arguments.work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--runs", type=int, default=24, help="of the sweep, a third as long")
    parser.add_argument("--tokens", type=int, help="of each domain at most")
    parser.add_argument("--target", default="law", choices=("", *DOMAINS), help="domain to expand; '': none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path, help="folder of a trained model that learns on")
    parser.add_argument("--known", nargs="+", default=[], help="its distribution as DOMAIN=PERCENT ...")
    arguments = parser.parse_args()
    arguments.known = {key: float(value) for key, _, value in (one.partition("=") for one in arguments.known)} or KNOWN
    if arguments.known.keys() != set(DOMAINS) or (arguments.model is not None) == (arguments.known is KNOWN):
        parser.error(f"--model and --known go together; --known names {', '.join(DOMAINS)}")
    check(arguments)
    given = shared(arguments)
    for seed in arguments.seeds:
        seed_runs(arguments, seed, given)
    print("\nweights: " + json.dumps(given["weights"]) + "\nreferences: " + json.dumps(given["references"]))
    if not arguments.seeds:
        return
    base = "uniform" if "uniform" in arguments.arms else arguments.arms[0]
    tables = {"arms": compare(arguments.work, arguments.seeds, arguments.arms, base)}
    show(tables["arms"], base)
    if arguments.target:
        names = [f"{name}_{arguments.target}" for name in EXPANSION]
        tables["expansion"] = compare(arguments.work, arguments.seeds, names, names[-1])
        show(tables["expansion"], names[-1])
        tables["course"] = expansion(arguments.work, arguments.seeds, arguments.target)
        print("\n| seed | run | step | target | others | target change | others change |\n|---|---|" + "---:|" * 5)
        for row in tables["course"]:
            print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    if arguments.out:
        arguments.out.write_text(json.dumps(given | {"inputs": None} | tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
