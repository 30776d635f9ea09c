"""A plan in words: what the user asks, what the assistant says before and after its calls. Our choice.

Templates are in phrases.yaml and in the worlds. No line names a tool or the order in which to call: those are the
assistant's to find. No turn says a phrase of six words twice.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...hub_sync.errors import RowRejected
from .phrases import PHRASES, repeats, vary
from .plan import Node, Plan
from .toolset import Tool, places

WORDINGS = 12  # tries at a turn that says no phrase twice


def value_text(value: Any) -> str:
    """A value within a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(map(value_text, value)) or "none"
    return str(value)


class Speaker:
    """Puts the parts of one plan into words; the same seed gives the same words."""

    def __init__(self, plan: Plan, tools: Mapping[str, Tool], named: Mapping[str, str], rng: random.Random) -> None:
        self.plan, self.tools, self.named, self.rng = plan, tools, named, rng
        self.asks = [""] * len(plan.nodes)
        self.called: list[dict[str, tuple[str, str]]] = [{} for _ in plan.nodes]
        self.literals: set[int] = set()  # calls whose results are spoken of as what they are
        self.word(range(len(plan.nodes)))
        self.vague: tuple[int, str] | None = None

    def word(self, numbers: Iterable[int]) -> None:
        """Choose how these calls are asked for, and how the fields of their results are called."""
        for number in numbers:
            tool = self.tools[self.plan.nodes[number].tool]
            self.asks[number] = self.choose(tool.carried if self.carried(number) and not self.literals else tool.ask)
            self.called[number] = {
                field: (vary(brief, self.rng), vary(full, self.rng)) for field, (brief, full) in tool.called.items()
            }

    def carried(self, number: int) -> bool:
        """Whether a call takes an amount and its currency from one result, and there are words for that."""
        node = self.plan.nodes[number]
        kinds = self.tools[node.tool].input_types
        givers = {
            kind: source.node
            for name, source in reversed(node.arguments.items())  # the first currency counts
            if (kind := kinds[name]) in ("amount", "currency")
        }
        words = self.tools[node.tool].carried
        return bool(words) and givers.get("amount") is not None and givers.get("amount") == givers.get("currency")

    def choose(self, ways: Sequence[str]) -> str:
        """One of several templates, its own choices made."""
        return vary(self.rng.choice(ways), self.rng)

    def phrase(self, name: str) -> str:
        """One of the phrases `name`."""
        return self.choose(PHRASES[name])

    def worded(self, say: Callable[[], str]) -> str:
        """What `say` says, tried until no phrase stands in it twice. Raises RowRejected if it always does."""
        for _ in range(WORDINGS):
            if not repeats(text := say()):
                return text
        raise RowRejected("a turn would say a phrase twice")

    def argument(self, number: int, parameter: str, short: bool) -> str:
        """How an argument is spoken of: its value, or what it is of an earlier call."""
        source = self.plan.nodes[number].arguments[parameter]
        kind = self.tools[self.plan.nodes[number].tool].input_types[parameter]
        if source.node in self.literals:
            return self.name(kind).format(value_text(self.plan.nodes[source.node].result[source.field]))
        if source.node is None:
            if self.vague == (number, parameter):
                return f"a certain {parameter.replace('_', ' ')}"
            return self.name(kind).format(value_text(source.value))
        brief, full = self.called[source.node][source.field]
        if short and self.alone(source.node, kind):
            return brief
        return full.format_map({name: self.argument(source.node, name, False) for name in places(full)})

    def name(self, kind: str) -> str:
        """How a value of a kind is spoken of."""
        return vary(self.named.get(kind, "{}"), self.rng)

    def alone(self, giver: int, kind: str) -> bool:
        """Is `giver` the only call so far whose result has something of this kind?"""
        requested = [(n, node) for n, node in enumerate(self.plan.nodes) if node.looks is None]
        return [n for n, node in requested if kind in self.tools[node.tool].output_types.values()] == [giver]

    def ask(self, number: int, short: bool = True) -> str:
        """What a call is for, as a phrase in the imperative."""
        words = self.asks[number]
        return words.format_map({name: self.argument(number, name, short) for name in places(words)})

    def request(self, turn: int) -> str:
        """What the user says in a turn."""
        numbers = [n for n, node in enumerate(self.plan.nodes) if node.turn == turn and node.looks is None]

        def say() -> str:
            self.word(numbers)
            return self.sentences(numbers, bool(turn))

        return self.worded(say)

    def sentences(self, numbers: Sequence[int], later: bool) -> str:
        """The request for some calls, in one sentence or several."""
        free = [n for n in numbers if self.plan.nodes[n].when is None]
        template, text, sentences = self.phrase("later" if later else "openings"), self.ask(free[0]), []
        joined = False
        for before, number in itertools.pairwise(free):
            follows = before in self.plan.nodes[number].needs() & set(free[: free.index(number)])
            if joined or self.rng.random() < 0.4:
                sentences.append(template.format(text))
                template, text = self.phrase("then_new" if follows else "also_new"), self.ask(number)
                joined = False
            else:
                text += self.phrase("then" if follows else "also") + self.ask(number)
                joined = True
        sentences.append(template.format(text))
        for yes, no in self.branches(numbers):
            words = self.plan.nodes[yes].when[4]  # type: ignore[index]
            sentences.append(self.phrase("condition").format(words, self.ask(yes), self.ask(no)))
        sentences.append(self.phrase("closings"))
        return " ".join(_capital(sentence) for sentence in sentences if sentence)

    def branches(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs of calls of which one is made."""
        pairs: dict[int, list[int]] = {}
        for number in numbers:
            if (when := self.plan.nodes[number].when) is not None:
                pairs.setdefault(when[0], []).append(number)
        return [(pair[0], pair[1]) for pair in pairs.values()]

    def thought(self, nodes: Sequence[Node], previous: Sequence[Node], more: bool) -> str:
        """What the assistant says with the calls of `nodes`, in words of its own.

        Args:
            previous: the calls of the turn before, none for the first.
            more: further calls follow.
        """
        numbers, before = [self.number(node) for node in nodes], {self.number(node) for node in previous}
        if not before:
            ways = PHRASES["first"] + PHRASES["planned"] if more else PHRASES["planned"]
        elif any(source.node in before for node in nodes for source in node.arguments.values()):
            ways = PHRASES["taken"]
        else:
            ways = (
                PHRASES["tested"] if any(node.when and node.when[0] in before for node in nodes) else PHRASES["next"]
            )

        def say() -> str:
            original = self.asks[:], self.called[:]
            self.literals = {
                source.node for node in nodes for source in node.arguments.values() if source.node is not None
            }
            self.word(numbers)
            asks = [self.ask(number) for number in numbers]
            self.literals = set()
            self.asks, self.called = original  # the user's words stay those of the request
            return _capital(self.choose(ways).format(self.rng.choice((" and ", ", and ")).join(asks)))

        return self.worded(say)

    def number(self, node: Node) -> int:
        """The place of a node in the plan."""
        return next(number for number, other in enumerate(self.plan.nodes) if other is node)

    def answer(self, nodes: Sequence[Node]) -> str:
        """What the assistant tells of the results of `nodes`."""

        def say() -> str:
            sentences = []
            for node in nodes:
                values = {**self.plan.values(node), **node.result}
                template = self.choose(self.tools[node.tool].tell)
                sentences.append(template.format_map({name: value_text(values[name]) for name in places(template)}))
            return self.phrase("answers").format(" ".join(sentences))

        return self.worded(say)

    def again(self, look: Node | None) -> str:
        """The assistant makes a call again, after a look at what it did where there was one."""
        return _capital(self.phrase("seen" if look else "again").format(look and self.still(look, "is")))

    def first_attempt(self, look: Node) -> str:
        """What the answer tells of a call that was made again after a look."""
        return self.phrase("first_attempt").format(self.still(look, "was"))

    def still(self, look: Node, tense: str) -> str:
        """What a look at a call that did not take effect has shown."""
        assert look.looks is not None
        change = self.tools[self.plan.nodes[look.looks].tool].look
        assert change is not None
        values = {**self.plan.values(look), **look.result}
        return change[2].format_map({"is": tense} | {name: value_text(value) for name, value in values.items()})

    def unable(self, number: int) -> str:
        """That there is no function for a call."""
        return self.phrase("unable").format(self.ask(number))

    def question(self, parameter: str) -> str:
        """The assistant asks for what the user left out."""
        return self.phrase("ask_back").format(parameter.replace("_", " "))

    def reply(self, value: Any) -> str:
        """The user says it."""
        return _capital(self.phrase("reply").format(value_text(value)))


def _capital(text: str) -> str:
    """The text as a sentence begins; an email address keeps its small letter."""
    return text if "@" in text.partition(" ")[0] else text[:1].upper() + text[1:]
