"""Builder `call_graphs_reworded`: a teacher rewrites the user's turns of executed call graphs; all checks run again.

Calls and results stay as they were executed; only the user's words are the teacher's. A rewording is accepted
if every value, number and name is still in it, word for word, where each thing that is asked for is still spoken
of, and where it is neither the old text nor an answer. Our choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.json_columns import make_dataset
from ...inference.serving import serve_input
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.conversation_checks import faults, run_checks
from .._lib.conversation_rows import ASSISTANT, COLUMNS, Row, features, identity
from .._lib.data_files import read_yaml
from .._lib.near_duplicates import MinHashIndex, read_test_requests
from .._lib.rejections import Rejections
from .._lib.sources import read_rows
from .._lib.teacher import PhaseClient, TeacherConfig, phase
from .words import value_text

if TYPE_CHECKING:
    from datasets import DatasetDict

TEXTS = read_yaml(__file__, "reworded.yaml")
# Whom or what a word means, the old text did not need to say.
_REFERENCE = re.compile(r"\b(its|back|my|you will|(?:from|to|for|lend|borrow) me)\b", re.IGNORECASE)
_DIRECTION = re.compile(r"\b(from|to)\s+(?:the account of\s+)?([A-Z][\w'-]+(?: [A-Z][\w'-]+)*)")
_CONDITION = re.compile(r"\b(if|whether|unless|in case)\b", re.IGNORECASE)
_ASKED = re.compile(r"\b(what|which|who|whom|whose|when|where|why|how)\b", re.IGNORECASE)
KEPT = 0.8  # share of the longer words of what is asked for that must leave a trace
# Numbers and codes, dates, and names in capitals inside a sentence.
_VALUE = re.compile(r"\d[\w.:-]*\d|\w*\d\w*|(?<=[a-z,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)*|\"[^\"]+\"")
_WORD = re.compile(r"[a-z]{4,}")
PLAIN = frozenset(
    "with from that this then have will would could please help need like find look what which when where into than "
    "more less otherwise next thanks great thing check show make take also there their them they your".split()
)


class RewordedConfig(TeacherConfig):
    """Which rows, which teacher, how it is asked. Defaults are our choice."""

    rows: int | None = Field(None, ge=1, description="The first so many rows; null: all.")
    near: float = Field(0.8, gt=0, le=1, description="Estimated Jaccard similarity that makes two requests one.")
    temperature: float = Field(0.8, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(256, ge=1, description="New tokens of a reply.")


def fault_of(new: str, old: str, asks: Sequence[str] = (), values: Sequence[str] = ()) -> str:
    """ "" if `new` can stand for `old`, else the reason why not.

    Args:
        asks: what is asked for, as phrases in their order; of the longer words that each shares with `old`, four in
            five must be there, at least by their beginnings.
        values: what the user states, options such as "express" among them.
    """
    new = new.strip()
    if not new or "\n\n" in new:
        return "no single paragraph"
    if len(new) > 2 * len(old) + 80:
        return "much longer than the request"
    if ASSISTANT.search(new):
        return "said as the assistant"
    if " ".join(new.casefold().split()) == " ".join(old.casefold().split()):
        return "the same words"
    for value in _VALUE.findall(old):
        if value.strip('"') not in new:
            return f"a value is gone: {value}"
    for value in values:
        if value.casefold() in old.casefold() and value.casefold() not in new.casefold():
            return f"a value is gone: {value}"
    # A request to look something up becomes a question about what is known already.
    if questions := {word.lower() for word in _ASKED.findall(new)} - {word.lower() for word in _ASKED.findall(old)}:
        return f"another question: {min(questions)}"
    # "See whether the booking exists. If it does, ..." asks for less than "look up the booking".
    if len(_CONDITION.findall(new)) > len(_CONDITION.findall(old)):
        return "a condition is new"
    if len(_REFERENCE.findall(new)) > len(_REFERENCE.findall(old)):
        return f"a reference is new: {_REFERENCE.findall(new)[-1]}"
    ways = set(_DIRECTION.findall(old))
    for way, whom in _DIRECTION.findall(new):
        if (way, whom) not in ways and ({"from": "to", "to": "from"}[way], whom) in ways:
            return f"the direction is another: {way} {whom}"
    if reason := _out_of_order(new, asks):
        return f"the order is another: {reason}"
    added = [value for value in _VALUE.findall(new) if any(c.isdigit() for c in value) and value not in old]
    if added:
        return f"a value is new: {added[0]}"
    for ask in asks:
        words = [w for w in _WORD.findall(re.sub(_VALUE, " ", ask).lower()) if w not in PLAIN and w in old.lower()]
        if sum(word[:5] in new.lower() for word in words) < KEPT * len(words):
            return f"something is not asked for any more: {ask}"
    return ""


def _out_of_order(new: str, asks: Sequence[str]) -> str:
    """The first of `asks` that stands before the one it follows, told by the values that only one of them has."""
    values = [set(_VALUE.findall(f"x {ask}")) for ask in asks]
    reached = -1
    for number, (ask, own) in enumerate(zip(asks, values, strict=True)):
        others = set().union(*values[:number], *values[number + 1 :])
        places = [at for value in own - others if (at := new.find(value.strip('"'))) >= 0]
        if places and min(places) < reached:
            return ask
        reached = max(reached, min(places, default=-1))
    return ""


def prompt(request: str) -> list[dict[str, str]]:
    """The conversation whose next turn is the request in other words."""
    turns = [{"role": "system", "content": TEXTS["prompt"]}]
    for old, new in TEXTS["examples"]:
        turns += [{"role": "user", "content": f"Request: {old}"}, {"role": "assistant", "content": new}]
    return [*turns, {"role": "user", "content": f"Request: {request}"}]


async def _reword(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """The row with other words in every turn of the user; raises RowRejected."""
    nodes = [node for node in json.loads(row["plan"])["nodes"] if node.get("looks") is None]  # what the user asked for
    messages, turn, number = [], 0, 0
    for message in row["messages"]:
        if message["role"] == "user":
            # A second turn may be the answer to a question about the first, which asks for nothing.
            short = row["variant"] == "missing_parameter" and number == 1
            asks = [] if short else [a for a, n in zip(row["sub_tasks"], nodes, strict=True) if n["turn"] == turn]
            old = message["content"]
            stated = [s for n in nodes if n["turn"] == turn for s in n["arguments"].values() if "user" in s]
            values = [value_text(source["user"]) for source in stated]

            def read(text: str, old: str = old, asks: Sequence[str] = asks, values: Sequence[str] = values) -> str:
                text = text.strip().strip('"') if text.count('"') == 2 and '"' not in old else text.strip()
                if reason := fault_of(text, old, asks, values):
                    raise ValueError(reason)
                return text

            new = old if short else await client.ask(prompt(old), read, label=str(number))
            message = {**message, "content": new}
            number += 1
            turn += not short
        messages.append(message)
    return {"messages": messages}


reword = phase(_reword)


def build(config: RewordedConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """Reword the input `dataset`, rows of `call_graphs`. Returns config `verified`, split `train`.

    Raises:
        UsageError: no teacher, or one that cannot be served.
        DataError: the input cannot be read or holds no rows of call_graphs, none is accepted, or more than
            `max_failed` of the requests failed.
    """
    import datasets

    from ...inference.stage import run_stage
    from .toolset import read_worlds

    context = context or local_context()
    if "dataset" not in context.inputs:
        raise UsageError(f"step {context.step}: give the input `dataset`, rows of `uses: call_graphs`")
    source = context.inputs["dataset"]
    rows = read_rows(source, context, config.split)
    missing = [name for name in ("messages", "plan", "sub_tasks") if name not in rows.column_names]
    if missing:
        raise DataError(f"{source.ref}: has no column {missing[0]!r}; give a data set of `uses: call_graphs`")
    chosen = rows.select(range(min(config.rows or len(rows), len(rows)))).to_list()
    endpoint = serve_input("teacher", config.teacher, config, context)
    result = run_stage(
        f"{__name__}:reword",
        [{**row, "n": number} for number, row in enumerate(chosen)],
        {name: getattr(config, name) for name in ("attempts", "temperature", "max_tokens", "seed")}
        | {"json_mode": False, "prompt": prompt("")},
        endpoint=endpoint,
        folder=context.workdir / "reword",
        recording=context.recording or context.workdir / "recording",
        replay=context.replay,
        max_failed=config.max_failed,
        **config.scale(),
    )
    responses = {name: tool.definition["responses"] for name, tool in read_worlds().tools.items()}
    used, earlier, tests = [0, 0], MinHashIndex(config.near), read_test_requests(context, config.near)
    rejections = Rejections()

    def accepted(row: Row) -> Row:
        if "rejected" in row:
            raise RowRejected(row["rejected"])
        row["id"] = identity(row["messages"], row["tools"])
        row["task"] = " ".join(m["content"] for m in row["messages"] if m["role"] == "user")
        row["made_by"] = endpoint.made_by
        row = run_checks(row, responses, earlier, tests)
        if failed := faults(row):
            raise RowRejected(f"check: {', '.join(failed)}")
        return row

    for row in result.rows:
        row.pop("n")
        used = [a + b for a, b in zip(used, row.pop("used"), strict=True)]
    failed = [{"rejected": "the endpoint failed"}] * len(result.failed)
    train = list(rejections.convert(str(source.ref), [*result.rows, *failed], accepted))
    if not train:
        worst, count = rejections.by_reason().most_common(1)[0]
        raise DataError(f"none of {len(chosen)} rows is accepted ({worst}: {count}); use a stronger teacher")
    report = context.report
    describe(report, __file__, "reworded", dataset=source.ref, teacher=endpoint.model)
    report.columns |= COLUMNS
    report.counts["rows_accepted"] = len(train)
    rejections.describe(report)
    report.metrics |= {
        "tokens_read_per_accepted_row": round(used[0] / len(train), 1),
        "tokens_written_per_accepted_row": round(used[1] / len(train), 1),
    }
    return {"verified": datasets.DatasetDict({"train": make_dataset(train, features())})}
