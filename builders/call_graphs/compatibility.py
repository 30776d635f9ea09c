"""Compatibility between tools: which output fields can fill which parameters.

Sampling among thousands of tools at random rarely yields a valid call graph, so graphs are sampled along these edges.
All figures are our choice.
"""

from collections.abc import Collection, Mapping
from itertools import permutations

from .toolset import Tool

FEW = 4  # a plan keeps to the field of its first tool if that has so many tools, else to the field's first part
LONGEST = 4  # calls of the longest chain


class Compatibility:
    """Edges between tools by the types of their parameters and output fields.

        find_train() -> train_id;  book(train_id) -> booking_id;  cancel(booking_id)
        chainable[1] = {train_id, booking_id}: one more call can follow
        chainable[2] = {train_id}: two more calls can follow

    Args:
        tools: name -> tool.
        fields: name -> field ("Travel/Trains"), of which a plan keeps to one.

    Attributes:
        takers: type -> tools with a parameter of it.
        chainable: n -> types from which a chain of n more calls can start.
        joint_inputs: type -> types that some tool takes together with it.
    """

    def __init__(self, tools: Mapping[str, Tool], fields: Mapping[str, str]) -> None:
        self.tools, self.fields = tools, fields
        self.takers: dict[str, set[str]] = {}
        self.joint_inputs: dict[str, set[str]] = {}
        self.members: dict[str, list[str]] = {}
        for name, tool in tools.items():
            for part in dict.fromkeys((fields[name], fields[name].partition("/")[0])):
                self.members.setdefault(part, []).append(name)
            for type_ in tool.input_types.values():
                self.takers.setdefault(type_, set()).add(name)
            for one, other in permutations(tool.input_types.values(), 2):
                self.joint_inputs.setdefault(one, set()).add(other)
        outputs = {type_ for tool in tools.values() for type_ in tool.output_types.values()} & set(self.takers)
        self.chainable: list[set[str]] = [set(), outputs]
        while len(self.chainable) <= LONGEST:
            last = self.chainable[-1]
            more = {
                k for k in outputs if any(set(tools[name].output_types.values()) & last for name in self.takers[k])
            }
            self.chainable.append(more)

    def related(self, name: str) -> list[str]:
        """The tools of a tool's field, or of its domain if the field has few."""
        whole = self.members[self.fields[name]]
        return whole if len(whole) >= FEW else self.members[self.fields[name].partition("/")[0]]

    def candidates(
        self, names: Collection[str], given: Collection[str], ahead: int, joined: Collection[str] | None, tested: bool
    ) -> list[str]:
        """Those of `names` that fit a node of a plan, sorted.

        Args:
            given: types of which the tool must take one; empty: any tool.
            ahead: number of calls that follow and take one another's results.
            joined: None, or the output types of its parallel calls, whose results a later call takes together with
                its own; empty for the first of them.
            tested: a later condition depends on its result.
        """
        if given:
            names = {name for type_ in given for name in self.takers.get(type_, ())} & set(names)
        fitting = []
        for name in sorted(names):
            tool = self.tools[name]
            outputs = set(tool.output_types.values())
            if ahead and not outputs & self.chainable[ahead]:
                continue
            if joined is not None:
                partners = {type_ for one in outputs for type_ in self.joint_inputs.get(one, ())}
                if not partners & (set(joined) if joined else self.chainable[1]):
                    continue
            if tested and not tool.tests:
                continue
            fitting.append(name)
        return fitting
