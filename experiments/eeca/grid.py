"""Do the losses of classes and names help a model to name landmarks, on images that its encoder knows, and on others?

    python experiments/eeca/grid.py --out DIR --questions DIR --dinov2 DIR --smollm2 DIR --minilm DIR
        [--vietnamese DIR] [--samples 600] [--images 150] [--seeds 0 1] [--batch 8] [--epochs 1]
        [--learning-rate 1e-3] [--threads 1] [--only TEXT] [--list]

Data: config `questions` of `landmarks` with the column `subsets` of `entity_ranks`; splits train and test. Arms: {lm,
both} x {known, unknown, mixed}, hc and ec alone on mixed, and on the Vietnamese set low 112 against low 112 + high
336; every arm has the same number of samples and steps. Projector and 4 queries are trained on frozen, cached DINOv2
features, in bfloat16 autocast, which AMX makes fast. Beside them a linear probe on the same features, and retrieval by
a dual encoder trained on the same images. A JSON file a run, with its replies; a run that has one is not run again, so
that several processes may share the list by --only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluate import ask, probe, retrieve, scored
from local_steps import context, once, save_card, save_rows

LEVELS = ("name", "supercategory", "hierarchical_label", "natural_or_human_made")
WEIGHTS = {"lm": (0.0, 0.0), "hc": (0.5, 0.0), "ec": (0.0, 0.5), "both": (0.5, 0.5)}


@dataclass(frozen=True)
class Run:
    """One arm with one seed.

    Attributes:
        data: ten or vietnamese.
        losses: key of WEIGHTS, or probe, or retrieval.
        subset: of the train rows; all without a column `subsets`.
        high: pixels of the second branch, or 0.
    """

    data: str
    losses: str
    subset: str
    high: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.data}-{self.losses}-{self.subset}-{self.high or 'low'}-{self.seed}"


def runs_of(arguments: argparse.Namespace) -> Iterator[Run]:
    """The cheapest baselines first."""
    subsets = ("mixed", "known", "unknown")
    for seed in arguments.seeds:
        for subset in subsets:
            for losses in ("probe", "retrieval"):
                if seed == arguments.seeds[0] or losses == "retrieval":
                    yield Run("ten", losses, subset, 0, seed)
        for subset in subsets:
            for losses in ("lm", "both", *(("hc", "ec") if subset == "mixed" else ())):
                yield Run("ten", losses, subset, 0, seed)
        if arguments.vietnamese is not None:
            for losses, high in (("probe", 0), ("lm", 0), ("lm", 336), ("both", 0), ("both", 336)):
                if losses != "probe" or seed == arguments.seeds[0]:
                    yield Run("vietnamese", losses, "all", high, seed)


def load(folder: Path, split: str) -> Any:
    from hubwright.hub_sync.parquet import load_split

    return load_split(folder, "questions", split, folder.parent / "cache")


def chosen(arguments: argparse.Namespace, data: str, subset: str) -> Path:
    """The rows of an arm: `samples` train rows of the subset, and all levels of `images` test images, by hash."""
    import hashlib

    source = arguments.questions if data == "ten" else arguments.vietnamese

    def order(*parts: str) -> str:
        return hashlib.sha256("/".join(parts).encode()).hexdigest()

    def work(folder: Path) -> None:
        train, test = load(source, "train"), load(source, "test")
        levels = [level in LEVELS for level in train["level"]]
        parts = train["subsets"] if subset != "all" else [[subset]] * len(train)
        places = [n for n, (fits, one) in enumerate(zip(levels, parts, strict=True)) if fits and subset in (one or ())]
        ids, names = train["image_id"], train["level"]
        places = sorted(places, key=lambda n: order(ids[n], names[n]))[: arguments.samples]
        if not places:
            raise SystemExit(f"{source}: no train row of subset {subset}: run entity_ranks on it first")
        ids, names = test["image_id"], test["level"]
        held = set(sorted(set(ids), key=order)[: arguments.images])
        shown = [n for n, one in enumerate(ids) if one in held and names[n] in LEVELS]
        rows = {"train": train.select(places), "test": test.select(shown)}
        save_rows(folder, rows, "questions")
        save_card(folder, {"questions": list(rows)})

    return once(arguments.out / "data" / f"{data}-{subset}-{arguments.samples}-{arguments.images}", work)


def fit(config: Any, context: Any) -> Any:
    """The step's own, with the language model, which is not trained, in bfloat16: AMX then does twice the steps."""
    import torch

    from hubwright.trainers.eeca.trainer import EECATrainer
    from hubwright.trainers.eeca.trainer import fit as own

    class Halved(EECATrainer):
        def __init__(self, config: Any, context: Any, **options: Any) -> None:
            super().__init__(config, context, **options)
            options["model"].model.language_model.to(torch.bfloat16)

    return own(config, context, Halved)


