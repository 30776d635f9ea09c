"""Does the distance to the expert fall with every cycle? A tiny model on CliffWalking as text, measured exactly.

    python experiments/stepagent/convergence.py --work DIR [--seeds 0 1 2] [--only NAME ...] [--out FILE]

The expert is the softmax of the optimal action values (temperature 0.5, discount 0.95, the cliff costs 5), known in
all 37 states; the data are DRAWS of its actions in each. A model of two layers learns START steps by SFT; from it each
method goes on for CYCLES times STEPS gradient steps of the same batch size. After every cycle all four actions of all
states are scored as whole answers: KL(E || pi) over the four, the factor by which the cycle multiplied the error, the
probability of other texts.

Every stage is a step of the package, run on local folders; what is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[int, list[str], Path], list[dict[str, Any]]]
DRAWS, START, CYCLES, STEPS, BATCH, RATE = 96, 40, 4, 40, 64, 1e-3
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"kind": "sft"},
    "optim_1": {"kind": "optim", "beta": 1.0},
    "optim_1_nll": {"kind": "optim", "beta": 1.0, "sft_weight": 0.2},
    "optim_0.1": {"kind": "optim", "beta": 0.1},
    "optim_0.1_long": {"kind": "optim", "beta": 0.1, "steps": 8 * STEPS},
    "fixed_reference": {"kind": "optim", "beta": 1.0, "reference": True},
    "shuffled_expert": {"kind": "optim", "beta": 1.0, "shuffle": True},
}
COMMON = {"use_cpu": True, "bf16": False, "threads": 1, "max_length": 128, "per_device_train_batch_size": BATCH,
          "logging_steps": 10, "save_steps": 100_000}  # fmt: skip


def world() -> tuple[list[str], list[str], np.ndarray]:
    """Texts of the 37 states, the four actions, the expert's table."""
    from hubwright.environments.text.grids import CliffWalking, action_values
    from hubwright.trainers.stepagent.tabular import normalized

    game = CliffWalking()
    tasks = sorted(task for split in ("train", "dev", "test") for task in game.tasks(split))
    states = [game.starts(task)[0] for task in tasks]
    engine = game.make(tasks[0])
    moves, rewards = np.zeros((48, 4, 48)), np.zeros((48, 4))
    for state, actions in engine.P.items():
        for action, outcomes in actions.items():
            for probability, after, reward, done in outcomes:
                rewards[state, action] += probability * max(
                    reward, -5
                )  # the cliff costs 100: no other action would count
                moves[state, action, after] += 0 if done else probability
    expert = normalized(2 * action_values(moves, rewards, 0.95))
    return [game.describe(engine, state) for state in states], list(game.actions), expert[states]


def save_model(folder: Path, texts: list[str], actions: list[str], seed: int, positions: int = 128) -> None:
    """A Llama of two layers, 64 wide, with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from hubwright.trainers._lib.templates import CHATML_TOOLS

    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = {word for text in [*texts, *actions, "user assistant system"] for word, _ in split.pre_tokenize_str(text)}
    names = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", *sorted(words)]
    core = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = split
    core.add_special_tokens(names[:4])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.chat_template = CHATML_TOOLS.read_text(encoding="utf-8")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=positions, eos_token_id=3, bos_token_id=None, pad_token_id=0, initializer_range=0.1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_rows(folder: Path, config: str, rows: list[dict[str, Any]]) -> Path:
    from hubwright.hub_sync.json_columns import make_dataset
    from hubwright.hub_sync.parquet import write_shards

    write_shards(make_dataset(rows), folder / config, "train")
    return _card(folder, config)


def _card(folder: Path, config: str) -> Path:
    text = (
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*\n---\n"
    )
    (folder / "README.md").write_text(text)
    return folder


def save_data(folder: Path, texts: list[str], actions: list[str], expert: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, turns = [], []
    for state in range(len(texts)):
        for draw, action in enumerate(rng.choice(len(actions), DRAWS, p=expert[state])):
            prompt = [{"role": "user", "content": texts[state]}]
            steps.append({"traj_id": str(state), "i": draw, "env": "cliff_walking", "prompt": prompt,
                          "expert_action": actions[action], "admissible": actions})  # fmt: skip
            turns.append({"messages": [*prompt, {"role": "assistant", "content": actions[action]}]})
    save_rows(folder / "steps", "steps", steps)
    save_rows(folder / "sft", "default", turns)


def context(folder: Path, **inputs: Path) -> Any:
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    given = {role: Input(ArtifactRef("dataset" if role == "dataset" else "model", f"org/{role}", "0" * 40), path)
             for role, path in inputs.items()}  # fmt: skip
    return StepContext("step", folder / "work", folder / "out", given)


def once(folder: Path, work: Any) -> None:
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        work()
        (folder / "done").touch()


def table(folder: Path, texts: list[str], actions: list[str]) -> np.ndarray:
    """(states, actions) log-probabilities of the actions as whole answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    result = np.zeros((len(texts), len(actions)))
    with torch.inference_mode():
        for number, text in enumerate(texts):
            turns = [{"role": "user", "content": text}]
            head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
            tails = [[*tokenizer(action, add_special_tokens=False)["input_ids"], 3] for action in actions]
            width = max(map(len, tails))
            ids = torch.tensor([head + tail + [0] * (width - len(tail)) for tail in tails])
            logits = model(ids).logits[:, len(head) - 1 :].log_softmax(-1)
            for action, tail in enumerate(tails):
                result[number, action] = sum(logits[action, k, token].item() for k, token in enumerate(tail))
    return result


