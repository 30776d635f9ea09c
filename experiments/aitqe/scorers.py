"""The parts that the experiments on scorers of image-text pairs share: data, models, scores, new texts, captioners.

Every part is a step of the package on local folders; what is done is not done again, and a killed one resumes.

Scorers: generative (JSON, expected score), head (six regressions). Beside them: lengths, DataComp's basic filter, the
cosine of a dual encoder trained on the same captions, negCLIPLoss, a logistic mix of all signals that is fitted on the
validation split, and one aspect of the head alone. Then every test pair gets one of its twins' texts, and is enhanced:
shift of the texts after filtering, after AITQE's rule, and with all texts new. The second scorer, which says what is
taken, learns from other images and other kinds of damage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from local_steps import context, once, save_card, save_rows

SIGNALS = ("words", "distinct_words", "letters", "lower", "basic_filter", "cosine", "neg_clip_loss")
GOOD = ("raw_good", "contrast_good")
DOWNSTREAM = 16  # steps of each captioner


@dataclass(frozen=True)
class Setting:
    """What one set of pairs asks for.

    Attributes:
        pairs: settings of the step image_text.
        unseen: kinds of damage that are in no training of the scorers that are compared.
        second: kinds of damage that the second scorer learns from.
        image_size: side in pixels.
        prompt: what the base learns to answer with a caption.
        captions: steps in which the base learns captions.
        encoder: steps of the dual encoder.
    """

    pairs: dict[str, Any]
    unseen: tuple[str, ...]
    second: tuple[str, ...]
    image_size: int
    prompt: str
    captions: int
    encoder: int


def publish(folder: Path, splits: dict[str, Any]) -> None:
    """Splits as a data set in `folder/out`."""
    save_rows(folder / "out", splits)
    save_card(folder / "out", {"default": tuple(splits)})


def training(arguments: argparse.Namespace, steps: int, **more: Any) -> dict[str, Any]:
    return {
        "max_steps": steps, "per_device_train_batch_size": 8, "learning_rate": 2e-4, "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05, "use_cpu": True, "threads": arguments.threads, "logging_steps": 10, "save_steps": 50,
        "chat_template": "chatml_tools", "max_length": 512, **more,
    }  # fmt: skip


def data(setting: Setting, arguments: argparse.Namespace) -> dict[str, Path]:
    """Pairs, samples of all splits, samples for the second scorer."""
    from hubwright.builders.aitqe.build import SamplesConfig
    from hubwright.builders.aitqe.build import build as samples
    from hubwright.builders.image_text import ImageTextConfig
    from hubwright.builders.image_text import build as pairs

    work = arguments.work
    config = ImageTextConfig.model_validate(setting.pairs)
    made = once(work / "pairs", lambda to: publish(to, dict(pairs(config, context(to)))))

    def sampled(to: Path, **more: Any) -> None:
        step = context(to, dataset=made / "out")
        publish(to, dict(samples(SamplesConfig.model_validate(more), step)))

    first = once(work / "samples", lambda to: sampled(to, held_out=setting.unseen))
    second = once(work / "samples2", lambda to: sampled(to, split="second", damages=setting.second, seed=1))
    return {"pairs": made / "out", "samples": first / "out", "second": second / "out"}


def models(setting: Setting, arguments: argparse.Namespace, sets: dict[str, Path]) -> dict[str, Path]:
    """Base, two forms of the first scorer, the second scorer, a dual encoder."""
    from hubwright.trainers import dual_encoder, vision_sft
    from hubwright.trainers.aitqe import generative, head

    work, steps = arguments.work, arguments.steps
    lora = {"lora": {"r": 16}, "merge_adapter": True}

    def base(to: Path) -> None:
        step = context(to, dataset=sets["pairs"], language_model=arguments.smollm2, vision_tower=arguments.dinov2)
        more = {"prompt": setting.prompt, "image_size": setting.image_size, "learning_rate": 1e-3}
        config = vision_sft.VisionSFTConfig.model_validate(training(arguments, setting.captions) | more)
        vision_sft.train(config, step)

    def writes(to: Path) -> None:
        step = context(to, dataset=sets["samples"], model=seen / "out")
        generative.train(generative.GenerativeConfig.model_validate(training(arguments, steps, **lora)), step)

    def scores(to: Path, samples: str, split: str, seed: int) -> None:
        step = context(to, dataset=sets[samples], model=seen / "out")
        more = {"train_split": split, "seed": seed, "per_device_train_batch_size": 4, "max_length": 256}
        head.train(head.HeadConfig.model_validate(training(arguments, steps, **lora) | more), step)

    def dual(to: Path) -> None:
        step = context(to, dataset=sets["pairs"], vision_tower=arguments.dinov2, text_tower=arguments.minilm)
        dual_encoder.train(dual_encoder.DualEncoderConfig.model_validate({
            "max_steps": setting.encoder, "image_size": setting.image_size, "use_cpu": True,
            "threads": arguments.threads,
        }), step)  # fmt: skip

    seen = once(work / "base", base)
    heads = {name: once(work / name, lambda to, n=seed: scores(to, "samples", "train", n)) / "out"
             for seed, name in heads_of(arguments).items()}  # fmt: skip
    return heads | {
        "base": seen / "out",
        "generative": once(work / "generative", writes) / "out",
        "second": once(work / "second", lambda to: scores(to, "second", "second", 1)) / "out",
        "dual": once(work / "dual", dual) / "out",
    }


def heads_of(arguments: argparse.Namespace) -> dict[int, str]:
    """Seed -> name of the scorers with a head."""
    return {seed: f"head-{seed}" if seed else "head" for seed in range(arguments.seeds)}


def rated(arguments: argparse.Namespace, sets: dict[str, Path], made: dict[str, Path]) -> dict[str, Path]:
    """Scores of the test split by every method."""
    from hubwright.builders.image_text_signals import SignalsConfig
    from hubwright.builders.image_text_signals import build as signals
    from hubwright.trainers.aitqe.rating import RateConfig, rate

    def by(name: str) -> Path:
        def work(to: Path) -> None:
            step = context(to, dataset=sets["samples"], model=made[name])
            config = {"split": "test", "use_cpu": True, "threads": arguments.threads, "max_failed_share": 1.0}
            publish(to, dict(rate(RateConfig.model_validate(config), step)))
            (to / "metrics.json").write_text(json.dumps(step.report.metrics))

        return once(arguments.work / f"scores-{name}", work) / "out"

    def told(to: Path) -> None:
        step = context(to, dataset=sets["samples"], encoder=made["dual"])
        publish(to, dict(signals(SignalsConfig(device="cpu"), step)))

    told_by = once(arguments.work / "signals", told) / "out"
    mixed = once(arguments.work / "mix", lambda to: mix(to, sets["samples"], told_by)) / "out"
    heads = {name: by(name) for name in heads_of(arguments).values()}
    return {"generative": by("generative"), **heads, "signals": told_by, "mix": mixed}


def mix(folder: Path, samples: Path, signals: Path) -> None:
    """A logistic regression of the signals on good and bad, fitted on the validation split, as scores of the test."""
    from datasets import Dataset
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from hubwright.hub_sync.parquet import load_split

    def read(split: str) -> tuple[Any, Any, list[str]]:
        rows = load_split(signals, None, split, folder / "cache")
        kinds = dict(
            zip(*(load_split(samples, None, split, folder / "cache")[n][:] for n in ("id", "kind")), strict=True)
        )
        values = np.column_stack([np.array(rows[name][:], float) for name in SIGNALS])
        return np.nan_to_num(values), [kinds[name] in GOOD for name in rows["id"]], rows["id"][:]

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    values, good, _ = read("validation")
    model.fit(values, good)
    values, _, ids = read("test")
    publish(folder, {"test": Dataset.from_dict({"id": ids, "mix": model.predict_proba(values)[:, 1]})})


def enhanced(arguments: argparse.Namespace, sets: dict[str, Path], made: dict[str, Path]) -> dict[str, Path]:
    """Raw test pairs with one of their twins' texts, filtered, enhanced, and with all texts new."""
    from datasets import Dataset

    from hubwright.hub_sync.parquet import load_split
    from hubwright.trainers.aitqe.enhance import EnhanceConfig, enhance

    work = arguments.work

    def raw(to: Path) -> None:
        rows = load_split(sets["samples"], None, "test", to / "cache")
        chosen: dict[str, int] = {}
        for number, row in enumerate(rows.select_columns(["pair", "kind"])):
            is_good = row["kind"] in GOOD
            if is_good == (hashlib.sha256(row["pair"].encode()).digest()[0] % 2 == 0):
                chosen.setdefault(row["pair"], number)
        some = rows.select(sorted(chosen.values())).select_columns(["id", "image", "raw_text", "kind"])
        publish(to, {"train": some.rename_column("raw_text", "text")})

    pairs = once(work / "raw", raw) / "out"

    def by_rule(to: Path, **more: Any) -> None:
        inputs = {"dataset": pairs, "model": made["generative"], "second": made["second"]}
        inputs |= {} if more else {"dev": sets["samples"]}
        step = context(to, **inputs)
        config = {"use_cpu": True, "threads": arguments.threads, "max_new_tokens": 40, **more}
        for name, splits in enhance(EnhanceConfig.model_validate(config), step).items():
            publish(to / name, dict(splits))
        (to / "report.json").write_text(json.dumps([step.report.summary, step.report.counts, step.report.tables]))

    rule = once(work / "enhanced", by_rule)
    all_new = once(work / "all", lambda to: by_rule(to, keep_from=10.0, delta=0.0, retention=0.0))

    def filtered(to: Path) -> None:
        rows = load_split(rule / "decisions/out", None, "train", to / "cache")
        rest = [row for row in rows if row["reason"] == "score"]
        publish(to, {"train": Dataset.from_list([{"id": row["id"], "text": row["raw_text"]} for row in rest])})

    def recaptioned(to: Path) -> None:
        rows = load_split(all_new / "decisions/out", None, "train", to / "cache")
        texts = [{"id": row["id"], "text": row["recaption"] or row["raw_text"]} for row in rows]
        publish(to, {"train": Dataset.from_list(texts)})

    return {
        "raw": pairs, "filter": once(work / "filter", filtered) / "out", "aitqe": rule / "enhanced/out",
        "recaption_all": once(work / "recaptions", recaptioned) / "out",
    }  # fmt: skip


