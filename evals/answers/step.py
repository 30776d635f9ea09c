"""Recipe step `answers`: a model answers the conversations of a data set; every row with its answer as a data set.

The model is a GGUF repository (input `model`, served on the loopback) or an endpoint (`with: {model: openai:...}`).
Each sampled answer has a seed made from its row's id. Requests and answers are in the run's recording.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from ...hub_sync import provenance
from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.json_columns import encode_row
from ...hub_sync.settings import Settings
from ...hub_sync.text import utf8
from ...inference.client import ChatClient
from ...inference.conversations import RowRejected, read_messages, read_tools
from ...inference.endpoint import Endpoint
from ...inference.padding import padded, pads_arguments
from ...inference.row_file import RowFile
from ...inference.serving import ModelSpec, ServingConfig, serve_input
from .._lib.data import read_split, stream_parquet

Row = dict[str, Any]
OUTCOMES = ("ok", "truncated", "empty", "refused", "failed")
NO_ANSWER: Row = {
    "answer": None, "reasoning": "", "tool_calls": [], "finish_reason": "", "outcome": "failed", "error": None,
    "model": None, "model_revision": None, "temperature": None, "seed": None, "prompt_tokens": 0,
    "completion_tokens": 0,
}  # fmt: skip
"""The columns of an answer, with their values for a failed request."""
COLUMNS = {
    "answer": "text of the answer; null if the request failed or was refused",
    "reasoning": "what the model wrote before the answer as a thought; empty if nothing",
    "tool_calls": "calls of the answer: {id, type: function, function: {name, arguments as JSON text}}",
    "finish_reason": "why the model ended, as the server says; empty if it does not",
    "outcome": "ok, truncated, empty, refused or failed",
    "error": "why there is no answer; empty if there is one",
    "model": "name of the model as it was asked for",
    "model_revision": "its commit; empty if not known",
    "temperature": "of sampling; null if the server chose it",
    "seed": "seed of the answer; null if it was greedy or failed",
    "prompt_tokens": "tokens of the request, as the server counted them; 0 if it did not",
    "completion_tokens": "tokens of the answer, thoughts included, as the server counted them; 0 if it did not",
}
"""What they hold."""


class SelectConfig(Settings):
    """A fixed part of the rows: `n` of every combination of the `by` columns' values, by a hash of seed and id."""

    by: list[str] = Field(default_factory=list, description="Columns whose combinations are the strata; none: one.")
    n: int = Field(ge=1, description="Rows of every stratum; all of one that has fewer.")
    seed: int = Field(0, ge=0, description="Another seed, other rows.")
    max_chars: int | None = Field(None, ge=1, description="Skip rows whose conversation has more characters.")


class TemperatureConfig(Settings):
    """A sampling temperature by the value of a column."""

    by: str = Field(description="Column of the data set.")
    values: dict[str, Annotated[float, Field(ge=0)]] = Field(description="Temperature for a value of the column.")
    otherwise: float = Field(0.0, ge=0, description="Temperature for all other values.")

    def of(self, row: Row) -> float:
        return self.values.get(str(row[self.by]), self.otherwise)


class AnswersConfig(ServingConfig):
    """Who answers what, and how it is sampled."""

    model: ModelSpec | None = Field(
        None, description="openai:MODEL@BASE_URL; null: the step's input `model`, a GGUF repository."
    )
    split: str = Field("test", description="Split of the data set.")
    select: SelectConfig | None = Field(None, description="A fixed part of the rows; null: all.")
    system: str | None = Field(None, description="System message put first; null: none.")
    temperature: Annotated[float, Field(ge=0)] | TemperatureConfig = Field(
        0.0, description="Sampling temperature, or {by: COLUMN, values: {VALUE: TEMPERATURE}, otherwise: TEMPERATURE}."
    )
    max_tokens: int = Field(4096, ge=1, description="New tokens of an answer; a smaller window cuts it shorter.")
    seed: int = Field(0, ge=0, description="Part of the seed of every sampled answer.")
    max_failed: float = Field(0.05, ge=0, le=1, description="Most rows whose requests may fail, as a share.")


def select_rows(rows: Iterable[Row], config: SelectConfig) -> list[int]:
    """Numbers of the chosen rows in the order of the data set; the choice depends on their ids alone.

    Raises DataError for a column or an id that is absent.
    """
    strata: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        missing = [name for name in ("id", *config.by) if name not in row]
        if missing:
            raise DataError(f"select: the data set has no column {missing[0]!r}; it has {', '.join(row)}")
        if config.max_chars is None or _characters(row) <= config.max_chars:
            draw = hashlib.sha256(utf8(f"{config.seed}:{row['id']}")).hexdigest()
            strata[tuple(str(row[name]) for name in config.by)].append((draw, number))
    return sorted(number for stratum in strata.values() for _, number in sorted(stratum)[: config.n])


