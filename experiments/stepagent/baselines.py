"""StepAgent beside its baselines on a tiny model that walks along a cliff: success, and distance to the expert.

    python experiments/stepagent/baselines.py --work DIR [--seeds 0 1 2] [--only NAME ...] [--out FILE]

CliffWalking as text: 25 first squares to train on, 6 to be tested on; the expert draws among its shortest ways. The
model of `convergence.py` (two layers, 64 wide) learns START steps by SFT; from it each method goes on for CYCLES
times STEPS gradient steps of BATCH rows. What is played costs environment steps, which are counted.

- sft: as many steps of behaviour cloning.
- optim, inverse: StepAgent's two reflections.
- rft: rejection-sampling fine-tuning, SFT on what succeeded of the model's own episodes.
- eto: DPO on trajectories, the expert's against the model's own of less score.
- gigpo: PPO on groups of own episodes, with GiGPO's step advantage.
- inverse_base: StepAgent's inverse reflection from random weights.

Every stage is a step of the package, run on local folders; what is done is not done again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from convergence import COMMON, RATE, context, main, once, save_model, table

START, CYCLES, STEPS, DRAWS, LIMIT = 12, 2, 40, 4, 20
METHODS = ("sft", "optim", "inverse", "rft", "eto", "gigpo", "inverse_base")
GAME = {"game": "cliff_walking", "episodes": {"train": 25, "test": 6}}
PLAYED = {"device": "cpu", "threads": 1, "max_new_tokens": 6, "batch_size": 64}
TRAINED = COMMON | {"learning_rate": RATE, "max_steps": STEPS}
DRAWN = {
    "num_generations": 8,
    "max_completion_length": 6,
    "beta": 1.0,
    "learning_rate": 3e-4,
}  # theory: beta above 1/2


def save(data: Any, folder: Path) -> None:
    """Configs and splits as a data set with a card."""
    from hubwright.hub_sync.parquet import write_shards

    lines = ["---", "configs:"]
    for config, splits in data.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            write_shards(rows, folder / config, split)
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def expert(folder: Path, seed: int) -> None:
    from hubwright.builders.agent_trajectories import TrajectoriesConfig, build

    games = [GAME | {"seed": seed, "episodes": GAME["episodes"] | {"train": 25 * DRAWS}}]
    settings = TrajectoriesConfig(games=games, history=0, max_steps=LIMIT, sample_expert=True)
    save(build(settings, context(folder)), folder / "out")


def play(model: Path, folder: Path, seed: int, data: Path | None = None, **settings: Any) -> Any:
    """Own episodes, of the games or those of a data set, by config and split."""
    from hubwright.builders.agent_trajectories.rollouts import RolloutsConfig, build

    own = {"games": [GAME], "history": 0, "max_steps": LIMIT} if data is None else {"splits": ("train",)}
    inputs = {"model": model} | ({} if data is None else {"dataset": data})
    return build(RolloutsConfig(**(PLAYED | own | settings), seed=seed), context(folder, **inputs))


def measure(model: Path, folder: Path) -> dict[str, Any]:
    """Eight drawn episodes from every first square, and the divergence from the expert in all 37 states."""
    from hubwright.environments.text.grids import CliffWalking
    from hubwright.trainers.stepagent.tabular import kl, normalized

    rows = play(model, folder / "played", 0, samples=8)
    figures = {f"{split}_success": float(np.mean(part["success"])) for split, part in rows["trajectories"].items()}
    game = CliffWalking()
    tables = game.tables(game.tasks("train")[0])
    states = [n for n in range(48) if not 37 <= n <= 47]  # the cliff and the goal are nobody's states
    texts = [f"{game.instructions}\n\n{tables.states[n]}" for n in states]
    logps = table(model, texts, list(tables.actions))
    return figures | {
        "kl": kl(tables.policy[states], normalized(logps)),
        "inadmissible_mass": float(np.maximum(0, 1 - np.exp(logps).sum(1)).mean()),
    }


def cycle(name: str, model: Path, data: Path, folder: Path, number: int, seed: int) -> int:
    """One cycle of a method; returns the environment steps that it played."""
    from hubwright.trainers import dpo, sft, stepagent
    from hubwright.trainers.stepagent import discriminator, gigpo, inverse

    settings, steps = TRAINED | {"seed": seed + number}, 0
    if name == "sft":
        sft.train(sft.SFTConfig(**settings, dataset_configs=("sft",)), context(folder, model=model, dataset=data))
    elif name in ("optim", "inverse", "inverse_base"):
        config = stepagent.InspectConfig(use_cpu=True, threads=1, batch_size=256, max_new_tokens=6, cycle=number, seed=seed + number)  # fmt: skip  # noqa: E501
        save(stepagent.inspect(config, context(folder / "inspect", model=model, dataset=data)), folder / "pairs")
        if name == "optim":
            tuned = stepagent.OptimConfig(**settings, beta=1.0, sft_weight=0.2)
            stepagent.train(tuned, context(folder, model=model, dataset=folder / "pairs"))
        else:
            judged = stepagent.DiscriminatorConfig(**settings, label_smoothing=0.1)
            discriminator.train(judged, context(folder / "judge", model=model, dataset=folder / "pairs"))
            moved = stepagent.InverseConfig(**(settings | DRAWN))
            roles = {"model": model, "dataset": data, "discriminator": folder / "judge" / "out"}
            inverse.train(moved, context(folder, **roles))
    else:
        samples = {"rft": 4, "eto": 2, "gigpo": 8}[name]
        rows = play(model, folder / "play", seed + number, data, samples=samples, extra_turns=0)
        steps = sum(map(len, rows["trajectories"]["train"]["actions"]))
        save(rows, folder / "own")
        inputs = {"model": model, "dataset": folder / "own"}
        if name == "rft":
            sft.train(sft.SFTConfig(**settings, dataset_configs=("sft",)), context(folder, **inputs))
        elif name == "eto":
            pairs = settings | {"max_length": 512, "per_device_train_batch_size": 8, "max_cut_share": 1}
            dpo.train(
                dpo.DPOConfig(**pairs, dataset_configs=("pairs",), assistant_only_loss=True), context(folder, **inputs)
            )
        else:
            gigpo.train(stepagent.GiGPOConfig(**(settings | {"learning_rate": 3e-4})), context(folder, **inputs))
    return steps


def run(seed: int, names: list[str], work: Path) -> list[dict[str, Any]]:
    from hubwright.environments.text.grids import CliffWalking
    from hubwright.trainers import sft

    game, folder = CliffWalking(), work / f"seed{seed}"
    states = game.tables(game.tasks("train")[0]).states
    once(folder / "random", lambda: save_model(folder / "random" / "out", [game.instructions, *states], list(game.actions), seed, 1024))  # fmt: skip  # noqa: E501
    once(folder / "expert", lambda: expert(folder / "expert", seed))
    data = folder / "expert" / "out"
    first = sft.SFTConfig(**(TRAINED | {"max_steps": START, "seed": seed}), dataset_configs=("sft",))
    once(folder / "start", lambda: sft.train(first, context(folder / "start", model=folder / "random" / "out", dataset=data)))  # fmt: skip  # noqa: E501
    results = []
    for name in names:
        model = folder / ("random" if name == "inverse_base" else "start") / "out"
        for number in range(CYCLES + 1):
            place = folder / name / str(number)
            if number:

                def work_once(place: Path = place, model: Path = model, number: int = number) -> None:
                    shutil.rmtree(place, ignore_errors=True)  # what a stopped cycle left
                    steps = cycle(name, model, data, place, number, seed)  # noqa: B023
                    (place / "steps.json").write_text(json.dumps(steps))

                once(place, work_once)
                model = place / "out"
            figures = place / "figures.json"
            if not figures.exists():
                place.mkdir(parents=True, exist_ok=True)
                figures.write_text(json.dumps(measure(model, place)))
            played = json.loads((place / "steps.json").read_text()) if number else 0
            row = {"seed": seed, "method": name, "cycle": number, "env_steps": played}
            results.append(row | json.loads(figures.read_text()))
            print(json.dumps(results[-1]), flush=True)
    return results


if __name__ == "__main__":
    main(METHODS, run, ("train_success", "test_success", "kl", "inadmissible_mass", "env_steps"), CYCLES, __doc__)
