"""Word problems in modular arithmetic over a graph of quantities, with the solution step by step.

In the spirit of iGSM (arXiv:2407.20311), which KV shifting attention (arXiv:2411.19574) uses as toy experiment (e):
quantities are defined by one another in shuffled order, some are of no use, and the solution computes those that are
needed, modulo 23. The graph, the words and all proportions are our own. The order of the solution is fixed by the
question (depth first from the quantity asked for, operands from left to right), so every one of its words is certain.

    red lamps = 5 . blue cups = red lamps + green hats . green hats = 20 . how many blue cups ?
    red lamps = 5 . green hats = 20 . blue cups = red lamps + green hats = 5 + 20 = 2 . answer 2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from .._lib.context import local_context
from .common import Draws, Row, SequencesConfig, draw_rows, fill_report, scored_row

if TYPE_CHECKING:
    from datasets import DatasetDict

MORE = {"difficulty": "int32", "question": "string", "solution": "string", "answer": "string"}

COLOURS = (
    "red", "blue", "green", "black", "white", "brown", "grey", "pink", "golden", "silver", "purple", "orange",
)  # fmt: skip
THINGS = (
    "lamps", "cups", "hats", "boxes", "chairs", "shells", "coins", "ropes", "kites", "drums", "masks", "bells",
)  # fmt: skip
NAMES = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)
OPERATIONS = ("+", "-", "*")


class ArithmeticConfig(SequencesConfig):
    """How many problems of which difficulty: the number of operations that the solution needs."""

    test_hard_rows: int = Field(500, ge=1, description="Rows of the split test_hard (our choice).")
    min_ops: int = Field(2, ge=1, le=40, description="Fewest operations in train and test (our choice).")
    max_ops: int = Field(
        12, ge=1, le=40, description="Most operations in train and test (the paper: up to 12, or up to 21)."
    )
    hard_ops: int = Field(15, ge=1, le=40, description="Operations in test_hard (the paper: 15, or 24).")
    modulus: int = Field(23, ge=2, le=97, description="All numbers are taken modulo this prime (iGSM: 23).")
    distractors: int = Field(
        4, ge=0, le=20, description="Most quantities that are defined and of no use (our choice)."
    )

    def counts(self) -> dict[str, int]:
        """Split -> rows."""
        return super().counts() | {"test_hard": self.test_hard_rows}

    @model_validator(mode="after")
    def _ranges_fit(self) -> ArithmeticConfig:
        if self.min_ops > self.max_ops:
            raise ValueError(f"min_ops {self.min_ops} is above max_ops {self.max_ops}; lower min_ops")
        if self.hard_ops <= self.max_ops:
            raise ValueError(f"hard_ops {self.hard_ops} is no harder than max_ops {self.max_ops}; raise hard_ops")
        if any(self.modulus % n == 0 for n in range(2, self.modulus)):
            raise ValueError(f"modulus {self.modulus} is not a prime; take a prime such as 23")
        return self


@dataclass(frozen=True)
class Operand:
    """A quantity by its number, or a plain number."""

    value: int
    is_quantity: bool


@dataclass(frozen=True)
class Quantity:
    """`operation` is one of OPERATIONS with two operands, or "" for a quantity that is given as `left`."""

    operation: str
    left: Operand
    right: Operand | None = None

    @property
    def operands(self) -> tuple[Operand, ...]:
        return (self.left,) if self.right is None else (self.left, self.right)


def draw_graph(config: ArithmeticConfig, draws: Draws, ops: int) -> tuple[list[Quantity], int]:
    """(quantities, number of the one asked for). A quantity's operands come before it in the list.

    The one asked for needs exactly `ops` quantities that are results of an operation; what comes behind it is of no
    use for it.
    """
    quantities: list[Quantity] = []
    used: list[int] = []  # quantities that something already needs

    def number() -> Operand:
        return Operand(1 + draws.below(config.modulus - 1), False)

    def given() -> Operand:
        quantities.append(Quantity("", number()))
        used.append(len(quantities) - 1)
        return Operand(len(quantities) - 1, True)

    def further(other: list[Operand]) -> Operand:
        """One more operand beside `other`: a number, a quantity in use already, or a new one that is given."""
        kind = draws.below(4)
        if kind == 0 and other:
            return number()
        old = [q for q in used if Operand(q, True) not in other]
        return Operand(draws.choice(old), True) if kind == 1 and old else given()

    def combine(operands: list[Operand]) -> int:
        while len(operands) < 2:
            operands.append(further(operands))
        left, right = draws.sample(operands, 2)
        quantities.append(Quantity(draws.choice(OPERATIONS), left, right))
        return len(quantities) - 1

    results: list[int] = []  # results that nothing needs yet; the last step must take all that are left
    for step in range(1, ops + 1):
        most = min(2, len(results))
        least = max(0, len(results) - (ops - step))
        taken = draws.sample(results, least + draws.below(most - least + 1))
        results = [q for q in results if q not in taken]
        result = combine([Operand(q, True) for q in taken])
        used += taken
        results.append(result)
    goal = results[0]
    for _ in range(draws.below(config.distractors + 1)):
        if draws.below(2):
            combine([Operand(draws.below(len(quantities)), True), number()])
        else:
            given()
    return quantities, goal


def evaluate(quantities: Sequence[Quantity], modulus: int) -> list[int]:
    """The value of every quantity."""
    values: list[int] = []
    for quantity in quantities:
        numbers = [values[o.value] if o.is_quantity else o.value for o in quantity.operands]
        values.append(apply(quantity.operation, numbers, modulus))
    return values


def apply(operation: str, numbers: Sequence[int], modulus: int) -> int:
    """One step: the result of an operation, or the number itself."""
    if not operation:
        return numbers[0]
    a, b = numbers
    return {"+": a + b, "-": a - b, "*": a * b}[operation] % modulus


def needed(quantities: Sequence[Quantity], goal: int) -> list[int]:
    """The quantities that `asked` needs, itself last: depth first, operands from left to right, each once."""
    order: list[int] = []

    def visit(number: int) -> None:
        for operand in quantities[number].operands:
            if operand.is_quantity and operand.value not in order:
                visit(operand.value)
        order.append(number)

    visit(goal)
    return order


def make_row(config: ArithmeticConfig, draws: Draws, ops: int) -> Row:
    """One problem with `ops` operations and its solution."""
    quantities, goal = draw_graph(config, draws, ops)
    names = draws.sample(NAMES, len(quantities))
    values = evaluate(quantities, config.modulus)

    def expression(quantity: Quantity, show: Sequence[object]) -> str:
        sides = [str(show[o.value] if o.is_quantity else o.value) for o in quantity.operands]
        return f" {quantity.operation} ".join(sides)

    definitions = [f"{name} = {expression(q, names)} ." for name, q in zip(names, quantities, strict=True)]
    steps = []
    for number in needed(quantities, goal):
        step = definitions[number]
        if quantities[number].operation:
            step = f"{step[:-2]} = {expression(quantities[number], values)} = {values[number]} ."
        steps.append(step)
    question = " ".join([*draws.sample(definitions, len(definitions)), f"how many {names[goal]} ?"])
    solution, answer = " ".join(steps), str(values[goal])
    words = f"{question} {solution} answer {answer}".split(" ")
    start = question.count(" ")  # the question's last word: what follows it is the first word to predict
    targets = [words[i + 1] if start <= i < len(words) - 1 else "" for i in range(len(words))]
    # An evaluation asks for the answer where it is worked out; behind `answer` it would only have to be copied.
    last_equals = len(words) - 1 - words[::-1].index("=")
    return scored_row(words, targets, last_equals, difficulty=ops, question=question, solution=solution, answer=answer)


def floors(train: Iterable[Row], test: Collection[Row], modulus: int) -> dict[str, float]:
    """Accuracy of guesses at the answer, where it is worked out, that know the last step at most."""
    answers = Counter(row["answer"] for row in train)
    common = max(sorted(answers), key=answers.__getitem__)
    table = {"the most frequent answer": sum(row["answer"] == common for row in test) / len(test)}
    for name, operation in (("sum", "+"), ("difference", "-"), ("product", "*")):
        hits = 0
        for row in test:
            a, _, b, _ = row["context"].split(" ")[-4:]
            hits += str(apply(operation, (int(a), int(b)), modulus)) == row["answer"]
        table[f"the last step's {name}, whatever its operation"] = hits / len(test)
    return table


def build(config: ArithmeticConfig, context: StepContext | None = None) -> DatasetDict:
    """Build train, test and test_hard; problems of the first two take all numbers of operations in turn."""
    context = context or local_context()
    spread = config.max_ops - config.min_ops + 1

    def make(draws: Draws, number: int, split: str) -> Row:
        ops = config.hard_ops if split == "test_hard" else config.min_ops + number % spread
        return make_row(config, draws, ops)

    # The solution decides the side: the same problem with other distractors or order is on the same side.
    splits = draw_rows("arithmetic", config, context, MORE, make, key=lambda row: str(row["solution"]))
    accuracy = floors(splits["train"], splits["test"], config.modulus)
    place = "the answer where it is worked out"
    fill_report(context, splits, accuracy, "arithmetic", place, **config.model_dump())
    return splits