def captioners(
    setting: Setting,
    arguments: argparse.Namespace,
    sets: dict[str, Path],
    made: dict[str, Path],
    texts: dict[str, Path],
) -> dict[str, list[float]]:  # fmt: skip
    """Loss on people's captions of other images, by data and seed, of the base trained equally long on each."""
    from datasets import Dataset

    from hubwright.hub_sync.parquet import load_split
    from hubwright.trainers import vision_sft

    losses: dict[str, list[float]] = {}
    for name, folder in texts.items():

        def joined(to: Path, folder: Path = folder) -> None:
            """Images by id, and captions of people to measure on."""
            images = load_split(texts["raw"], None, "train", to / "cache")
            images = images.cast_column("image", images.features["image"].__class__(decode=False))
            known = {row["id"]: row["image"] for row in images.select_columns(["id", "image"])}
            own = load_split(folder, None, "train", to / "cache").select_columns(["id", "text"])
            rows = [{"image": known[row["id"]], "text": row["text"]} for row in own]
            features = images.select_columns(["image", "text"]).features
            held_out = load_split(sets["pairs"], None, "validation", to / "cache").select_columns(["image", "text"])
            publish(to, {"train": Dataset.from_list(rows, features=features), "validation": held_out})

        data = once(arguments.work / f"captions-{name}", joined) / "out"
        for seed in (0, 1):

            def train(to: Path, data: Path = data, seed: int = seed) -> None:
                more = {"seed": seed, "eval_split": "validation", "eval_rows": 96, "learning_rate": 1e-3}
                more |= {"prompt": setting.prompt}
                config = vision_sft.VisionSFTConfig.model_validate(training(arguments, DOWNSTREAM) | more)
                step = context(to, dataset=data, model=made["base"])
                vision_sft.train(config, step)
                (to / "metrics.json").write_text(json.dumps(step.report.metrics))

            folder = once(arguments.work / f"captioner-{name}-{seed}", train)
            losses.setdefault(name, []).append(json.loads((folder / "metrics.json").read_text())["eval_loss"])
    return losses


