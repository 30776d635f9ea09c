"""Builder `agent_trajectories_import`: other people's trajectories as rows of `agent_trajectories`.

    {"id": "webshop_3", "conversations": [{"from": "human", "value": "You are web shopping. ..."}, {"from": "gpt",
     "value": "OK"}, {"from": "human", "value": "..."}, ...], "reward": 0.5}                        ETO, AgentGym
    {"messages": [{"role": "user", "content": "Who ...?"}, {"role": "assistant", "content": "Thought: ...\\nAction:
     search[...]"}, {"role": "user", "content": "Observation: ..."}, ...]}                          FireAct
    {"instruction": "...", "input": "Question: ...", "output": "Thought 1: ...\\nAction 1: ...\\nObservation 1: ..."}

No environment is asked, so nothing is replayed: `valid`, `admissible` and `expert_dist` are null. What is learnt in a
state is the whole turn, thought and action.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from ...environments.text.interface import action_of
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.settings import Settings
from ...hub_sync.text import utf8
from ...inference.conversations import read_messages, with_system
from .._lib.cards import add_sources, describe, describe_columns
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter
from .._lib.sources import Source, SourceLicence, Timeout, read_records
from .._lib.splits import unit_hash
from .report import transcript
from .rows import Row, features, sft_row

if TYPE_CHECKING:
    from datasets import DatasetDict

Turn = dict[str, Any]
# The second turn of ETO's, AgentGym's and AgentInstruct's rows, which says nothing.
CONSENT = re.compile(r"\W*(ok|okay|understood|i understand|sure|got it)\b.{0,80}", re.IGNORECASE | re.DOTALL)
_PART = re.compile(r"^[ \t]*(Thought|Action|Observation)[ \t]*(\d*)[ \t]*:[ \t]*", re.MULTILINE)
_ACTION = re.compile(r"(?:^|\n)[\s*#>]*action[\s*]*:", re.IGNORECASE)
_FINISHED = re.compile(r"Episode finished, reward = (True|False|[\d.]+)")
SPLITS = ("train", "dev", "test")


class ImportConfig(Settings):
    """Where the trajectories come from. Defaults are our choice."""

    sources: tuple[Source, ...] = Field(
        min_length=1, description="Files of JSON, JSON Lines or Parquet, packed or not, in order."
    )
    env: str = Field(min_length=1, description="Name of the environment, for the column `env`.")
    policy: str = Field("expert", min_length=1, description="Who acted, for the column `policy`.")
    license: SourceLicence
    language: tuple[str, ...] = Field(("en",), description="Languages of the sources, for the card.")
    dev_fraction: float = Field(0.0, ge=0, lt=1, description="Share of the tasks for dev, by hash.")
    test_fraction: float = Field(0.0, ge=0, lt=1, description="Share of the tasks for test, by hash.")
    success_only: bool = Field(False, description="Leave out trajectories whose score is known and below 1.")
    max_rejected_share: float = max_rejected_share(0.25)
    timeout: Timeout = 60.0

    @model_validator(mode="after")
    def _train(self) -> Self:
        if self.dev_fraction + self.test_fraction >= 1:
            raise ValueError("dev_fraction and test_fraction leave no task for train: lower them")
        return self


def build(config: ImportConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, check and lay out: configs `trajectories`, `steps` and `sft`. A task is in one split alone.

    Raises:
        UsageError, HubError: as `read_records` does.
        DataError: a file cannot be parsed, too many records are rejected, or none is left for train.
    """
    context = context or local_context()
    names = ("trajectories", "steps", "sft")
    writers = {name: RowWriter(context.workdir / "rows" / name, features(name)) for name in names}
    ids, rejections, origins = DiskSet(context.workdir / "ids"), Rejections(), []
    example: Row | None = None
    for name, records, origin in read_records(config.sources, config.timeout, context.workdir / "sources"):
        origins.append(origin)
        for row in rejections.convert(name, records, lambda record: trajectory(record, config)):
            if not ids.add(row["id"]):
                rejections.reject(name, RowRejected("duplicate", row["task"]))
                continue
            place = unit_hash(f"{config.env}:{row['task']}")
            held = place < config.dev_fraction + config.test_fraction
            split = ("test" if place < config.test_fraction else "dev") if held else "train"
            writers["trajectories"].write(split, row)
            example = example or row
            for step, sft in steps_of(row):
                writers["steps"].write(split, step)
                writers["sft"].write(split, sft)
    rejections.check(config.max_rejected_share)
    counts = writers["trajectories"].counts
    if not counts["train"] or example is None:
        raise DataError(
            f"no trajectory is left for the train split of {rejections.read.total()} records: add sources, or lower "
            "dev_fraction and test_fraction"
        )
    report = context.report
    describe(report, __file__, "card_import", env=config.env)
    report.card |= {"language": list(config.language), "license": config.license, "default_config": "trajectories"}
    add_sources(report, origins)
    rejections.describe(report)
    report.counts |= {f"{split}_rows": counts[split] for split in SPLITS if counts[split]}
    report.counts["steps"] = writers["steps"].counts.total()
    report.section(f"An episode: {example['id']}", transcript(example))
    configs = {name: writer.finish(SPLITS) for name, writer in writers.items()}
    describe_columns(report, __file__, configs.values())
    return configs


