"""SmolLM2-135M on two games: what do two cycles of each reflection add to SFT? The recipe, smaller, several seeds.

    hubwright hub seed smollm2-135m --root DIR/hub; hubwright hub serve --root DIR/hub &
    eval "$(hubwright hub env --root DIR/hub)"
    python experiments/stepagent/smollm2.py --work DIR --seed 0     # one seed: an hour on one core
    python experiments/stepagent/smollm2.py --work DIR --summary    # all seeds, when they are done

The steps are those of `recipes/stepagent/stepagent.yaml`. Other than there: 20 test episodes, of them 15 on maps and
errands that no model has seen (`test`) and 5 on seen errands of the taxi from other starts (`test_seeds`; the lake has
one start and no luck); at most 20 steps each;
one thread, so that two seeds share two cores; no cards. SFT goes on for as many gradient steps as Optim has
(`longer`): the comparison that decides.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).parents[2] / "recipes" / "stepagent" / "stepagent.yaml"
GAMES = ("taxi", "frozen_lake")
POLICIES = {"start": "start", "longer": "longer", "optim": "optim_2", "inverse": "inverse_2"}


def recipe(seed: int) -> dict[str, Any]:
    """The shipped recipe with the changes that the docstring names."""
    text = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    steps = {name: step for name, step in text["steps"].items() if not name.endswith(("_played", "_course", "_card"))}
    steps["longer"] = json.loads(json.dumps(steps["start"])) | {"publish": {"model": "smollm2-135m-games-longer"}}
    steps["longer"]["inputs"]["model"] = "steps.start"
    steps["longer"]["with"] |= {"max_steps": 2 * steps["optim_1"]["with"]["max_steps"]}
    steps["longer"]["with"]["learning_rate"] = steps["optim_1"]["with"]["learning_rate"]
    steps["expert"]["with"] |= {"max_steps": 20, "games": [
        {"game": "taxi", "episodes": {"train": 8, "test": 5, "test_seeds": 5}},
        {"game": "frozen_lake", "episodes": {"train": 20, "test": 10}}]}  # fmt: skip
    for name, step in steps.items():
        if "threads" in step["with"]:
            step["with"] |= {"threads": 1, "seed": seed}
        if name in POLICIES.values():
            step["publish"].pop("tag", None)
    for policy, step in POLICIES.items():
        for split in ("test", "test_seeds"):
            tasks = [f"stepagent_{game}{kind}" for game in GAMES for kind in ("", "_ll")]
            if split == "test_seeds":
                tasks = ["stepagent_taxi"]
            steps[f"{policy}_{split}"] = {
                "uses": "lm_eval",
                "inputs": {"model": f"steps.{step}", "dataset": "steps.expert"},
                "with": {"tasks": tasks, "gen_kwargs": {"max_gen_toks": 8}, "batch_size": 16, "threads": 1,
                         "metadata": {"split": split}},
                "publish": {"dataset": f"{policy}-{split.replace('_', '-')}"},
            }  # fmt: skip
    return text | {"name": f"smollm2_{seed}", "namespace": f"seed{seed}", "steps": steps}


def summary(work: Path) -> None:
    """Mean over the seeds and all values, for every policy, task and metric."""
    from huggingface_hub import hf_hub_download

    found: dict[tuple[str, str, str], list[float]] = {}
    seeds = sorted(int(path.stem.removeprefix("smollm2_")) for path in work.glob("smollm2_*.yaml"))
    for policy in POLICIES:
        for split in ("test", "test_seeds"):
            for seed in seeds:
                repo = f"seed{seed}/{policy}-{split.replace('_', '-')}"
                tasks = json.loads(Path(hf_hub_download(repo, "results.json", repo_type="dataset")).read_text())[
                    "tasks"
                ]
                for task, values in tasks.items():
                    for metric, entry in values["metrics"].items():
                        found.setdefault((f"{task} {split}", metric, policy), []).append(entry["value"])
    for (task, metric, policy), values in sorted(found.items()):
        shown = "  ".join(f"{value:.3f}" for value in values)
        print(f"{task:36} {metric:18} {policy:8} mean {sum(values) / len(values):.3f}  seeds {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    if arguments.summary:
        summary(arguments.work)
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / f"smollm2_{arguments.seed}.yaml"
    path.write_text(yaml.safe_dump(recipe(arguments.seed), sort_keys=False), encoding="utf-8")
    command = ["hubwright", "run", path.name, *(["--dry-run"] if arguments.dry_run else [])]
    subprocess.run(command, cwd=arguments.work, check=True)


if __name__ == "__main__":
    main()
