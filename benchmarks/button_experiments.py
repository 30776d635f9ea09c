"""What SmolLM2 learns from verified function calling: against the model as it is, other data, and faulty rows.

    python -m benchmarks.button_experiments --out runs/button --model MODEL --gold GOLD --stubs STUBS \\
        --glaive GLAIVE --seal SEAL --bfcl BFCL

MODEL is a folder of SmolLM2-135M-Instruct; the others are folders of published data sets (recipes `call_graphs`,
`button_seal`, `toolcalls`, `seal_tools`, `bfcl`). Arms: `gold`, rows over the worlds; `both`, every other row over
stubs of Seal-Tools' definitions; `glaive`; `spoilt`, executed call graphs with a fault each. Every arm is trained for
two passes over rows that hold together --tokens tokens, in another choice of rows for every seed, by the recipe step
`sft`; then lm-eval runs the first --limit documents of every task, greedily. A finished training and a finished task
are files, so the command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

TASKS = {  # task -> (environment variable, argument that names its data set, figures shown)
    "call_graphs": ("HUBWRIGHT_DATA_CALL_GRAPHS", "gold", ("call_name", "call_exact", "call_result", "no_call")),
    "seal_tools_in_domain": ("HUBWRIGHT_DATA_SEAL_TOOLS", "seal", ("tool_f1", "param_f1")),
    "seal_tools_out_domain": ("HUBWRIGHT_DATA_SEAL_TOOLS", "seal", ("tool_f1", "param_f1")),
    "button_bfcl_fc_simple_python": ("HUBWRIGHT_DATA_BFCL", "bfcl", ("function", "acc")),
}
ARMS = ("as it is", "gold", "both", "glaive", "spoilt")
TRAINING = {
    "chat_template": "chatml_tools", "num_train_epochs": 2, "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1, "packing": True, "max_length": 1024, "learning_rate": 2e-4, "warmup_steps": 0.1,
    "lr_scheduler_type": "cosine", "save_dtype": "bfloat16", "logging_steps": 5, "save_steps": 1000, "use_cpu": True,
}  # fmt: skip


def choose(arm: str, seed: int, tokens: int, arguments: argparse.Namespace, folder: Path) -> None:
    """Rows of an arm that hold about `tokens` tokens as one Parquet file below `folder`."""
    import datasets
    from transformers import AutoTokenizer

    from hubwright.builders._lib.conversation_checks import run_checks
    from hubwright.builders._lib.conversation_rows import features
    from hubwright.builders.call_graphs.corruption import NotApplicable, corrupt
    from hubwright.evals._lib.tool_turns import plain_turns
    from hubwright.hub_sync.json_columns import make_dataset

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    source = arguments.glaive if arm == "glaive" else arguments.gold
    rows = datasets.load_dataset(str(source), split="train")
    order = list(rows.select(random.Random(seed).sample(range(len(rows)), len(rows))))
    if arm == "both":
        stubs = datasets.load_dataset(str(arguments.stubs), split="train").shuffle(seed=seed)
        order = [row for pair in zip(order, stubs, strict=False) for row in pair]
    chosen: list[dict[str, Any]] = []
    held = 0
    rng = random.Random(f"{arm}:{seed}")
    for row in order:
        if arm == "spoilt":
            try:
                row = run_checks(corrupt(row, rng), {})
            except NotApplicable:
                pass
        size = sum(
            len(tokenizer(turn["content"])["input_ids"]) + 5 for turn in plain_turns(row["messages"], row["tools"])
        )
        if size > TRAINING["max_length"]:
            continue
        if held + size > tokens:
            break
        held += size
        chosen.append(row)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    made = make_dataset(chosen, rows.features if arm == "glaive" else features())
    made.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    (folder / "chosen.json").write_text(json.dumps({"rows": len(chosen), "tokens": held}))


def train(arm: str, seed: int, arguments: argparse.Namespace, folder: Path) -> None:
    """The model of an arm, at `folder / "model"`."""
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef
    from hubwright.trainers.sft import SFTConfig
    from hubwright.trainers.sft import train as sft

    choose(arm, seed, arguments.tokens, arguments, folder / "rows")
    paths = {"model": arguments.model, "dataset": folder / "rows"}
    given = {kind: Input(ArtifactRef(kind, f"local/{kind}", "0" * 40), Path(path)) for kind, path in paths.items()}
    context = StepContext("run", folder / "work", folder / "model", given)
    for path in (context.workdir, context.output):
        path.mkdir(parents=True, exist_ok=True)
    sft(SFTConfig(**TRAINING, seed=seed, threads=arguments.threads), context)
    (folder / "trained.json").write_text(json.dumps(context.report.metrics))


def evaluate(model: Path, task: str, arguments: argparse.Namespace, result: Path) -> None:
    """One task's figures, as a file."""
    from hubwright.evals.harness.command import run_lm_eval

    variable, data, _ = TASKS[task]
    os.environ[variable] = str(getattr(arguments, data).absolute())
    found = run_lm_eval(
        task,
        ["--model", "hf", "--model_args", f"pretrained={model},dtype=bfloat16", "--device", "cpu", "--batch_size", "4",
         "--apply_chat_template", "--limit", str(arguments.limit), "--gen_kwargs", f"max_gen_toks={arguments.answer}"],
    )  # fmt: skip
    assert found is not None
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(found["results"][task], default=str))
    partial.replace(result)


