"""Compositions of calls as typed graphs, sampled at random and executed.

A shape says how calls depend on one another: "call", ("seq", a, b), ("par", a, b), ("if", test, a, b), and ("then",
a, b), which is a sequence whose second half the user asks for in a turn of its own. BUTTON (arXiv 2410.12952) has
sequences of two and two in parallel with a third after them; the others are ours. An "if" tests one call and chooses
between two.

A plan is a list of nodes. Every argument comes from the user or from a field of an earlier result of the same type:

    sequential: find_train(from="Oslo") -> {"train": "TR5521"};  book(train=<node 0>.train, name="Mira Holt")

The graph can be recovered from the values (our choice): a value that is passed on was neither stated by the user nor
returned by another call before.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...environments.sandbox import Sandbox
from ...hub_sync.errors import RowRejected
from .compatibility import Compatibility
from .toolset import Tool

Shape = Any  # "call" or a tuple of a word and shapes
SHAPES: dict[str, Shape] = {
    "single": "call",
    "parallel": ("par", "call", "call"),
    "sequential": ("seq", "call", "call"),
    "parallel_then_sequential": ("seq", ("par", "call", "call"), "call"),
    "sequential_then_parallel": ("seq", "call", ("par", "call", "call")),
    "sequential_of_three": ("seq", "call", ("seq", "call", "call")),
    "sequence_beside_call": ("par", ("seq", "call", "call"), "call"),
    "conditional": ("if", "call", "call", "call"),
    "sequential_then_conditional": ("seq", "call", ("if", "call", "call", "call")),
    "two_turns": ("then", "call", "call"),
    "two_turns_parallel": ("then", ("par", "call", "call"), "call"),
    "three_turns": ("then", "call", ("then", ("seq", "call", "call"), "call")),
}
COMPARE = {
    "<": lambda value, bound: value < bound,
    ">": lambda value, bound: value > bound,
    "==": lambda value, bound: value == bound,
}


class ToolCrashed(Exception):
    """A tool ended its sandbox or did not answer in time; the message is its name."""


@dataclass
class Source:
    """Source of an argument: the user, who states `value` (`node` is None), or `field` of a node's result."""

    value: Any = None
    node: int | None = None
    field: str = ""


@dataclass
class Node:
    """One call.

    Attributes:
        turn: of the user, from 0, in which it is asked for.
        when: (node, field, comparison, bound, words, wanted outcome) that it depends on, or None.
        runs: False for the branch that is not taken.
        layer: calls of a turn that can be made at once have one layer.
        looks: number of the node of which it looks up whether it took effect; the user did not ask for it.
    """

    tool: str
    arguments: dict[str, Source]
    turn: int = 0
    when: tuple[int, str, str, Any, str, bool] | None = None
    runs: bool = True
    layer: int = 0
    looks: int | None = None
    result: Any = None

    def needs(self) -> set[int]:
        """The nodes whose results it takes or depends on."""
        used = {source.node for source in self.arguments.values() if source.node is not None}
        return used | ({self.when[0]} if self.when else set())


@dataclass
class Plan:
    """A composition with the results of its calls.

    Attributes:
        failing: number of the node whose call fails at first, with `error`.
    """

    composition: str
    seed: int
    nodes: list[Node] = field(default_factory=list)
    failing: int | None = None
    error: str = ""

    def values(self, node: Node) -> dict[str, Any]:
        """A node's arguments as they are called with."""
        return {
            name: source.value if source.node is None else self.nodes[source.node].result[source.field]
            for name, source in node.arguments.items()
        }

    def as_json(self) -> dict[str, Any]:
        """What the column `plan` holds: the graph, without the results, which are in the messages."""
        nodes = []
        for node in self.nodes:
            written = asdict(node)
            written.pop("result")
            written["arguments"] = {
                name: {"user": s["value"]} if s["node"] is None else {"node": s["node"], "field": s["field"]}
                for name, s in written["arguments"].items()
            }
            nodes.append(written)
        return {"composition": self.composition, "seed": self.seed, "nodes": nodes}


