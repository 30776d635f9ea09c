"""Recipe step `stepagent_inspect`: the agent's own action in every state of the expert's, as pairs with the expert's.

The first half of a cycle: trajectories are taken apart into steps, and in each state the model answers by itself,
given the expert's turns so far. No environment is asked, so that it is plain batched generation: sorted by length, in
shards that survive a kill and are the same whether there was one or not.

    {"traj_id": "taxi-train-3", "i": 0, "cycle": 1, "prompt": [{"role": "user", "content": "..."}],
     "chosen": [{"role": "assistant", "content": "move north"}],
     "rejected": [{"role": "assistant", "content": "move east"}], "tie": false, "valid": true, "cut": false,
     "agent_logp": -1.31}
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...environments.text.interface import action_of
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from .._lib.config import ModelSettings

if TYPE_CHECKING:
    from datasets import DatasetDict

SHARD_ROWS = 512
COLUMNS = {
    "traj_id": "`id` of the expert's trajectory",
    "i": "number of the step in it, from 0",
    "cycle": "number of the cycle, from 1",
    "prompt": "turns with role and content up to the state, the expert's actions among them",
    "chosen": "the expert's action, one turn",
    "rejected": "the agent's action, one turn",
    "tie": "whether both are the same text",
    "valid": "whether the agent's action is one of the state's; null if those are not known",
    "cut": "whether the agent's answer ran out of tokens",
    "agent_logp": "log-probability of the agent's answer at temperature 1, nats",
}
Row = dict[str, Any]


class InspectConfig(ModelSettings):
    """How the agent answers. Defaults are our choice."""

    split: str = Field("train", description="Split of the data set's config `steps`.")
    cycle: int = Field(1, ge=1, description="Number of the cycle, written into every row.")
    samples: int = Field(1, ge=1, description="Answers per state; each is a pair.")
    temperature: float = Field(1.0, ge=0, description="Of sampling; 0: the most probable action.")
    max_new_tokens: int = Field(32, ge=1, description="Tokens of an action at most, its end of turn among them.")
    batch_size: int = Field(32, ge=1, description="States answered at once. Another size draws other actions.")
    max_rows: int | None = Field(None, ge=1, description="Use so many states, chosen by a hash; null: all.")
    shuffle_expert: bool = Field(
        False, description="Control: give every state another state's expert action of the same environment."
    )


def inspect(config: InspectConfig, context: StepContext) -> DatasetDict:
    """The pairs, in the order of the states.

    Raises DataError for a data set without usable steps, UsageError for a model that cannot answer them.
    """
    from datasets import DatasetDict

    from .._lib import loop

    source_name = loop.name(context, "dataset")
    steps = read_steps(config, context)
    actions = [step["expert_action"] for step in steps]
    if config.shuffle_expert:
        actions = shuffled(steps, config.seed)
    with loop.settings(config):
        samples, speed = _answers(config, context, steps)
    rows = [
        pair(step, action, sample, config.cycle)
        for step, action, several in zip(steps, actions, samples, strict=True)
        for sample in several
    ]
    _report(config, context, rows, speed, source_name)
    return DatasetDict({"pairs": DatasetDict({config.split: _dataset(rows)})})


def read_steps(config: InspectConfig, context: StepContext) -> list[Row]:
    """The rows of the data set's config `steps`. Raises DataError for an absent config, column or value."""
    from ...hub_sync.parquet import load_split
    from .._lib import loop

    source_name, folder = loop.name(context, "dataset"), context.inputs["dataset"].path
    try:
        read = load_split(folder, "steps", config.split, context.workdir / "datasets")
    except Exception as error:  # datasets raises anything from ValueError to its own classes
        reason = next(iter(str(error).splitlines()), "").replace(str(folder), source_name)
        raise DataError(f"{source_name}: split {config.split!r} of config `steps` cannot be read: {reason}") from error
    columns = ("traj_id", "i", "prompt", "expert_action")
    if missing := [name for name in columns if name not in read.column_names]:
        raise DataError(
            f"{source_name}: config `steps` has no column {missing[0]!r}; build it with agent_trajectories"
        )
    steps = list(read)
    if config.max_rows is not None and config.max_rows < len(steps):
        by_hash = sorted(range(len(steps)), key=lambda n: _hash(config.seed, steps[n]["traj_id"], steps[n]["i"]))
        steps = [steps[n] for n in sorted(by_hash[: config.max_rows])]
    if not steps:
        raise DataError(f"{source_name}: split {config.split!r} of config `steps` has no rows")
    for number, step in enumerate(steps):
        action = step["expert_action"]
        if not isinstance(action, str) or not action.strip():
            raise DataError(f"{source_name}: row {number}: expert_action is {action!r}; leave the row out")
        if any(not isinstance(turn["content"], str) for turn in step["prompt"] or ()):
            raise DataError(f"{source_name}: row {number}: a turn of the prompt is not text; leave the row out")
        if not step["prompt"] or step["prompt"][-1]["role"] == "assistant":
            raise DataError(f"{source_name}: row {number}: the prompt does not end with what the agent answers to")
    return steps


def shuffled(steps: Sequence[Row], seed: int) -> list[str]:
    """Expert actions of other states of the same environment: a rotation of the rows in the order of a hash."""
    actions = [""] * len(steps)
    for env in sorted({str(step.get("env")) for step in steps}):
        rows = [n for n, step in enumerate(steps) if str(step.get("env")) == env]
        rows.sort(key=lambda n: _hash(seed, steps[n]["traj_id"], steps[n]["i"]))
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
            actions[row] = steps[other]["expert_action"]
    return actions


