"""Which tools go together, where most of many do not: drawn blindly, hardly any plan would come off. Our choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import permutations

from .toolset import Tool

FEW = 4  # tools from which on the calls of a plan keep to one field; else to the domain, the field's first part
LONGEST = 4  # calls in a row of the longest composition


class Compatibility:
    """What can follow what, and what has to do with what, among tools that have fields.

    Attributes:
        on: n -> kinds from which a chain of n more calls can go on.
        beside: kind -> kinds that some tool takes together with it.
    """

    def __init__(self, tools: Mapping[str, Tool], fields: Mapping[str, str]) -> None:
        self.tools, self.fields = tools, fields
        self.takers: dict[str, set[str]] = {}
        self.beside: dict[str, set[str]] = {}
        self.members: dict[str, list[str]] = {}
        for name, tool in tools.items():
            for part in dict.fromkeys((fields[name], fields[name].partition("/")[0])):
                self.members.setdefault(part, []).append(name)
            for kind in tool.input_types.values():
                self.takers.setdefault(kind, set()).add(name)
            for one, other in permutations(tool.input_types.values(), 2):
                self.beside.setdefault(one, set()).add(other)
        given = {kind for tool in tools.values() for kind in tool.output_types.values()} & set(self.takers)
        self.on: list[set[str]] = [set(), given]
        while len(self.on) <= LONGEST:
            last = self.on[-1]
            more = {k for k in given if any(set(tools[name].output_types.values()) & last for name in self.takers[k])}
            self.on.append(more)

    def near(self, name: str) -> list[str]:
        """The tools of a tool's field, or of its domain where the field has few."""
        whole = self.members[self.fields[name]]
        return whole if len(whole) >= FEW else self.members[self.fields[name].partition("/")[0]]

    def able(
        self, names: Collection[str], given: Collection[str], ahead: int, joined: Collection[str] | None, tested: bool
    ) -> list[str]:
        """Those of `names` that can stand at a place of a plan, sorted.

        Args:
            given: kinds of which one is to be taken; none: nothing has to be.
            ahead: calls that are to follow and to take a result each.
            joined: None, or the kinds of the calls beside it, whose results are taken together with its own; none
                where it is the first of them.
            tested: a later step depends on its result.
        """
        if given:
            names = {name for kind in given for name in self.takers.get(kind, ())} & set(names)
        found = []
        for name in sorted(names):
            tool = self.tools[name]
            gives = set(tool.output_types.values())
            if ahead and not gives & self.on[ahead]:
                continue
            if joined is not None:
                partners = {kind for one in gives for kind in self.beside.get(one, ())}
                if not partners & (set(joined) if joined else self.on[1]):
                    continue
            if tested and not tool.tests:
                continue
            found.append(name)
        return found