def _characters(row: Row) -> int:
    try:
        return sum(len(turn["content"]) for turn in read_messages(row["messages"], [], empty_answers=True))
    except RowRejected as error:
        raise DataError(f"select: row {row['id']}: {error}; repair the row or leave it out") from error


def row_seed(seed: int, name: str) -> int:
    """The seed of a row's sampled answer: the first 31 bits of SHA-256("SEED:ID")."""
    return int.from_bytes(hashlib.sha256(utf8(f"{seed}:{name}")).digest()[:4], "big") >> 1


def request_of(row: Row, config: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a row without its model. A greedy one has no seed: it would change nothing but the record."""
    temperature = row["temperature"]
    messages = list(row["messages"])
    if config["system"]:
        messages.insert(0, {"role": "system", "content": config["system"]})
    body = {"messages": messages, "temperature": temperature, "max_tokens": config["max_tokens"]}
    body |= {"tools": row["tools"]} if row.get("tools") else {}
    return body | ({"seed": row_seed(config["seed"], str(row["id"]))} if temperature > 0 else {})


def api_turns(turns: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Turns as the chat completions API takes them: calls with ids and arguments as JSON text, results by id."""
    sent: list[Row] = []
    pending: list[str] = []
    for number, turn in enumerate(turns):
        message = {"role": turn["role"], "content": turn["content"]}
        if calls := turn.get("tool_calls"):
            message["tool_calls"] = [_api_call(call, f"call_{number}_{place}") for place, call in enumerate(calls)]
            pending = [call["id"] for call in message["tool_calls"]]
        if turn["role"] == "tool":
            message["tool_call_id"] = turn.get("tool_call_id") or (pending[0] if pending else "")
            pending = [name for name in pending if name != message["tool_call_id"]]
        sent.append(message)
    return sent


def _api_call(call: Mapping[str, Any], name: str) -> Row:
    """One call in the API's form, whatever a row or a server gave; arguments that are no text become JSON text."""
    inner = call.get("function", call)
    inner = inner if isinstance(inner, Mapping) else {"arguments": inner}
    arguments = inner.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": str(inner.get("name") or ""), "arguments": text}
    return {"id": str(call.get("id") or name), "type": "function", "function": function}


async def answer_row(row: Row, config: Mapping[str, Any], chat: ChatClient) -> Row:
    """The stage's work. A cut-off answer is an answer, marked "truncated"; an empty one is not a failure."""
    from ...inference.replies import is_cut
    from ...inference.stage import RowError

    body = request_of(row, config)
    reply = await chat.complete(**body, allow_truncated=True)
    if reply.outcome == "failed":
        raise RowError(reply.error, final=reply.final)
    cut = reply.ok and is_cut(reply.finish_reason)
    return {
        "answer": None if reply.outcome == "refused" else reply.text,
        "reasoning": reply.reasoning,
        "tool_calls": [_api_call(call, f"call_{place}") for place, call in enumerate(reply.tool_calls)],
        "finish_reason": reply.finish_reason,
        "outcome": "truncated" if cut else reply.outcome,
        "error": reply.error,
        "temperature": float(body["temperature"]) if chat.endpoint.send_temperature else None,
        "seed": body.get("seed"),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
    }


def answer(config: AnswersConfig, context: StepContext) -> None:
    """Write `data/answers-*.parquet` below `context.output`: the rows of `context.inputs["dataset"]` with answers.

    Raises UsageError for no model or one that cannot be served; DataError for an absent split or column, an empty
    selection, or more than `max_failed` failures.
    """
    source = context.inputs["dataset"]
    name = str(source.ref)
    read = read_split(source.path, config.split)
    _check(read, name)
    chosen = read.select(select_rows(read, config.select)) if config.select else read
    if not len(chosen):
        raise DataError(f"step {context.step}: the selection leaves no row of {source.ref}")

    features = read.features  # each access copies them deeply

    def requests() -> Iterator[Row]:
        for number, row in enumerate(chosen):
            request = _request_row(row, features, config.temperature, name) | {"number": number}
            encode_row(row, features, number)  # refuse now what could not be written after the requests
            yield request

    pending = RowFile(context.workdir, requests())
    endpoint = serve_input("model", config.model, config, context)
    answered, usage = _ask(pending, config, endpoint, context)
    outcomes: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        for row, own in zip(chosen, answered, strict=True):
            outcomes[own["outcome"]] += 1
            yield row | own

    stream_parquet(rows(), context.output / "data", "answers", {**features, **_features()})
    _report(config, context, endpoint, outcomes, len(read), features, usage)


def _features() -> dict[str, Any]:
    """Types of the columns of an answer."""
    from datasets import Json, List, Value

    types: dict[str, Any] = dict.fromkeys(NO_ANSWER, Value("string")) | {"temperature": Value("float64")}
    whole = dict.fromkeys(("seed", "prompt_tokens", "completion_tokens"), Value("int64"))
    return types | whole | {"tool_calls": List(Json())}


def _check(rows: Any, source_name: str) -> None:
    import pyarrow.compute

    names = rows.column_names
    if not len(rows):
        raise DataError(f"{source_name}: has no rows")
    for name in ("id", "messages"):
        if name not in names:
            raise DataError(f"{source_name}: has no column {name!r}; answers need `id` and `messages`")
    if clash := [name for name in NO_ANSWER if name in names]:
        raise DataError(f"{source_name}: column {clash[0]!r} is one that the answers get; it holds answers already?")
    if pyarrow.compute.count_distinct(rows.data["id"], mode="all").as_py() != len(rows):
        raise DataError(f"{source_name}: an id occurs twice")


def _request_row(row: Row, features: Mapping[str, Any], setting: float | TemperatureConfig, source_name: str) -> Row:
    """What a row's request is made from: id, turns and functions in the API's form, temperature. Raises DataError."""
    if not isinstance(setting, float) and setting.by not in row:
        missing = f"has no column {setting.by!r} to set the temperature by; it has {', '.join(row)}"
        raise DataError(f"{source_name}: {missing}")
    temperature = setting if isinstance(setting, float) else setting.of(row)
    try:
        tools = read_tools(row.get("tools"), "tools" in features and padded(features["tools"]))
        is_padded = pads_arguments(features["messages"])
        turns = read_messages(row["messages"], tools, is_padded=is_padded, empty_answers=True)
    except RowRejected as error:
        raise DataError(f"{source_name}: row {row['id']}: {error}; repair the row or leave it out") from error
    if turns[-1]["role"] == "assistant":
        remedy = "`uses: rows` with `format: questions` leaves the reply out"
        raise DataError(f"{source_name}: row {row['id']}: the last turn is the assistant's: {remedy}")
    offered = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    request: Row = {"id": row["id"], "messages": api_turns(turns), "temperature": temperature}
    return request | ({"tools": offered} if offered else {})


def _ask(
    rows: Sequence[Row], config: AnswersConfig, endpoint: Endpoint, context: StepContext
) -> tuple[Iterator[Row], dict[str, Any]]:
    """(the columns of the answers in the order of the rows, the usage)."""
    from ...inference.shards import Failure
    from ...inference.stage import run_stage

    result = run_stage(
        f"{__name__}:answer_row",
        rows,
        {name: getattr(config, name) for name in ("system", "max_tokens", "seed")},
        endpoint=endpoint,
        folder=context.workdir / "answers",
        recording=context.recording or context.workdir / "recording",
        replay=context.replay,
        max_failed=config.max_failed,
        **config.scale(),
    )
    model = {"model": endpoint.model, "model_revision": endpoint.revision}
    outcomes = ({"error": one.error} if isinstance(one, Failure) else one for one in result)
    return ({**NO_ANSWER, **one, **model} for one in outcomes), result.usage.summary(config.budget)


def _report(
    config: AnswersConfig,
    context: StepContext,
    endpoint: Endpoint,
    outcomes: Counter[str],
    available: int,
    names: Iterable[str],
    usage: Mapping[str, Any],
) -> None:
    report, source = context.report, context.inputs["dataset"]
    report.card.setdefault("pretty_name", f"Answers of {endpoint.model} to {source.ref.repo_id}")
    report.card.setdefault("tags", ["evaluation", "answers"])
    whose = endpoint.cited
    report.summary = f"Answers of {whose} to {outcomes.total()} of {available} rows of `{source.ref}`."
    if config.select:
        strata = f" of every combination of {', '.join(config.select.by)}" if config.select.by else ""
        report.summary += f" A fixed selection: {config.select.n}{strata}, by seed {config.select.seed}"
        longest = config.select.max_chars
        report.summary += f", conversations of at most {longest} characters." if longest else "."
    report.columns |= provenance.source_columns(source.path, source.ref.repo_id, names) | COLUMNS
    report.counts["answers"] = outcomes.total()
    for outcome in OUTCOMES:
        report.counts[f"answers_{outcome}"] = outcomes[outcome]
    report.metrics |= {f"usage/{name}": value for name, value in usage.items() if not name.startswith("latency")}
