"""Build the BFCL data set from the wheel of `bfcl-eval` (Apache-2.0), which holds questions, gold answers and worlds.

    pip download --no-deps bfcl-eval==2026.3.23
    build(BFCLConfig(source="bfcl_eval-2026.3.23-py3-none-any.whl"), context)

Out: `single_turn` and `multi_turn`, a split for each category, and `worlds`, the sources of the classes whose methods
the multi-turn rows call. Nothing of the package is imported or run. Nested values are JSON text: Arrow would merge the
arguments of different functions.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from .._lib.archives import Wheel
from .._lib.call_rows import to_json
from .._lib.cards import describe, describe_columns
from .._lib.context import local_context
from .._lib.sources import Source, Timeout, read_source

if TYPE_CHECKING:
    import datasets

DATA = "bfcl_eval/data/"
SOURCES = "bfcl_eval/eval_checker/multi_turn_eval/func_source_code/"
PROMPTS = "bfcl_eval/constants/default_prompts.py"
# Scored by comparing calls; those without gold answers call for none (irrelevance) or for any (relevance).
SINGLE = (
    "simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance", "live_simple", "live_multiple",
    "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
MULTI = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
DOCS = {
    "GorillaFileSystem": "gorilla_file_system", "MathAPI": "math_api", "MessageAPI": "message_api",
    "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "TradingBot": "trading_bot", "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}  # fmt: skip
HINT = " Note that the provided function is in Python 3 syntax."  # what the package adds to every description


class BFCLConfig(Source):
    """Where the wheel is, and what to take from it."""

    categories: tuple[str, ...] = Field(
        SINGLE + MULTI, min_length=1, description="Categories to take; default: all that are scored in Python."
    )
    timeout: Timeout = 60.0


def build(config: BFCLConfig, context: StepContext | None = None) -> dict[str, datasets.DatasetDict]:
    """Read and check the rows; tell `context.report` about them.

    single_turn rows: id, messages, functions, gold (JSON text; "" if there is no gold answer), prompt (the
    package's system prompt with the functions in it). multi_turn rows: id, turns, functions, later (turn -> functions
    that are shown only then), later_prompt (turn -> what the user says there), gold, classes, config, prompt. worlds
    rows: name, source.

    Raises UsageError for an unknown category, DataError in one line for a file that is not the wheel or rows that do
    not fit together.
    """
    import datasets

    context = context or local_context()
    unknown = [name for name in config.categories if name not in SINGLE + MULTI]
    if unknown:
        raise UsageError(f"categories: {unknown[0]!r} is unknown; use some of {', '.join(SINGLE + MULTI)}")
    name, content, origin = read_source(config, config.timeout)
    wheel = _Wheel(name, content, "bfcl-eval")
    prompts = wheel.prompts()
    configs: dict[str, Any] = {}
    for config_name, chosen, read in (("single_turn", SINGLE, _single), ("multi_turn", MULTI, _multi)):
        rows = {
            c: [read(row, gold, wheel, prompts) for row, gold in wheel.rows(c)]
            for c in chosen
            if c in config.categories
        }
        if rows:
            splits = {c: datasets.Dataset.from_list(part) for c, part in rows.items()}
            configs[config_name] = datasets.DatasetDict(splits)
            context.report.counts |= {c: len(part) for c, part in rows.items()}
    if "multi_turn" in configs:
        sources = [{"name": n, "source": wheel.text(f"{SOURCES}{n}.py")} for n in (*DOCS.values(), "long_context")]
        configs["worlds"] = datasets.DatasetDict({"python": datasets.Dataset.from_list(sources)})
    describe(context.report, __file__, version=wheel.version(), origin=origin)
    describe_columns(context.report, __file__, configs.values())
    return configs


class _Wheel(Wheel):
    """The leaderboard's files."""

    def __init__(self, name: str, content: bytes, package: str) -> None:
        super().__init__(name, content, package)
        self._functions: dict[str, list[dict[str, Any]]] = {}

    def rows(self, category: str) -> Iterator[tuple[dict[str, Any], Any]]:
        """Rows of a category with their gold answers, None if the category has none."""
        rows = self.json_lines(f"{DATA}BFCL_v4_{category}.json")
        if "relevance" in category:
            yield from ((row, None) for row in rows)
            return
        answers = {
            a["id"]: a["ground_truth"] for a in self.json_lines(f"{DATA}possible_answer/BFCL_v4_{category}.json")
        }
        for row in rows:
            if row["id"] not in answers:
                raise DataError(f"{self.name}: {row['id']} has no gold answer")
            yield row, answers[row["id"]]

    def functions(self, world: str) -> list[dict[str, Any]]:
        """The definitions of a world's methods."""
        if world not in DOCS:
            raise DataError(f"{self.name}: there is no world {world!r}")
        if world not in self._functions:
            self._functions[world] = self.json_lines(f"{DATA}multi_turn_func_doc/{DOCS[world]}.json")
        return self._functions[world]

    def prompts(self) -> tuple[str, str]:
        """The package's default system prompt, put together from its parts, `{functions}` still open, and what it says
        to a model that gets more functions."""
        tree = ast.parse(self.text(PROMPTS))
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        try:
            more = ast.literal_eval(constants["DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC"])
            style = ast.literal_eval(constants["PROMPT_STYLE_TEMPLATES"])["classic"]
            form = ast.literal_eval(constants["OUTPUT_FORMAT_MAPPING"])["python"]
            whole = ast.literal_eval(constants["_PLAINTEXT_SYSTEM_PROMPT_TEMPLATE"])
            system = whole.format(
                persona=style["persona"],
                task=style["task"],
                tool_call_format=style["tool_call_no_tag"].format(output_format=form, param_types=""),
                multiturn_behavior=style["multiturn_behavior"],
                available_tools=style["available_tools"].format(format="json", functions="{functions}"),
            )
            return system, more
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.name}: its prompt is not where it was in 2026.3.23 ({error})") from error