def draw(
    composition: str,
    tools: Mapping[str, Tool],
    pools: Mapping[str, list[Any]],
    seed: int,
    box: Sandbox,
    compatibility: Compatibility | None = None,
) -> Plan:
    """A plan of a composition on the state that `box` has begun with `seed`; its calls have been made.

    Args:
        compatibility: edges between tools, if only some of them fit together; None: all do.

    Raises RowRejected if no fitting call was found, or a call failed.
    """
    rng = random.Random(f"{composition}:{seed}")  # noqa: S311 - not for secrets
    drawer = _Drawer(Plan(composition, seed), tools, pools, rng, box, compatibility)
    drawer.grow(SHAPES[composition], [], 0, None)
    if compatibility is not None and drawer.ambiguous():
        raise RowRejected("two results of one kind, which a request could not tell apart")
    for node in drawer.plan.nodes:  # layers within each turn: one more than the deepest node that is needed
        needed = [drawer.plan.nodes[n] for n in node.needs()]
        node.layer = max((n.layer + 1 for n in needed if n.turn == node.turn), default=0)
    return drawer.plan


def run(plan: Plan, box: Sandbox, parallel: bool) -> None:
    """Make a plan's calls again on a fresh state, in the order of its conversation; results are stored in the nodes.

    Raises RowRejected if a call fails, or a condition now has another outcome.
    """
    box.call("begin", {"seed": plan.seed})
    for node in order(plan, parallel):
        node.result = make(node.tool, plan.values(node), box, "a call failed when all were made in order")
    for node in plan.nodes:
        if node.when and node.runs != (_holds(plan, node.when) == node.when[5]):
            raise RowRejected("a test went the other way when all were made in order")


def make(tool: str, values: dict[str, Any], box: Sandbox, otherwise: str) -> dict[str, Any]:
    """A call's result; a value that is not an object becomes `{"result": value}`.

    Raises RowRejected(otherwise) if it fails, ToolCrashed if the tool timed out or ended its process.
    """
    outcome = box.call(tool, values)
    if outcome.kind in ("timeout", "died"):
        raise ToolCrashed(tool)
    if not outcome.ok:
        raise RowRejected(otherwise)
    return outcome.value if isinstance(outcome.value, dict) else {"result": outcome.value}


def order(plan: Plan, parallel: bool) -> list[Node]:
    """The nodes that run, as a conversation makes them: by turn, and with `parallel` by layer.

    A call that fails at first takes effect after those beside it, and after the look at what it did.
    """

    def place(number: int) -> tuple[int, int, float]:
        node = plan.nodes[number]
        late = number if node.looks is None else node.looks - 0.5
        if plan.failing is not None and plan.failing in (number, node.looks):
            late += len(plan.nodes) if parallel else 0
        return node.turn, node.layer if parallel else 0, late

    return [plan.nodes[n] for n in sorted(range(len(plan.nodes)), key=place) if plan.nodes[n].runs]


def _holds(plan: Plan, when: tuple[int, str, str, Any, str, bool]) -> bool:
    node, name, comparison, bound, _, _ = when
    return bool(COMPARE[comparison](plan.nodes[node].result[name], bound))


def depth(shape: Shape) -> int:
    """Calls of a shape's longest chain in which each takes a result of the one before."""
    if shape == "call":
        return 1
    word, *parts = shape
    if word in ("seq", "then"):
        return depth(parts[0]) + depth(parts[1])
    return 1 if word == "if" else max(map(depth, parts))