def arguments_of(description: str, *folders: str) -> argparse.Namespace:
    """The command line of an experiment, `folders` beside those that all have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("work", *folders, "dinov2", "smollm2", "minilm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100, help="steps of each scorer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="scorers with a head, from 0 on")
    parser.add_argument("--shift", action="store_true", help="also write texts anew, and measure how far they move")
    parser.add_argument("--captioners", action="store_true", help="also train captioners on each version of the texts")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def compare(setting: Setting, arguments: argparse.Namespace) -> None:
    """Everything, with its tables printed."""
    from hubwright.evals.aitqe.score import ScoreConfig, score
    from hubwright.evals.aitqe.shift_step import ShiftConfig, shift

    sets = data(setting, arguments)
    made = models(setting, arguments, sets)
    methods = rated(arguments, sets, made)
    step = context(arguments.work / "compared", dataset=sets["samples"],
                   **{f"scores_{name}": path for name, path in methods.items()})  # fmt: skip
    columns = {"signals": [*SIGNALS], "mix": ["mix"]}
    unseen = [*setting.unseen]
    score(
        ScoreConfig(
            order=["generative", *heads_of(arguments).values(), "mix", "signals"], columns=columns, unseen=unseen
        ),
        step,
    )
    aspect = context(arguments.work / "aspect", dataset=sets["samples"], scores_head=methods["head"])
    score(ScoreConfig(columns={"head": ["overall", "matching", "text_quality"]}, unseen=unseen), aspect)
    tables = [*step.report.tables, *aspect.report.tables]
    show(tables)
    if arguments.shift or arguments.captioners:
        texts = enhanced(arguments, sets, made)
        outputs = {name: path for name, path in texts.items() if name != "raw"}
        moved = context(arguments.work / "moved", dataset=texts["raw"], embedder=arguments.minilm,
                        **{f"output_{name}": path for name, path in outputs.items()})  # fmt: skip
        shift(ShiftConfig(order=[*outputs], embedded=300), moved)
        show(moved.report.tables)
        tables += moved.report.tables
    if arguments.captioners:
        losses = captioners(setting, arguments, sets, made, texts)
        print("\nloss of captioners, nats per token:", json.dumps(losses))
    if arguments.out:
        arguments.out.write_text(json.dumps(tables, indent=1) + "\n")


def show(tables: list[dict[str, Any]]) -> None:
    """Tables as Markdown."""
    for table in tables:
        print(f"\n{table['title']}\n| {' | '.join(table['columns'])} |\n|{'---|' * len(table['columns'])}")
        for row in table["rows"]:
            print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |", flush=True)