def main() -> None:
    """Train and evaluate what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "model", "gold", "stubs", "glaive", "seal", "bfcl"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=45_000, help="of an arm's rows, prompts included")
    parser.add_argument("--limit", type=int, default=40, help="documents of a task")
    parser.add_argument("--answer", type=int, default=160, help="most tokens of an answer")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        arm, seed, task = arguments.one
        folder = arguments.out / f"{arm.replace(' ', '_')}-{seed}"
        if task == "train":
            train(arm, int(seed), arguments, folder)
        else:
            model = arguments.model if arm == ARMS[0] else folder / "model"
            evaluate(model.absolute(), task, arguments, folder / f"{task}.json")
        return
    runs = [(arm, seed) for seed in range(arguments.seeds) for arm in arguments.arms if arm != ARMS[0] or not seed]
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for arm, seed in runs:
        folder = arguments.out / f"{arm.replace(' ', '_')}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [("train", folder / "trained.json")] if arm != ARMS[0] else []
        for job, path in [*jobs, *((task, folder / f"{task}.json") for task in TASKS)]:
            if not path.is_file():
                command = [sys.executable, "-m", "benchmarks.button_experiments", *sys.argv[1:]]
                done = subprocess.run([*command, "--one", arm, str(seed), job], stdout=subprocess.DEVNULL)
                if done.returncode:
                    sys.exit(f"button_experiments: {arm}, seed {seed}: {job} failed, see above")
        found[arm, seed] = {task: json.loads((folder / f"{task}.json").read_text()) for task in TASKS}
    print(table(found))


def table(found: dict[tuple[str, int], dict[str, Any]]) -> str:
    """Every figure by arm: the mean over seeds with each seed's 95 % interval where the task has one."""
    lines = [f"| task, figure | {' | '.join(ARMS)} |", f"|---|{'---:|' * len(ARMS)}"]
    for task, (_, _, figures) in TASKS.items():
        for figure in figures:
            cells = []
            for arm in ARMS:
                seeds = [results[task] for (name, _), results in found.items() if name == arm]
                values = [r[f"{figure},none"] for r in seeds if isinstance(r.get(f"{figure},none"), float)]
                ranges = [
                    f"{r[f'{figure}_ci_low,none']:.2f}-{r[f'{figure}_ci_high,none']:.2f}"
                    for r in seeds
                    if isinstance(r.get(f"{figure}_ci_low,none"), float)
                ]
                cells.append(f"{sum(values) / len(values):.3f} ({', '.join(ranges)})" if values else "–")
            lines.append(f"| {task}, {figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
