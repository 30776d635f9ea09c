"""Recipe step `button`: the pipeline of BUTTON (arXiv 2410.12952) with a teacher that is served.

scenarios (from conversations, or our own) -> those that differ -> expansion -> atomic tasks -> composition ->
consistency filter -> functions per sub-task -> trajectory by three agents. What the paper leaves open is our choice;
its prompts are not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.json_columns import make_dataset
from ...inference.endpoint import Endpoint
from ...inference.serving import serve_input
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.conversation_checks import check_all, faults_table
from .._lib.conversation_rows import COLUMNS, calls_of, features, identity, system_turn
from .._lib.near_duplicates import read_test_requests
from .._lib.teacher import Row, TeacherConfig
from .dedup import NO_EMBEDDINGS
from .pipeline import Phase, Pipeline

if TYPE_CHECKING:
    from datasets import DatasetDict

Shape = Literal["sequential", "parallel_then_sequential"]


class ButtonConfig(TeacherConfig):
    """Who generates, how much, and which halves of the method are used. Defaults are our choice."""

    conversations: int = Field(200, ge=1, description="Conversations to read from it, from the first on.")
    conversation_chars: int = Field(3000, ge=100, description="Characters of a conversation that are shown.")
    dedup: Literal["tfidf", "embeddings"] = Field(
        "tfidf",
        description="How scenarios are compared: by runs of characters, or by the sentence-transformers model in the "
        "input `embedder`.",
    )
    max_similarity: float = Field(
        0.8, gt=0, le=1, description="Cosine from which a scenario counts as that of an earlier one."
    )
    expansions: int = Field(1, ge=0, description="New scenarios asked for per scenario; 0: none.")
    rows: int = Field(100, ge=1, description="Tasks to begin; what the filters refuse is not made up for.")
    compositions: tuple[Shape, ...] = Field(
        ("sequential", "parallel_then_sequential"), min_length=1, description="Shapes of the tasks, in turn."
    )
    bottom_up: bool = Field(True, description="False: task and functions in one prompt (the paper's ablation).")
    top_down: bool = Field(True, description="False: the whole conversation in one prompt (the paper's ablation).")
    candidates: int = Field(3, ge=1, description="Replies of the assistant agent among which a turn is chosen.")
    min_agreement: float = Field(
        0.5, ge=0, le=1, description="Share of them that have to make the same decision; below it the row is refused."
    )
    max_rounds: int = Field(8, ge=2, description="Turns of the assistant agent until its final answer.")
    json_mode: bool = Field(True, description="Ask for JSON mode where a reply is one JSON object.")

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line for a model that is not asked for, or is not there."""
        if (self.dedup == "embeddings") != ("embedder" in names):
            raise ValueError("dedup: embeddings and the input `embedder` go together; give both")

    def lacks(self) -> str:
        """The package that is not installed, with the remedy; "" if there is none."""
        return NO_EMBEDDINGS if self.dedup == "embeddings" and find_spec("sentence_transformers") is None else ""


def build(config: ButtonConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """Generate rows; tell `context.report` what every phase refused and why. Returns config `faithful`, split `train`.

    Raises:
        UsageError: no teacher, one that cannot be served, or `dedup` and the input `embedder` that do not fit.
        DataError: a data set without conversations; a phase that leaves no row; more failures than `max_failed`.
    """
    from datasets import DatasetDict

    context = context or local_context()
    if (config.dedup == "embeddings") != ("embedder" in context.inputs):
        raise UsageError(f"step {context.step}: dedup: embeddings and the input `embedder` go together; give both")
    endpoint = serve_input("teacher", config.teacher, config, context)
    pipeline = Pipeline(config, endpoint, context)
    tests = read_test_requests(context)
    rows = check_all([finish(row, endpoint) for row in pipeline.run()], tests)
    _report(config, context, endpoint, pipeline, rows)
    columns = features()
    train = make_dataset(rows, columns).select_columns(list(columns))
    return {"faithful": DatasetDict({"train": train})}


def finish(row: Row, endpoint: Endpoint) -> Row:
    """The row in the form that all of BUTTON's configs share (rows.py), its checks still open."""
    tools = [{"type": "function", "function": definition} for part in row["functions"] for definition in part]
    messages = [system_turn(row["parallel"]), *row["messages"]]
    return {
        "id": identity(messages, tools),
        "messages": messages,
        "tools": tools,
        "variant": "plain",
        "plan": "",
        "n_calls": len(calls_of(row["messages"])),
        "n_user_turns": sum(message["role"] == "user" for message in row["messages"]),
        "made_by": endpoint.made_by,
        **{name: row[name] for name in ("parallel", "composition", "scenario", "task", "sub_tasks")},
    }


def _report(
    config: ButtonConfig, context: StepContext, endpoint: Endpoint, pipeline: Pipeline, rows: list[Row]
) -> None:
    report = context.report
    teacher = endpoint.cited
    left_out = [] if config.bottom_up else ["without its bottom-up half (task and functions come from one prompt)"]
    if not config.top_down:
        left_out.append("without its top-down half (the whole conversation comes from one prompt)")
    describe(report, __file__, teacher=teacher, left_out=f", {' and '.join(left_out)}" if left_out else "")
    report.columns |= COLUMNS
    report.tables += [_phases(pipeline.phases), faults_table(rows), _shapes(rows)]
    for phase in pipeline.phases:
        report.counts |= {f"{phase.name}_in": phase.rows_in, f"{phase.name}_out": phase.rows_out}
    tokens = sum(phase.prompt_tokens + phase.completion_tokens for phase in pipeline.phases)
    report.metrics["tokens_per_accepted_row"] = round(tokens / len(rows), 1)
    usage = pipeline.usage.summary(config.budget)
    report.metrics |= {f"usage/{name}": value for name, value in usage.items() if not name.startswith("latency")}


def _phases(phases: list[Phase]) -> dict[str, Any]:
    def why(phase: Phase) -> str:
        return "; ".join(f"{reason}: {count}" for reason, count in sorted(phase.reasons.items()))

    return {
        "title": "What became of the rows, phase by phase",
        "columns": ["phase", "in", "out", "rejected because", "prompt tokens", "generated tokens"],
        "rows": [[p.name, p.rows_in, p.rows_out, why(p), p.prompt_tokens, p.completion_tokens] for p in phases],
        "note": "Expansion takes scenarios, the phases after it take tasks. Tokens are as the server counted them, "
        "replies that were turned down and recorded ones included.",
    }


def _shapes(rows: list[Row]) -> dict[str, Any]:
    table = []
    for shape in sorted({row["composition"] for row in rows}):
        own = [row for row in rows if row["composition"] == shape]
        several = sum(any(len(m.get("tool_calls", ())) > 1 for m in row["messages"]) for row in own)
        parallel = sum(row["parallel"] for row in own)
        table.append([shape, len(own), sum(row["n_calls"] for row in own), parallel, several])
    columns = ["composition", "rows", "calls", "parallel calls allowed", "... and made"]
    return {"title": "What is in it", "columns": columns, "rows": table}
