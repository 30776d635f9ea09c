"""A plan in words: what the user asks, what the assistant says before and after its calls. Templates; our choice.

No line names a tool or the order in which to call: those are the assistant's to find.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from .plan import Node, Plan
from .registry import Tool, places

OPENINGS = (
    "Please {}.",
    "Could you {}?",
    "I would like you to {}.",
    "Hi, can you {}?",
    "I need some help: {}.",
    "{}.",
)
LATER = ("Now please {}.", "Thanks. Next, {}.", "Great. Now {}, please.", "One more thing: {}.")
PLANNED = ("I will {}.", "Let me {}.", "First I will {}.")
NEXT = ("Now I will {}.", "With that I can {}.", "Next I will {}.")
AGAIN = ("That call failed, so I will try it again.", "That did not go through; I will try once more.")
LOOK = (
    "No answer came, so I will first check whether that took effect.",
    "It is not clear whether that went through, so I will look before I try again.",
    "Before I repeat that, I will see whether it was done.",
)
SEEN = (
    "So nothing was changed: {}. I will try again.",
    "It did not take effect, since {}. I will make the call again.",
    "As {}, it is safe to try once more.",
)
FIRST_ATTEMPT = (
    "The first attempt got no answer and had changed nothing: {}.",
    "It took two attempts; after the first, {}.",
)
UNABLE = ("I have no function with which I could {}.", "None of the functions I have can {}.")
ASK_BACK = ("Which {} do you mean?", "I need one more thing: which {} is it?", "For that I have to know the {}.")
REPLY = ("It is {}.", "{}, please.", "Sorry, I meant {}.")


def said(value: Any) -> str:
    """A value within a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "none"
    return str(value)


class Speaker:
    """Puts the parts of one plan into words; the same seed gives the same words."""

    def __init__(self, plan: Plan, tools: Mapping[str, Tool], named: Mapping[str, str], rng: random.Random) -> None:
        self.plan, self.tools, self.named, self.rng = plan, tools, named, rng
        # The same words for a call wherever it is spoken of.
        self.asks = [rng.choice(tools[node.tool].ask) for node in plan.nodes]
        self.vague: tuple[int, str] | None = None

    def argument(self, number: int, parameter: str, short: bool) -> str:
        """How an argument is spoken of: its value, or what it is of an earlier call."""
        source = self.plan.nodes[number].arguments[parameter]
        kind = self.tools[self.plan.nodes[number].tool].kinds[parameter]
        if source.node is None:
            if self.vague == (number, parameter):
                return f"a certain {parameter.replace('_', ' ')}"
            return self.named.get(kind, "{}").format(said(source.value))
        brief, full = self.tools[self.plan.nodes[source.node].tool].called[source.field]
        if short and self.alone(source.node, kind):
            return brief
        return full.format_map({name: self.argument(source.node, name, False) for name in places(full)})

    def alone(self, giver: int, kind: str) -> bool:
        """Is `giver` the only call so far whose result has something of this kind?"""
        asked = [(n, node) for n, node in enumerate(self.plan.nodes) if node.looks is None]
        return [n for n, node in asked if kind in self.tools[node.tool].gives.values()] == [giver]

    def ask(self, number: int, short: bool = True) -> str:
        """What a call is for, as a phrase in the imperative."""
        words = self.asks[number]
        return words.format_map({name: self.argument(number, name, short) for name in places(words)})

    def request(self, turn: int) -> str:
        """What the user says in a turn."""
        numbers = [n for n, node in enumerate(self.plan.nodes) if node.turn == turn and node.looks is None]
        free = [n for n in numbers if self.plan.nodes[n].when is None]
        text = self.ask(free[0])
        for before, number in itertools.pairwise(free):
            follows = self.plan.nodes[number].needs() & set(free[: free.index(number)])
            text += (", then " if before in follows else ", and ") + self.ask(number)
        opening = self.rng.choice(LATER if turn else OPENINGS).format(text)
        sentences = [opening[0].upper() + opening[1:]]
        for yes, no in self.branches(numbers):
            words = self.plan.nodes[yes].when[4]  # type: ignore[index]
            sentences.append(f"If {words}, {self.ask(yes)}; otherwise {self.ask(no)}.")
        return " ".join(sentences)

    def branches(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs of calls of which one is made."""
        found: dict[int, list[int]] = {}
        for number in numbers:
            if (when := self.plan.nodes[number].when) is not None:
                found.setdefault(when[0], []).append(number)
        return [(pair[0], pair[1]) for pair in found.values()]

    def thought(self, nodes: Sequence[Node], first: bool) -> str:
        """What the assistant says with the calls of `nodes`."""
        asks = [self.ask(self.plan.nodes.index(node)) for node in nodes]
        return self.rng.choice(PLANNED if first else NEXT).format(" and ".join(asks))

    def answer(self, nodes: Sequence[Node]) -> str:
        """What the assistant tells of the results of `nodes`."""
        sentences = []
        for node in nodes:
            values = {**self.plan.values(node), **node.result}
            template = self.tools[node.tool].tell
            sentences.append(template.format_map({name: said(values[name]) for name in places(template)}))
        return " ".join(sentences)

    def looking(self) -> str:
        """The assistant looks whether a call that got no answer took effect."""
        return self.rng.choice(LOOK)

    def again(self, look: Node | None) -> str:
        """The assistant makes a call again, after a look at what it did where there was one."""
        return self.rng.choice(SEEN if look else AGAIN).format(look and self.still(look, "is"))

    def first_attempt(self, look: Node) -> str:
        """What the answer tells of a call that was made again after a look."""
        return self.rng.choice(FIRST_ATTEMPT).format(self.still(look, "was"))

    def still(self, look: Node, tense: str) -> str:
        """What a look at a call that did not take effect has shown."""
        assert look.looks is not None
        found = self.tools[self.plan.nodes[look.looks].tool].look
        assert found is not None
        values = {**self.plan.values(look), **look.result}
        return found[2].format_map({"is": tense} | {name: said(value) for name, value in values.items()})

    def unable(self, number: int) -> str:
        """That there is no function for a call."""
        return self.rng.choice(UNABLE).format(self.ask(number))

    def question(self, parameter: str) -> str:
        """The assistant asks for what the user left out."""
        return self.rng.choice(ASK_BACK).format(parameter.replace("_", " "))

    def reply(self, value: Any) -> str:
        """The user says it."""
        return self.rng.choice(REPLY).format(said(value))