def train(run: Run, data: Path, folder: Path, arguments: argparse.Namespace) -> Any:
    """The step's report; features are shared by the runs."""
    from hubwright.trainers.eeca import EECAConfig
    from hubwright.trainers.vision_sft import train as step

    hc, ec = WEIGHTS[run.losses]
    columns = [level if level != "name" else "landmark_id" for level in LEVELS]
    levels = {"levels": dict.fromkeys(columns, 1.0)} if hc else {}
    settings = EECAConfig(
        dataset_configs=("questions",), chat_template="chatml_tools", image_size=112, latents=4,
        high_resolution=run.high or None, hc_weight=hc, ec_weight=ec, max_length=128,
        learning_rate=arguments.learning_rate, per_device_train_batch_size=arguments.batch, lr_scheduler_type="cosine",
        max_steps=-(-arguments.samples * arguments.epochs // arguments.batch),
        warmup_steps=0.1, logging_steps=5, save_steps=10_000, seed=run.seed, threads=arguments.threads, use_cpu=True,
        bf16=True, save_dtype="float32", **levels,
    )  # fmt: skip
    inputs = context(folder, language_model=arguments.smollm2, vision_tower=arguments.dinov2, dataset=data)
    shared, own = arguments.out / "features", inputs.workdir / "features"
    shared.mkdir(parents=True, exist_ok=True)
    inputs.workdir.mkdir(parents=True, exist_ok=True)
    if not own.exists():
        own.symlink_to(shared.resolve())
    step(settings, inputs, fit)
    return inputs


def encoder(run: Run, data: Path, folder: Path, arguments: argparse.Namespace) -> Path:
    """A dual encoder trained on the names of the same images."""
    from hubwright.trainers.dual_encoder import DualEncoderConfig
    from hubwright.trainers.dual_encoder import train as step

    rows = load(data, "train")
    first = {one: n for n, one in reversed(list(enumerate(rows["image_id"])))}
    pairs = rows.select(sorted(first.values())).select_columns(["image", "name"]).rename_column("name", "text")
    save_rows(folder / "pairs", {"train": pairs})
    save_card(folder / "pairs", {"default": ["train"]})
    settings = DualEncoderConfig(
        image_size=112, max_steps=100, seed=run.seed, threads=arguments.threads, use_cpu=True, bf16=False
    )
    towers = {"vision_tower": arguments.dinov2, "text_tower": arguments.minilm}
    inputs = context(folder, dataset=folder / "pairs", **towers)
    step(settings, inputs)
    return Path(inputs.output)


def measured(run: Run, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a run's file holds."""
    began = time.perf_counter()
    data = chosen(arguments, run.data, run.subset)
    train_rows, rows = load(data, "train"), load(data, "test")
    more: dict[str, Any] = {}
    if run.losses == "probe":
        replies = probe(train_rows, rows, arguments.dinov2, run.seed)
    elif run.losses == "retrieval":
        replies = retrieve(train_rows, rows, encoder(run, data, folder, arguments))
    else:
        done = train(run, data, folder, arguments)
        more = {"train": done.report.metrics, "curves": done.report.curves, "rows": done.report.counts}
        trained = time.perf_counter()
        replies = ask(done.output, rows)
        more["answer_seconds"] = round(time.perf_counter() - trained, 1)
    seconds = round(time.perf_counter() - began, 1)
    return asdict(run) | {
        "samples": len(train_rows),
        "seconds": seconds,
        "scores": scored(replies),
        **more,
        "replies": replies,
    }


def table(arguments: argparse.Namespace) -> str:
    """Means over seeds, and each seed's accuracy of names."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for run in runs_of(arguments):
        file = arguments.out / f"{run.name}.json"
        if file.is_file():
            arms.setdefault(run.name.rsplit("-", 1)[0], []).append(json.loads(file.read_text(encoding="utf-8")))
    lines = [
        f"| arm | {' | '.join(LEVELS)} | names by seed | known | unknown | gate | s |",
        "|---" * (len(LEVELS) + 6) + "|",
    ]
    for name, results in arms.items():

        def mean(key: str, results: list[dict[str, Any]] = results) -> str:
            values = [one["scores"][key]["accuracy"] for one in results if key in one["scores"]]
            return f"{sum(values) / len(values):.3f}" if values else "-"

        seeds = ", ".join(f"{one['scores']['name']['accuracy']:.3f}" for one in results)
        gates = [one.get("train", {}).get("gate") for one in results]
        gate = ", ".join(f"{one:.3f}" for one in gates if one is not None) or "-"
        seconds = sum(one["seconds"] for one in results) / len(results)
        cells = [name, *map(mean, LEVELS), seeds, mean("name known"), mean("name unknown"), gate, f"{seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("out", "questions", "dinov2", "smollm2", "minilm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--vietnamese", type=Path)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1, help="passes over as many rows as --samples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--list", action="store_true", help="print the names of the runs, and which are done")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    for run in runs_of(arguments):
        file = arguments.out / f"{run.name}.json"
        if arguments.list:
            print(run.name, "done" if file.is_file() else "")
        elif arguments.only in run.name and not file.is_file():
            result = measured(run, arguments.out / "runs" / run.name, arguments)
            part = file.with_suffix(".part")
            part.write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
            part.replace(file)
            names = result["scores"]["name"]["accuracy"]
            print(f"{run.name}: names {names:.3f}, {result['seconds']:.0f} s", flush=True)
    if not arguments.list:
        print(table(arguments))


if __name__ == "__main__":
    main()
