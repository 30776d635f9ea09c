"""Speed of inspection beside raw generation, and of step-wise DPO with and without a precomputed reference.

    OMP_NUM_THREADS=2 python experiments/stepagent/speed.py --model FOLDER --work DIR [--only inspection|dpo]
        [--pairs 32] [--float32]

`--model` is a folder with SmolLM2-135M-Instruct. Both pairs are measured in one process, one after the other, twice.
DPO is also measured in CPU seconds, which with one thread say the same on a busy machine. Under bf16 autocast
log-probabilities change with the padding of their batch, so that a precomputed reference gives other losses in the
third digit; `--float32` shows that this is all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from convergence import context, save_rows, world

ROWS, NEW, BATCH = 256, 8, 32


def raw(model: Path, prompts: list[list[dict[str, str]]]) -> float:
    """Seconds of transformers' own `generate` on the same prompts, sorted and padded the same."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(model, dtype="float32").eval()
    options: dict[str, Any] = {"add_generation_prompt": True, "return_dict": True}
    ids = [tokenizer.apply_chat_template(prompt, **options)["input_ids"] for prompt in prompts]
    ids.sort(key=len, reverse=True)
    began = time.perf_counter()
    for start in range(0, len(ids), BATCH):
        batch = tokenizer.pad({"input_ids": ids[start : start + BATCH]}, return_tensors="pt")
        with torch.inference_mode():
            network.generate(**batch, do_sample=True, top_k=0, top_p=1.0, max_new_tokens=NEW, min_new_tokens=1)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", choices=("inspection", "dpo"), help="one of the two pairs")
    parser.add_argument("--pairs", type=int, default=32, help=f"for DPO, at most {ROWS}")
    parser.add_argument("--float32", action="store_true", help="no bf16 autocast in DPO")
    arguments = parser.parse_args()
    texts, actions, expert = world()
    steps = [
        {"traj_id": str(n), "i": 0, "env": "cliff_walking", "prompt": [{"role": "user", "content": texts[n % 37]}],
         "expert_action": actions[int(expert[n % 37].argmax())], "admissible": actions}
        for n in range(ROWS)
    ]  # fmt: skip
    shutil.rmtree(arguments.work, ignore_errors=True)
    if arguments.only != "dpo":
        inspection(arguments, steps)
    if arguments.only != "inspection":
        dpo(arguments, steps)


def inspection(arguments: argparse.Namespace, steps: list[dict[str, Any]]) -> None:
    from hubwright.trainers import stepagent

    data = save_rows(arguments.work / "steps", "steps", steps)
    config = stepagent.InspectConfig(use_cpu=True, batch_size=BATCH, max_new_tokens=NEW)
    for turn in range(2):
        plain = raw(arguments.model, [step["prompt"] for step in steps])
        step = context(arguments.work / f"inspect{turn}", model=arguments.model, dataset=data)
        stepagent.inspect(config, step)
        mine = step.report.metrics["generation_seconds"]
        print(json.dumps({"generate": plain, "inspection": mine, "ratio_of_rates": plain / mine}), flush=True)


def dpo(arguments: argparse.Namespace, steps: list[dict[str, Any]]) -> None:
    from hubwright.trainers import stepagent
    from hubwright.trainers.stepagent.inspection import pair

    actions = steps[0]["admissible"]
    rows = [pair(s, s["expert_action"], {"text": actions[(n + 1) % 4], "logp": 0.0, "cut": False}, 1)
            for n, s in enumerate(steps[: arguments.pairs])]  # fmt: skip
    pairs = save_rows(arguments.work / "pairs", "pairs", rows)
    for turn in range(2):
        seconds, cpu, losses = {}, {}, {}
        for precomputed in (True, False):
            common = {"use_cpu": True, "max_length": 128, "per_device_train_batch_size": 8, "logging_steps": 1}
            common |= {"bf16": False} if arguments.float32 else {}
            settings = stepagent.OptimConfig(
                **common, num_train_epochs=3, learning_rate=1e-4, lora={"r": 16}, precompute_ref_log_probs=precomputed
            )
            step = context(arguments.work / f"dpo{turn}{precomputed}", model=arguments.model, dataset=pairs)
            began, before = time.perf_counter(), time.process_time()
            stepagent.train(settings, step)
            seconds[precomputed], cpu[precomputed] = time.perf_counter() - began, time.process_time() - before
            losses[precomputed] = next(c for c in step.report.curves if c["title"] == "Loss")["series"]["train"]
        gap = max(abs(a - b) for (_, a), (_, b) in zip(losses[True], losses[False], strict=True))
        result = {"precomputed": seconds[True], "not": seconds[False], "ratio": seconds[True] / seconds[False],
                  "ratio_of_cpu": cpu[True] / cpu[False], "largest_difference_of_losses": gap,
                  "first_losses": [losses[True][:2], losses[False][:2]]}  # fmt: skip
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