def trajectory(record: Any, config: ImportConfig) -> Row:
    """A record as a row of `trajectories`. Raises RowRejected."""
    try:
        return _trajectory(record, config)
    except (TypeError, AttributeError, LookupError) as error:
        raise RowRejected("not_of_its_form", error) from error


def _trajectory(record: Any, config: ImportConfig) -> Row:
    if not isinstance(record, dict):
        raise RowRejected("not_an_object", record)
    if (source := record.get("conversations") or record.get("messages")) is not None:
        turns = with_system(read_messages(source, [], empty_answers=True), record.get("system") or None)
    elif "instruction" in record and "output" in record:
        first = "\n\n".join(part for part in (record["instruction"], record.get("input")) if part)
        turns = [{"role": "user", "content": first}, *react_turns(record["output"])]
    else:
        raise RowRejected("no_turns", sorted(record))
    turns = [{"role": t["role"], "content": t["content"], "weight": t.get("weight")} for t in turns]
    start = 1 + (turns[0]["role"] == "system")
    if len(turns) > start and CONSENT.fullmatch(turns[start]["content"]) and turns[start]["role"] == "assistant":
        turns[start]["weight"] = 0
        start += 2
    spoken = [turn["role"] for turn in turns[turns[0]["role"] == "system" :]]
    if spoken != (["user", "assistant"] * len(spoken))[: len(spoken)] or len(turns) <= start:
        raise RowRejected("turns_do_not_alternate", " ".join(spoken)[:80])
    actions = []
    for turn in turns[start::2]:
        if not _ACTION.search(turn["content"]) or not action_of(turn["content"]):
            raise RowRejected("turn_without_action", turn["content"])
        actions.append(action_of(turn["content"]))
    score = _score(record, turns[-1]["content"] if turns[-1]["role"] == "user" else "")
    if config.success_only and score is not None and score < 1:
        raise RowRejected("not_successful", score)
    task = record.get("game_file") or turns[start - 1]["content"]
    if not isinstance(task, str):
        raise RowRejected("not_of_its_form", task)
    digest = hashlib.sha256(utf8(repr([(turn["role"], turn["content"]) for turn in turns]))).hexdigest()[:16]
    rewards = [None] * len(actions) if score is None else [0.0] * (len(actions) - 1) + [score]
    return {
        "id": digest, "env": config.env, "task": task, "seed": None, "env_version": None, "options": None,
        "policy": config.policy, "temperature": None, "history": None, "max_steps": None,
        "instructions": "\n\n".join(turn["content"] for turn in turns[: start - 1] if turn.get("weight") != 0),
        "messages": turns, "actions": actions, "rewards": rewards, "valid": None,
        "states": [turn["content"] for turn in turns[start - 1 :: 2]][: len(actions)], "score": score,
        "success": None if score is None else score >= 1, "end": None, "replayed": False, "panel": None,
        "cut": None,
    }  # fmt: skip


def _score(record: Mapping[str, Any], last: str) -> float | None:
    """The final reward that a record states, from 0 to 1; None if it states none. Raises RowRejected."""
    value = record.get("reward")
    if value is None and (match := _FINISHED.search(last)):
        value = {"True": 1.0, "False": 0.0}.get(match[1], match[1])
    if value is None:
        return None
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise RowRejected("reward_not_from_0_to_1", value)
    return score


def react_turns(text: str) -> list[Turn]:
    """ReAct's numbered text as turns. Raises RowRejected.

    >>> react_turns("Thought 1: who?\\nAction 1: search[x]\\nObservation 1: y\\nAction 2: finish[y]")
    [{'role': 'assistant', 'content': 'Thought: who?\\nAction: search[x]'},
     {'role': 'user', 'content': 'Observation: y'}, {'role': 'assistant', 'content': 'Action: finish[y]'}]
    """
    parts = list(_PART.finditer(text))
    if not parts or text[: parts[0].start()].strip():
        raise RowRejected("broken_react", text[:80])
    turns: list[Turn] = []
    number, order = 1, ""
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        kind, content = part[1], text[part.end() : after.start() if after else None].strip()
        if int(part[2] or number) != number or order + kind[0] not in ("T", "A", "TA", "AO", "TAO"):
            raise RowRejected("broken_react", part[0].strip())
        order += kind[0]
        if kind == "Observation":
            turns.append({"role": "user", "content": f"Observation: {content}"})
            number, order = number + 1, ""
        elif order == "TA":
            turns[-1]["content"] += f"\nAction: {content}"
        else:
            turns.append({"role": "assistant", "content": f"{kind}: {content}"})
    if order == "T":
        raise RowRejected("broken_react", "it ends with a thought")
    return turns


def steps_of(row: Row) -> list[tuple[Row, Row]]:
    """The rows of `steps` and `sft` of a trajectory; turns of weight 0 are not among them."""
    turns: Sequence[Turn] = row["messages"]
    places = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"][-len(row["actions"]) :]
    pairs = []
    for i, place in enumerate(places):
        if turns[place]["weight"] == 0:
            continue
        prompt = [{"role": turn["role"], "content": turn["content"]} for turn in turns[:place]]
        step = {
            "traj_id": row["id"], "i": i, "env": row["env"], "task": row["task"], "seed": None, "prompt": prompt,
            "action": row["actions"][i], "expert_action": turns[place]["content"], "admissible": None,
            "expert_dist": None, "state": row["states"][i], "reward": row["rewards"][i], "return_to_go": row["score"],
        }  # fmt: skip
        pairs.append((step, sft_row(step, turns[place]["content"])))
    return pairs
