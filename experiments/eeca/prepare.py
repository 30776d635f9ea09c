"""The two sets of photographs as questions, and which of them an encoder knows, for `grid.py`.

    python experiments/eeca/prepare.py --out DIR --ten DIR --vietnamese DIR --dinov2 DIR --minilm DIR
        [--steps 200] [--threads 1]

Writes OUT/ten and OUT/vietnamese, data sets with the config `questions`. Those of the ten landmarks have the columns
of `entity_ranks`, by three dual encoders on names, each of which ranks the fold of images that it was not trained on.
A set is a folder, or one with a tar file of images, which is unpacked; what is done is not done again.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from local_steps import context, once, save_card, save_rows

FOLDS = 3


def photographs(source: Path, folder: Path) -> Path:
    """The files of a set, and what its tar files hold."""

    def work(folder: Path) -> None:
        for path in sorted(source.iterdir()):
            if path.suffix == ".tar":
                with tarfile.open(path) as archive:
                    archive.extractall(folder / "files", filter="data")
            elif path.is_file():
                (folder / "files").mkdir(exist_ok=True)
                (folder / "files" / path.name).write_bytes(path.read_bytes())

    return once(folder, work) / "files"


def landmarks(source: Path, folder: Path, form: str) -> Path:
    """The step `landmarks`."""
    from hubwright.builders.landmarks import LandmarksConfig, build

    def work(folder: Path) -> None:
        settings = LandmarksConfig(
            source=str(source), format=form, license="other", unlicensed_pixels="local", hierarchy="builtin",
            folds=FOLDS,
        )  # fmt: skip
        step = context(folder)
        configs = build(settings, step)
        for name, splits in configs.items():
            save_rows(folder / "rows", dict(splits), name)
        save_card(folder / "rows", {name: list(splits) for name, splits in configs.items()})
        print(step.report.counts, flush=True)

    return once(folder, work) / "rows"


def encoder(data: Path, folder: Path, fold: int, arguments: argparse.Namespace) -> Path:
    """A dual encoder on the names of the other folds."""
    from hubwright.trainers.dual_encoder import DualEncoderConfig, train

    def work(folder: Path) -> None:
        others = tuple(number for number in range(FOLDS) if number != fold)
        settings = DualEncoderConfig(
            dataset_configs=("pairs",), where={"fold": others}, image_size=112, max_steps=arguments.steps, seed=fold,
            threads=arguments.threads, use_cpu=True, bf16=False,
        )  # fmt: skip
        towers = {"vision_tower": arguments.dinov2, "text_tower": arguments.minilm}
        train(settings, context(folder, dataset=data, **towers))

    return once(folder, work) / "out"


def ranked(data: Path, encoders: dict[str, Path], folder: Path) -> Path:
    """The questions with ranks, buckets and subsets."""
    from hubwright.builders.entity_ranks import EntityRanksConfig, build

    def work(folder: Path) -> None:
        step = context(folder / "step", dataset=data, **encoders)
        splits: Any = build(EntityRanksConfig(config="questions", fold="fold", split="all"), step)
        save_rows(folder, dict(splits), "questions")
        save_card(folder, {"questions": list(splits)})
        print(step.report.metrics, flush=True)

    return once(folder, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("out", "ten", "vietnamese", "dinov2", "minilm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    work = arguments.out / "work"
    ten = landmarks(photographs(arguments.ten, work / "ten"), work / "ten-rows", "table")
    encoders = {f"encoder_{n}": encoder(ten, work / f"encoder-{n}", n, arguments) for n in range(FOLDS)}
    ranked(ten, encoders, arguments.out / "ten")
    files = photographs(arguments.vietnamese, work / "vietnamese")
    questions = landmarks(files, work / "vietnamese-rows", "folder")
    if not (arguments.out / "vietnamese").exists():
        (arguments.out / "vietnamese").symlink_to(questions.resolve())


if __name__ == "__main__":
    main()