def _shown(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [function | {"description": function["description"] + HINT} for function in functions]


def _with_functions(prompt: str, functions: list[dict[str, Any]]) -> str:
    return prompt.replace("{functions}", json.dumps(_shown(functions), indent=4))


def _single(row: dict[str, Any], gold: Any, wheel: _Wheel, prompts: tuple[str, str]) -> dict[str, str]:
    if len(row["question"]) != 1:
        raise DataError(f"{wheel.name}: {row['id']} has {len(row['question'])} turns instead of one")
    return {
        "id": row["id"],
        "messages": to_json(row["question"][0]),
        "functions": to_json(row["function"]),
        "gold": "" if gold is None else to_json(gold),
        "prompt": _with_functions(prompts[0], row["function"]),
    }


def _multi(row: dict[str, Any], gold: Any, wheel: _Wheel, prompts: tuple[str, str]) -> dict[str, str]:
    if len(row["question"]) != len(gold):
        raise DataError(f"{wheel.name}: {row['id']} has {len(row['question'])} turns and {len(gold)} gold answers")
    later = {turn: set(names) for turn, names in row.get("missed_function", {}).items()}
    functions = [function for world in row["involved_classes"] for function in wheel.functions(world)]
    hidden = set().union(*later.values())
    shown = [function for function in functions if function["name"] not in hidden]
    later_functions = {turn: [f for f in functions if f["name"] in names] for turn, names in later.items()}
    return {
        "id": row["id"],
        "turns": to_json(row["question"]),
        "functions": to_json(shown),
        "later": to_json(later_functions),
        # The package writes them as Python does, without its hint.
        "later_prompt": to_json({turn: f"{shown_now}\n{prompts[1]}" for turn, shown_now in later_functions.items()}),
        "gold": to_json(gold),
        "classes": to_json(row["involved_classes"]),
        "config": to_json(row["initial_config"]),
        "prompt": _with_functions(prompts[0], shown),
    }