def measure(folder: Path, texts: list[str], actions: list[str], expert: np.ndarray) -> dict[str, Any]:
    from hubwright.trainers.stepagent.tabular import kl, normalized

    logps = table(folder, texts, actions)
    policy = normalized(logps)
    np.save(folder.parent / "table.npy", logps)
    return {
        "kl": kl(expert, policy), "reverse_kl": kl(policy, expert),
        "agreement": float((policy.argmax(1) == expert.argmax(1)).mean()),
        "inadmissible_mass": float(np.maximum(0, 1 - np.exp(logps).sum(1)).mean()),
    }  # fmt: skip


def cycle(method: dict[str, Any], model: Path, start: Path, data: Path, folder: Path, number: int, seed: int) -> None:
    from hubwright.hub_sync.parquet import write_shards
    from hubwright.trainers import sft, stepagent

    steps = method.get("steps", STEPS)
    if method["kind"] == "sft":
        config = sft.SFTConfig(**COMMON, learning_rate=RATE, max_steps=steps, seed=seed + number)
        sft.train(config, context(folder, model=model, dataset=data / "sft"))
        return
    pairs = folder / "pairs"
    inspect = stepagent.InspectConfig(use_cpu=True, threads=1, batch_size=256, max_new_tokens=6, cycle=number,
                                      seed=seed + number, shuffle_expert=method.get("shuffle", False))  # fmt: skip
    rows = stepagent.inspect(inspect, context(folder / "inspect", model=model, dataset=data / "steps"))
    write_shards(rows["pairs"]["train"], pairs / "pairs", "train")
    reference = {"reference": start} if method.get("reference") else {}
    config = stepagent.OptimConfig(
        **COMMON,
        learning_rate=RATE,
        beta=method["beta"],
        sft_weight=method.get("sft_weight", 0),
        max_steps=steps,
        seed=seed + number,
    )
    stepagent.train(config, context(folder, model=model, dataset=_card(pairs, "pairs"), **reference))


def run(seed: int, names: list[str], work: Path) -> list[dict[str, Any]]:
    from hubwright.trainers import sft

    texts, actions, expert = world()
    folder = work / f"seed{seed}"
    once(folder / "random", lambda: save_model(folder / "random" / "out", texts, actions, seed))
    once(folder / "data", lambda: save_data(folder / "data", texts, actions, expert, seed))
    first = sft.SFTConfig(**COMMON, learning_rate=RATE, max_steps=START, seed=seed)
    inputs = {"model": folder / "random" / "out", "dataset": folder / "data" / "sft"}
    once(folder / "start", lambda: sft.train(first, context(folder / "start", **inputs)))
    start, results = folder / "start" / "out", []
    for name in names:
        model = start
        for number in range(CYCLES + 1):
            place = folder / name / str(number) if number else folder / "start"
            began = time.perf_counter()
            if number:
                once(place, lambda: cycle(METHODS[name], model, start, folder / "data", place, number, seed))  # noqa: B023
                model = place / "out"
            figures = place / "figures.json"
            if not figures.exists():
                figures.write_text(json.dumps(measure(model, texts, actions, expert)))
            row = {"seed": seed, "method": name, "cycle": number, **json.loads(figures.read_text())}
            if number:
                row["factor"] = _factor(expert, results[-1]["logps"], np.load(place / "table.npy"))
            results.append(row | {"logps": np.load(place / "table.npy")})
            print(json.dumps(row | {"seconds": round(time.perf_counter() - began, 1)}), flush=True)
    return [{key: value for key, value in row.items() if key != "logps"} for row in results]


def _factor(expert: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    from hubwright.trainers.stepagent.tabular import contraction, normalized

    return contraction(expert, normalized(before), normalized(after))


def main(methods: Sequence[str], run: Run, figures: Sequence[str], cycles: int, about: str | None) -> None:
    """The command line of an experiment: runs, and means of its figures over the seeds with standard errors."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(methods), choices=methods)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [row for seed in arguments.seeds for row in run(seed, arguments.only, arguments.work)]
    for name in arguments.only:
        for number in range(cycles + 1):
            some = [row for row in rows if row["method"] == name and row["cycle"] == number]
            shown = []
            for figure in figures:
                values = [row[figure] for row in some]
                spread = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
                shown.append(f"{figure} {np.mean(values):.4f} +- {spread:.4f}")
            print(f"{name:20} cycle {number}  {'  '.join(shown)}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tuple(METHODS), run, ("kl",), CYCLES, __doc__)