@dataclass
class _Drawer:
    """The state of one draw."""

    plan: Plan
    tools: Mapping[str, Tool]
    pools: Mapping[str, list[Any]]
    rng: random.Random
    box: Sandbox
    compatibility: Compatibility | None
    stated: list[Any] = field(default_factory=list)  # values that the user has stated

    def grow(
        self, shape: Shape, feeds: list[int], turn: int, when: Any, runs: bool = True, ahead: int = 0,
        joined: list[int] | None = None, tested: bool = False,
    ) -> tuple[list[int], int]:  # fmt: skip
        """Add a shape's nodes. Its first calls use the results of all `feeds`. Returns its last nodes and turn.

        `ahead`, `joined`, `tested`: requirements on its last nodes (`Compatibility.candidates`).
        """
        if shape == "call":
            return [self.call(feeds, turn, when, runs, self.fitting(feeds, ahead, joined, tested))], turn
        word, *parts = shape
        if word in ("seq", "then"):
            ends, turn = self.grow(parts[0], feeds, turn, when, runs, ahead + depth(parts[1]))
            return self.grow(parts[1], ends, turn + (word == "then"), when, runs, ahead, joined, tested)
        if word == "par":
            grown: list[int] = []
            for part in parts:
                grown += self.grow(part, feeds, turn, when, runs, ahead, list(grown) if ahead else None)[0]
            return grown, turn
        (number,), _ = self.grow(parts[0], feeds, turn, when, runs, tested=True)
        test = self.test(number)
        ends = []
        for part, outcome in zip(parts[1:], (True, False), strict=True):
            taken = _holds(self.plan, (*test, outcome)) == outcome
            end, _ = self.grow(part, [], turn, (*test, outcome), taken)
            ends += end if taken else []
        return ends, turn

    def test(self, number: int) -> tuple[int, str, str, Any, str]:
        node = self.plan.nodes[number]
        tests = self.tools[node.tool].tests
        if not tests:
            raise RowRejected("a call whose result can be tested was not found")
        name, comparison, bounds, words = self.rng.choice(tests)
        bound = self.rng.choice(bounds)
        return number, name, comparison, bound, words.format(f"{bound:g}" if isinstance(bound, float) else bound)

    def fitting(self, feeds: list[int], ahead: int, joined: list[int] | None, tested: bool) -> Iterable[str]:
        """The tools among which a call is chosen: what nothing is handed to is near the first tool."""
        if self.compatibility is None:
            return self.tools
        around = self.tools if feeds or not self.plan.nodes else self.compatibility.related(self.plan.nodes[0].tool)
        beside = None if joined is None else [kind for node in joined for kind in self.output_types(node)]
        types = [kind for node in feeds[:1] for kind in self.output_types(node)]
        return self.compatibility.candidates(around, types, ahead, beside, tested)

    def output_types(self, node: int) -> Iterable[str]:
        return self.tools[self.plan.nodes[node].tool].output_types.values()

    def call(self, feeds: list[int], turn: int, when: Any, runs: bool, among: Iterable[str]) -> int:
        """Choose a tool whose parameters take something of every feed, and call it."""
        choices = [(name, links) for name in among for links in self.links(name, feeds)]
        if not choices:
            raise RowRejected("no tool takes what the calls before it give")
        # Every tool has the same chance, however many links it has.
        name = self.rng.choice(sorted({name for name, _ in choices}))
        links = self.rng.choice([links for tool, links in choices if tool == name])
        currencies = self.currencies(name, links)
        node = Node(name, {}, turn, when, runs)
        parameters = self.tools[name].definition["parameters"]["properties"]
        for parameter in self.tools[name].input_types:  # others are optional and left out
            if parameter in currencies:
                node.arguments[parameter] = currencies[parameter]
            elif parameter in links:
                number, key = links[parameter]
                node.arguments[parameter] = Source(node=number, field=key)
            else:
                value = self.same(feeds, parameters[parameter])
                node.arguments[parameter] = Source(
                    self.pick(parameter, parameters[parameter], node) if value is None else value
                )
        values = self.plan.values(node)
        same_kind = [repr(values[p]) for p in values if self.tools[name].input_types[p]]
        if len(set(same_kind)) < len(same_kind):
            raise RowRejected("one value stands for two arguments")
        for parameter, source in node.arguments.items():
            if source.node is not None and self.occurs_elsewhere(values[parameter], source.node):
                raise RowRejected("a value that is handed on is known from elsewhere")
        if any(other.tool == name and self.plan.values(other) == values for other in self.plan.nodes):
            raise RowRejected("the same call twice")
        self.stated += [s.value for s in node.arguments.values() if s.node is None]
        if runs:
            node.result = make(name, values, self.box, "a call failed")
            if self.reveals_passed_value(node):
                raise RowRejected("a value that is handed on is known from elsewhere")
        self.plan.nodes.append(node)
        return len(self.plan.nodes) - 1

    def same(self, feeds: list[int], schema: Mapping[str, Any]) -> Any:
        """A value of the same type that the user stated for a call whose result is used: one patient, not two."""
        for feed in feeds if self.compatibility else ():
            node = self.plan.nodes[feed]
            for name, source in node.arguments.items():
                if source.node is None and self.tools[node.tool].input_types[name] == schema["kind"]:
                    return source.value
        return None

    def pick(self, parameter: str, schema: Mapping[str, Any], node: Node) -> Any:
        """A value that the user states."""
        if "enum" in schema or schema.get("type") == "boolean":
            return self.rng.choice(schema.get("enum", [True, False]))
        taken = [s.value for s in node.arguments.values() if s.node is None]
        pool = [value for value in self.pools.get(schema["kind"], ()) if value not in taken]
        if not pool:
            raise RowRejected("a user cannot say what an argument needs")
        return self.rng.choice(pool)

    def links(self, name: str, feeds: list[int]) -> list[dict[str, tuple[int, str]]]:
        """The ways in which a tool's parameters take one field of each feed, as parameter -> (node, field)."""
        ways: list[dict[str, tuple[int, str]]] = [{}]
        for feed in feeds:
            gives = self.tools[self.plan.nodes[feed].tool].output_types
            ways = [
                so_far | {parameter: (feed, key)}
                for so_far in ways
                for parameter, kind in self.tools[name].input_types.items()
                if kind and parameter not in so_far
                for key, output in gives.items()
                if output == kind
            ]
        return ways

    def currencies(self, name: str, links: dict[str, tuple[int, str]]) -> dict[str, Source]:
        """The currency that an amount takes along where it is handed on: the tool's first parameter for one -> source.

        It is a field of the result that the amount is from, or else what the last currency of that call was.
        """
        sources: dict[str, Source] = {}
        first = next((p for p, kind in self.tools[name].input_types.items() if kind == "currency"), None)
        for parameter, (feed, _) in links.items():
            if first is None or self.tools[name].input_types[parameter] != "amount":
                continue
            giver = self.plan.nodes[feed]
            if giver.tool == name:
                raise RowRejected("an amount would be converted twice")
            tool = self.tools[giver.tool]
            field = next((key for key, kind in tool.output_types.items() if kind == "currency"), None)
            stated = [source for key, source in giver.arguments.items() if tool.input_types[key] == "currency"]
            if field is None and not stated:
                continue
            source = Source(node=feed, field=field) if field else stated[-1]
            if first in links and links[first] != (source.node, source.field):
                raise RowRejected("an amount would stand beside another's currency")
            sources[first] = source
        return sources

    def occurs_elsewhere(self, value: Any, giver: int) -> bool:
        """True for a value that the user stated or that another node returned."""
        others = [n.result.values() for i, n in enumerate(self.plan.nodes) if i != giver and n.runs]
        return value in self.stated or any(value in values for values in others)

    def ambiguous(self) -> bool:
        """True if a result is passed on whose type two calls return: the request could not tell them apart."""
        outputs = [set(self.output_types(number)) for number in range(len(self.plan.nodes))]
        sources = [s for node in self.plan.nodes for s in node.arguments.values() if s.node is not None]
        kinds = [self.tools[self.plan.nodes[s.node].tool].output_types[s.field] for s in sources if s.node is not None]
        return any(sum(kind in some for some in outputs) > 1 for kind in kinds)

    def reveals_passed_value(self, node: Node) -> bool:
        """True if the user or this result now states a value that an earlier result passed on."""
        handed = [
            self.plan.nodes[s.node].result[s.field]
            for other in self.plan.nodes
            for s in other.arguments.values()
            if s.node is not None
        ]
        return any(value in self.stated or value in node.result.values() for value in handed)