def pair(step: Mapping[str, Any], action: str, sample: Mapping[str, Any], cycle: int) -> Row:
    """The row of an expert's `action` and an answer of the agent, a `generation.Sample` as a mapping."""
    admissible, text = step.get("admissible"), sample["text"]
    return {
        "traj_id": step["traj_id"], "i": step["i"], "cycle": cycle,
        "prompt": [{"role": turn["role"], "content": turn["content"]} for turn in step["prompt"]],
        "chosen": [{"role": "assistant", "content": action}],
        "rejected": [{"role": "assistant", "content": text}],
        "tie": text == action.strip(),
        "valid": None if admissible is None else _named(text) in map(_named, admissible),
        "cut": sample["cut"], "agent_logp": sample["logp"],
    }  # fmt: skip


def _named(reply: str) -> str:
    """The action that a game reads in a reply, whatever its capital letters."""
    return action_of(reply).lower()


def _answers(
    config: InspectConfig, context: StepContext, steps: Sequence[Row]
) -> tuple[list[list[Row]], dict[str, float]]:
    """(answers per state, seconds and tokens of what was generated in this run)."""
    from ...inference import device, shards
    from ...inference.generation import Generator
    from .._lib import loop, model

    tokenizer = model.read_tokenizer(context)
    network = model.read_model(config, context).eval()
    network.to(device.choose("cpu" if config.use_cpu else config.device))
    generator = Generator(
        network, tokenizer, temperature=config.temperature, max_new_tokens=config.max_new_tokens, seed=config.seed,
        source_name=loop.name(context, "model"),
    )  # fmt: skip
    prompts = [generator.encode(step["prompt"]) for step in steps]
    generator.check(prompts)
    # Neighbours in this order have the same length, as far as can be: little padding, and the longest come first.
    order = sorted(range(len(prompts)), key=lambda n: (-len(prompts[n]), n))
    tasks = [(n, k) for k in range(config.samples) for n in order]
    result: list[list[Any]] = [[None] * config.samples for _ in steps]
    size = config.batch_size * max(1, SHARD_ROWS // config.batch_size)
    speed = {"seconds": 0.0, "tokens": 0}
    identity = {"step": "stepagent_inspect", "config": config.model_dump(mode="json")}

    def generate(some: Sequence[Row], index: int) -> list[Row]:
        began = time.perf_counter()
        rows: list[Row] = []
        for start in range(0, len(some), config.batch_size):
            batch = [row["ids"] for row in some[start : start + config.batch_size]]
            rows += map(vars, generator.sample(batch, f"{index}.{start}"))
        speed["seconds"] += time.perf_counter() - began
        speed["tokens"] += sum(row["tokens"] for row in rows)
        return rows

    requests = [{"ids": prompts[n], "k": k} for n, k in tasks]
    answers = shards.in_shards(requests, identity, context.workdir / "answers", size, generate)
    for (n, k), row in zip(tasks, answers, strict=True):
        result[n][k] = row
    return result, speed


def _hash(seed: int, *key: Any) -> bytes:
    return hashlib.sha256(repr((seed, *key)).encode("utf-8", "surrogatepass")).digest()


def _dataset(rows: list[Row]) -> Any:
    from datasets import Features, List, Value

    from ...hub_sync.json_columns import make_dataset

    turns = List({"role": Value("string"), "content": Value("string")})
    types = {"traj_id": "string", "i": "int64", "cycle": "int64", "tie": "bool", "valid": "bool", "cut": "bool",
             "agent_logp": "float64"}  # fmt: skip
    return make_dataset(rows, Features({n: Value(types[n]) if n in types else turns for n in rows[0]}))


def _report(
    config: InspectConfig, context: StepContext, rows: Sequence[Row], speed: Mapping[str, float], source_name: str
) -> None:
    report, model = context.report, context.inputs["model"].ref
    ties, known = sum(row["tie"] for row in rows), [row["valid"] for row in rows if row["valid"] is not None]
    report.card.setdefault("pretty_name", f"Steps of {model.repo_id} beside an expert's, cycle {config.cycle}")
    report.card.setdefault("tags", ["agent", "preference", "stepagent"])
    control = " **Control: the expert's actions are those of other states.**" if config.shuffle_expert else ""
    report.summary = (
        f"In every state of the expert's in `{source_name}` an action of `{model}`, as the rejected response beside "
        f"the expert's (StepAgent's inspection, arXiv:2411.03817), cycle {config.cycle}.{control} TRL reads "
        "`prompt`, `chosen` and `rejected`; equal actions are marked `tie`."
    )
    report.columns |= COLUMNS
    report.counts |= {
        "pairs": len(rows), "ties": ties, "answers_cut": sum(row["cut"] for row in rows),
        "answers_empty": sum(not row["rejected"][0]["content"] for row in rows),
    }  # fmt: skip
    report.metrics |= {
        "agreement": ties / len(rows),
        "inadmissible": 1 - sum(known) / len(known) if known else None,
        "agent_logp_mean": sum(row["agent_logp"] for row in rows) / len(rows),
        "generation_seconds": speed["seconds"],
        "tokens_per_second": speed["tokens"] / speed["seconds"] if speed["seconds"] else None,
    }
    places: dict[int, list[bool]] = {}
    for row in rows:
        places.setdefault(row["i"], []).append(row["tie"])
    series = [[i, sum(hits) / len(hits)] for i, hits in sorted(places.items())]
    report.curve("Agreement with the expert by step", "step of the trajectory", "share of equal actions",
                 {"agent": series})  # fmt: skip
    shown = [row for row in rows if not row["tie"]][:5] or rows[:5]
    table = [
        [row["prompt"][-1]["content"][-300:], row["chosen"][0]["content"], row["rejected"][0]["content"][:100]]
        for row in shown
    ]
    report.table("Some pairs", ["state (its end)", "expert", "agent"], table)
