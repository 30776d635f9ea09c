"""Builder `call_graphs`: verified multi-turn function calling without a language model.

Compositions are sampled as typed graphs of calls, executed, put into words and checked (plan.py, words.py,
variants.py, _lib/conversation_checks.py). Every figure of the generator is our choice; the idea of
compositional tasks is BUTTON's (arXiv 2410.12952).
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, HubwrightError, RowRejected, UsageError
from ...hub_sync.json_columns import encode_row
from ...hub_sync.pace import Pace
from ...hub_sync.settings import SPEED, Settings
from ...hub_sync.text import utf8
from .._lib.context import local_context
from .._lib.conversation_checks import faults, request, run_checks
from .._lib.conversation_rows import Row, features
from .._lib.function_splits import FUNCTIONS, TEST, TRAIN, functions_of, is_held_out, split_of
from .._lib.near_duplicates import MinHashIndex, read_test_requests
from .card import describe_rows
from .compatibility import Compatibility
from .corruption import NotApplicable, corrupt
from .draws import TRIES, Chain, Draw, Draws, next_place, next_seed
from .own_tools import read_module
from .plan import SHAPES, Plan, ToolCrashed
from .stubs.read import Definitions, read_definitions
from .toolset import Tool, read_worlds
from .variants import VARIANTS

if TYPE_CHECKING:
    from datasets import DatasetDict

# With definitions: rows of which one has the same functions as another, at most a 200th of all, and some anyhow. A few
# tools that fit together would else fill the longer compositions.
SHARE, ANYHOW = 200, 3
# A variant that changes what only some compositions have.
ONLY = {
    # Of all that can be asked for in one turn: were it only of single calls, most of these would be refusals.
    "irrelevant": tuple(n for n in SHAPES if n != "three_turns" and "conditional" not in n and "two_turns" not in n),
    "missing_function": tuple(name for name in SHAPES if name != "single" and "conditional" not in name),
}


class CallGraphsConfig(Settings):
    """How many rows of what kind. All defaults are our choice."""

    train_rows: int = Field(1000, ge=0, description="Rows of the train split.")
    test_rows: int = Field(
        0, ge=0, description="Rows of the split test: no train row plans or offers one of its sets of functions."
    )
    function_test_rows: int = Field(
        0, ge=0, description="Rows of the split test_functions: no other row plans or offers one of its functions."
    )
    seed: int = Field(0, ge=0, description="Seed of the generator; equal seeds give equal rows.")
    worlds: tuple[str, ...] = Field((), description="Worlds to draw tools from; empty: all.")
    tools: str | None = Field(
        None, description="A Python file with functions of your own instead of the worlds (own_tools.py)."
    )
    compositions: tuple[str, ...] = Field(tuple(SHAPES), min_length=1, description="Compositions; see plan.py.")
    variants: tuple[str, ...] = Field(VARIANTS, min_length=1, description="Variants; see variants.py.")
    plain_share: float = Field(0.4, ge=0, le=1, description="Share of plain rows if there are other variants.")
    parallel_share: float = Field(0.5, ge=0, le=1, description="Share of the rows that may call in parallel.")
    distractors: int = Field(
        3, ge=0, le=20, description="Functions beside the needed ones, in the variants with some."
    )
    thoughts: bool = Field(True, description="The assistant says what it is about to do.")
    near: float = Field(0.8, gt=0, le=1, description="Estimated Jaccard similarity that makes two requests one.")
    corrupted_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the train rows that get one fault and are kept, for ablations (corruption.py).",
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of all sets of functions that are held out, if there are test_rows."
    )
    function_share: float = Field(
        0.2, gt=0, lt=1, description="Share of all functions that are held out, if there are function_test_rows."
    )

    workers: int = Field(
        1, ge=1, json_schema_extra=SPEED, description="Processes that make the draws; the rows are the same."
    )

    def split_of(self, planned: Set[str], offered: Set[str]) -> str:
        """The split that a row with these functions belongs to (splits.py)."""
        share = self.test_share if self.test_rows else 0.0
        return split_of(planned, offered, share, self.function_share if self.function_test_rows else 0.0)

    def splits(self) -> dict[str, int]:
        """Split -> rows to make."""
        return {TRAIN: self.train_rows, TEST: self.test_rows, FUNCTIONS: self.function_test_rows}


class Generator:
    """Rows one by one, and counts of what became of every draw.

    Args:
        tests: requests of test sets, which no row may be like.
        read: definitions to draw from instead of the worlds.

    Attributes:
        failed: reason -> draws without a row.
        rejected: check -> rows that failed it.
        whole, toolset: all functions, and those of the split that is being made.
        row_counts: (composition, variant) -> rows that passed.
        faulty: check -> rows that were corrupted on purpose and fail it.
        sets: functions of a row -> rows that passed.
        exhausted: compositions of definitions of which there were no more rows.
        planned, used: split -> sets of functions planned or offered together; functions planned or offered.
    """

    def __init__(
        self, config: CallGraphsConfig, tests: MinHashIndex | None = None, read: Definitions | None = None
    ) -> None:
        self.config, self.tests, self.read = config, tests, read
        toolset = read.toolset if read else read_module(config.tools) if config.tools else read_worlds()
        every = toolset.tools
        worlds = dict.fromkeys(tool.world for tool in every.values())
        for what, values, allowed in (
            ("worlds", config.worlds, worlds),
            ("compositions", config.compositions, SHAPES),
            ("variants", config.variants, VARIANTS),
        ):
            if unknown := sorted(set(values) - set(allowed)):
                raise UsageError(f"call_graphs: {what}: {unknown[0]!r} is unknown: use some of {', '.join(allowed)}")
        chosen = {name: tool for name, tool in every.items() if not config.worlds or tool.world in config.worlds}
        self.whole = self.toolset = replace(toolset, tools=chosen)
        self.compatibility = Compatibility(chosen, toolset.fields) if toolset.fields else None
        self.responses = {name: tool.definition["responses"] for name, tool in chosen.items()}
        self.failed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.row_counts: Counter[tuple[str, str]] = Counter()
        self.faulty: Counter[str] = Counter()
        self.sets: Counter[frozenset[str]] = Counter()
        self.exhausted: set[str] = set()
        self.planned: dict[str, set[frozenset[str]]] = {}
        self.used: dict[str, set[str]] = {}
        self.draws = 0

    def cells(self) -> list[tuple[str, str, float]]:
        """(composition, variant, weight) of everything that may be made."""
        cells = []
        others = len([v for v in self.config.variants if v != "plain"])
        for variant in self.config.variants:
            fitting = [c for c in self.config.compositions if c in ONLY.get(variant, SHAPES)]
            share = 1.0 if not others else self.config.plain_share
            if variant != "plain":
                share = (1 - share if "plain" in self.config.variants else 1.0) / others
            if share > 0:
                cells += [(composition, variant, share / len(fitting)) for composition in fitting]
        if not cells:
            raise UsageError("call_graphs: none of the variants can be made of any of the compositions: give more")
        return cells

    def rows(self, split: str, number: int, draws: Draws) -> Iterator[Row]:
        """`number` rows of a split, all of which pass every check.

        Raises UsageError if too few functions are the split's, DataError if no more rows are to be found.
        """
        self.use_tools(self.functions(split), split, draws)
        cells, earlier = self.cells(), MinHashIndex(self.config.near)
        rng = random.Random(f"{self.config.seed}:{split}")  # noqa: S311 - not for secrets
        faulty = self.config.corrupted_share if split == TRAIN else 0.0
        left, given_up = number, 0
        while left:
            place = next_place(rng, cells, self.config.parallel_share)
            for tries in range(TRIES):
                # A fault draws from the same generator, so nothing after a row is known before it.
                chain = Chain(rng.getstate(), cells, self.config.parallel_share, place, TRIES - tries,
                              1 if faulty else left)  # fmt: skip
                row = self.draw_row(Draw(*place, next_seed(rng)), split, earlier, draws, chain)
                if row is not None:
                    break
            else:
                if self.compatibility:
                    self.exhausted.add(place[0])
                    cells = [cell for cell in cells if cell[0] not in self.exhausted]
                given_up += 1
                if not cells or given_up > 50 + number // 10:
                    raise DataError(
                        f"call_graphs: after {number - left:,} rows of the split {split} there are hardly any new "
                        "ones: ask for fewer, or give more worlds, compositions or variants"
                    )
                continue
            left -= 1
            yield self.corrupted(row, rng) if split == TRAIN else row

    def functions(self, split: str) -> dict[str, Tool]:
        """The functions that a split's rows may plan and offer. Raises UsageError for fewer than two."""
        if not self.config.function_test_rows:
            return self.whole.tools
        share = self.config.function_share
        tools = {
            name: tool for name, tool in self.whole.tools.items() if is_held_out(name, share) == (split == FUNCTIONS)
        }
        if len(tools) < 2 and self.config.splits()[split]:
            raise UsageError(
                f"call_graphs: function_test_rows: of {len(self.whole.tools)} functions {len(tools)} are left to the "
                f"split {split}, and two are needed: change function_share ({share}), or give more worlds or tools"
            )
        return tools

    def use_tools(self, tools: dict[str, Tool], split: str, draws: Draws) -> None:
        """Draw from these functions from now on."""
        self.toolset = replace(self.whole, tools=tools)
        draws.use(split, self.toolset, lambda plan: not self.misfit(plan, split))
        self.compatibility = Compatibility(tools, self.whole.fields) if self.whole.fields else None

    def corrupted(self, row: Row, rng: random.Random) -> Row:
        """The row, or with the chance of `corrupted_share` one with a fault, its reason in its columns."""
        if not self.config.corrupted_share or rng.random() >= self.config.corrupted_share:
            return row
        try:
            row = run_checks(corrupt(row, rng), self.responses)
        except NotApplicable:
            return row
        self.faulty.update(faults(row).keys())
        return row

    def misfit(self, plan: Plan, split: str) -> str:
        """Why a plan becomes no row of a split, before its calls are made in order; "" if it may."""
        functions = frozenset(node.tool for node in plan.nodes)
        if self.compatibility and self.sets[functions] >= max(ANYHOW, self.config.train_rows // SHARE):
            return "the same functions have their share of rows"
        if self.config.split_of(functions, frozenset()) != split:
            return "the set of functions belongs to the other split"
        return ""

    def draw_row(self, which: Draw, split: str, earlier: MinHashIndex, draws: Draws, chain: Chain) -> Row | None:
        """A row from one draw, or None; counts what became of it."""
        self.draws += 1
        try:
            plan = draws.plan(which, chain)
            if reason := self.misfit(plan, split):
                raise RowRejected(reason)
            functions = frozenset(node.tool for node in plan.nodes)
            row = draws.row(which, plan, chain)
        except RowRejected as error:
            self.failed[error.reason] += 1
            return None
        except ToolCrashed as tool:
            self.failed[f"{tool} ended the sandbox and is left out"] += 1
            self.whole = replace(self.whole, tools={n: t for n, t in self.whole.tools.items() if n != str(tool)})
            left = {name: one for name, one in self.toolset.tools.items() if name != str(tool)}
            if len(left) < 2:
                raise DataError(f"call_graphs: {tool} ended the sandbox, and too few functions are left") from None
            self.use_tools(left, split, draws)
            return None
        query = request(row)
        row["check_contamination"] = self.tests.nearest(query) if self.tests else ""
        row["check_duplicate"] = earlier.nearest(query)
        if reasons := faults(row):
            self.rejected.update(reasons.keys())
            return None
        earlier.add(query, row["id"])
        self.row_counts[which.composition, which.variant] += 1
        self.sets[functions] += 1
        both = functions_of(row)
        self.planned.setdefault(split, set()).update(both)
        self.used.setdefault(split, set()).update(*both)
        return row


def build(config: CallGraphsConfig, context: StepContext | None = None) -> DatasetDict:
    """Rows that pass every check; rows go to disk as they are made, so memory does not grow with their number.

    Inputs `decontaminate_against_NAME` are test sets: rows with nearly the same request are left out. An input
    `definitions` is a data set of `seal_tools`, whose functions are drawn from as stubs (stubs.py); its own
    requests count as a test set. Raises UsageError for unknown worlds, compositions or variants, DataError if
    there are too few different rows or
    the definitions are none.
    """
    from datasets import Dataset, DatasetDict, Split
    from datasets.exceptions import DatasetGenerationError

    context = context or local_context()
    read, definitions = None, context.inputs.get("definitions")
    if definitions:
        for name in ("test_rows", "function_test_rows"):
            if rows := getattr(config, name):
                raise UsageError(
                    f"call_graphs: {name}: {rows} with definitions, whose rows the tasks call_graphs and "
                    f"call_graphs_functions cannot replay: set {name} to 0"
                )
        if config.tools:
            raise UsageError("call_graphs: tools and the input definitions are both given: leave one out")
        read = read_definitions(definitions.path, str(definitions.ref), config.seed)
    own_tests = definitions is not None and (definitions.path / "instances").is_dir()
    tests = read_test_requests(context, config.near, *(["definitions"] if own_tests else []))
    if not any(config.splits().values()):
        raise UsageError("call_graphs: train_rows, test_rows and function_test_rows are all 0: ask for some rows")
    generator = Generator(config, tests, read)
    for split, number in config.splits().items():
        if number:
            generator.functions(split)  # refused before any row is made
    # Half a split of a killed run would be taken for a whole one, and its draws would not be counted.
    shutil.rmtree(context.workdir / "datasets", ignore_errors=True)
    splits, columns = {}, features()
    with closing(Draws(config, generator.whole)) as draws:
        for split, number in config.splits().items():
            if number:
                try:
                    splits[split] = Dataset.from_generator(
                        lambda split, number: (
                            encode_row(row, columns)
                            for row in Pace(f"call_graphs, {split}", "rows", total=number).over(
                                generator.rows(split, number, draws)
                            )
                        ),
                        gen_kwargs={"split": split, "number": number},
                        features=columns,
                        cache_dir=str(context.workdir / "datasets"),
                        fingerprint=hashlib.sha256(utf8(f"{config.model_dump_json()}:{split}")).hexdigest()[:32],
                        split=Split(split),
                    )
                except DatasetGenerationError as error:
                    # datasets hides what the generator raised.
                    if isinstance(error.__cause__, HubwrightError):
                        raise error.__cause__ from None
                    raise
    describe_rows(context, generator, splits)
    return DatasetDict(splits)
