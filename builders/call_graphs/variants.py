"""A plan as a conversation, plain or with one thing changed for which the right calls are still known.

    plain              the functions that are needed
    distractors        more functions, none of them needed
    irrelevant         none of the functions that are needed; nothing may be called
    missing_parameter  the user leaves out a value, is asked, and says it
    missing_function   the last call has no function; the others are made, and the answer says what could not be done
    tool_error         a call fails at first and is made again; where it may have changed something, after a look
    noisy_output       results hold fields that nobody asked for

Our choice; the paper has the first alone.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...environments.definition import as_openai
from ...hub_sync.errors import RowRejected
from .._lib.conversation_rows import Row, call, identity, system_turn
from .plan import Node, Plan, order
from .toolset import Tool, Toolset
from .words import Speaker

VARIANTS = (
    "plain", "distractors", "irrelevant", "missing_parameter", "missing_function", "tool_error", "noisy_output",
)  # fmt: skip
OFFERS = 40  # draws of functions to offer beside the needed ones, before a plan is given up
# Nothing was done; and nobody knows whether it was.
REFUSED = (
    "the service is busy and did not take the request", "503: refused before anything was done, try again",
    "too many requests, this one was not processed",
)  # fmt: skip
UNKNOWN = (
    "time-out, no answer was received", "the connection was lost before an answer came", "gateway time-out (504)",
)  # fmt: skip


def prepare(plan: Plan, variant: str, tools: Mapping[str, Tool]) -> None:
    """Change a plan that was drawn as a variant needs it, before its calls are made in order.

    `tool_error`: a call that fails at first. After a time-out nobody knows whether it took effect, so a call that may
    change something is made again only after a look; where nothing shows it, its error says that nothing was done.
    """
    if variant != "tool_error":
        return
    rng = random.Random(f"{plan.composition}:{plan.seed}:error")  # noqa: S311 - not for secrets
    plan.failing = rng.choice([number for number, node in enumerate(plan.nodes) if node.runs])
    node = plan.nodes[plan.failing]
    tool, unknown = tools[node.tool], rng.random() < 0.5
    if tool.changes and unknown:
        look = _look(plan, node, tool) if tool.look and tool.look[0] in tools else None
        unknown = look is not None
        plan.nodes += [look] if look else []
    plan.error = rng.choice(UNKNOWN if unknown else REFUSED)


def _look(plan: Plan, node: Node, tool: Tool) -> Node | None:
    """The call that shows whether that of `node` took effect; None if it is one of the plan's own."""
    assert tool.look is not None
    arguments = {parameter: node.arguments[name] for parameter, name in tool.look[1].items()}
    look = replace(node, tool=tool.look[0], arguments=arguments, looks=plan.failing, result=None)
    values = plan.values(look)
    if any(other.tool == look.tool and other.runs and plan.values(other) == values for other in plan.nodes):
        return None
    return look


def conversation(
    plan: Plan,
    variant: str,
    toolset: Toolset,
    parallel: bool,
    distractors: int,
    thoughts: bool = True,
    fits: Callable[[frozenset[str]], bool] = lambda offered: True,
) -> Row:
    """The row of a plan that was prepared for the variant and run, its checks still open.

    Args:
        parallel: calls that do not need one another stand in one turn.
        distractors: functions beside those that are needed, in the variants that have some.
        thoughts: the assistant says what it is about to do.
        fits: whether these functions may be offered together.

    Raises RowRejected if the plan lacks what the variant changes, or no fitting set of functions can be offered.
    """
    rng = random.Random(f"{plan.composition}:{plan.seed}:{variant}")  # noqa: S311 - not for secrets
    tools, named = toolset.tools, toolset.named
    writer = _Writer(plan, variant, Speaker(plan, tools, named, rng), rng, parallel, thoughts)
    messages = [system_turn(parallel), *writer.write()]
    needed = {node.tool for node in plan.nodes}
    others = toolset.distractors(needed) if variant in ("distractors", "irrelevant", "missing_function") else []
    for _ in range(OFFERS):
        offered = (needed - writer.absent).union(rng.sample(others, min(distractors, len(others))))
        if fits(frozenset(offered)):
            break
    else:
        raise RowRejected("the set of functions offered belongs to another split")
    shown = [as_openai(tools[name].definition) for name in rng.sample(sorted(offered), len(offered))]
    return {
        "id": identity(messages, shown),
        "messages": messages,
        "tools": shown,
        "parallel": parallel,
        "composition": plan.composition,
        "variant": variant,
        "scenario": " and ".join(sorted({tools[node.tool].world for node in plan.nodes})),
        "task": " ".join(m["content"] for m in messages if m["role"] == "user"),
        "sub_tasks": [
            writer.speaker.ask(number, short=False) for number, node in enumerate(plan.nodes) if node.looks is None
        ],
        "plan": json.dumps(plan.as_json(), ensure_ascii=False),
        "n_calls": writer.calls,
        "n_user_turns": sum(m["role"] == "user" for m in messages),
        "made_by": "templates",
    }


class _Writer:
    """Writes the messages of one conversation."""

    def __init__(
        self, plan: Plan, variant: str, speaker: Speaker, rng: random.Random, parallel: bool, thoughts: bool
    ) -> None:
        self.plan, self.variant, self.speaker, self.rng = plan, variant, speaker, rng
        self.parallel, self.thoughts = parallel, thoughts
        self.messages: list[dict[str, Any]] = []
        self.calls = 0
        self.absent: set[str] = set()
        self.failing: Node | None = None

    def write(self) -> list[dict[str, Any]]:
        """All messages. Marks what the variant leaves out in the plan."""
        ran = order(self.plan, self.parallel)
        if self.variant == "irrelevant":
            return self.refusal(ran)
        if self.variant == "missing_parameter":
            self.leave_out_a_value(ran)
        if self.variant == "missing_function":
            self.leave_out_a_function(ran)
            ran = [node for node in ran if node.runs]
        if self.plan.failing is not None:
            self.failing = self.plan.nodes[self.plan.failing]
        for turn in range(max(node.turn for node in self.plan.nodes) + 1):
            self.turn(turn, [node for node in ran if node.turn == turn])
        return self.messages

    def say(self, role: str, content: str) -> None:
        self.messages.append({"role": role, "content": content})

    def refusal(self, ran: Sequence[Node]) -> list[dict[str, Any]]:
        """One turn that nothing can be done about."""
        if any(node.turn or node.when for node in ran):
            raise RowRejected("irrelevant: further turns or a condition")
        self.absent = {node.tool for node in ran}
        for node in ran:
            node.runs = False
        self.say("user", self.speaker.request(0))
        first = [number for number, node in enumerate(self.plan.nodes) if not node.needs()]
        sentences = [self.speaker.unable(number) for number in first]
        if len(first) < len(ran):
            sentences.append(self.speaker.phrase("rest"))
        self.say("assistant", " ".join(sentences))
        return self.messages

    def leave_out_a_value(self, ran: Sequence[Node]) -> None:
        candidates = [
            (self.plan.nodes.index(node), name)
            for node in ran
            for name, source in node.arguments.items()
            if node.turn == 0
            and not node.when
            and source.node is None
            and self.speaker.tools[node.tool].input_types[name]
        ]
        if not candidates:
            raise RowRejected("missing_parameter: the user states no value")
        self.speaker.vague = self.rng.choice(candidates)

    def leave_out_a_function(self, ran: Sequence[Node]) -> None:
        last = ran[-1]
        used = {other.tool for other in self.plan.nodes if other is not last}
        if len(ran) < 2 or last.when or last.tool in used or any(n.when for n in self.plan.nodes):
            raise RowRejected("missing_function: no call can be left out")
        last.runs = False
        self.absent = {last.tool}

    def turn(self, turn: int, ran: Sequence[Node]) -> None:
        """A turn of the user, the calls it leads to, and the answer."""
        self.say("user", self.speaker.request(turn))
        if self.speaker.vague is not None and turn == 0:
            number, parameter = self.speaker.vague
            self.say("assistant", self.speaker.question(parameter))
            self.say("user", self.speaker.reply(self.plan.nodes[number].arguments[parameter].value))
            self.speaker.vague = None
        look = next((node for node in ran if node.looks is not None), None)
        ran = [node for node in ran if node is not look]
        groups: list[list[Node]] = []
        for node in ran:
            if self.parallel and groups and groups[-1][0].layer == node.layer:
                groups[-1].append(node)
            else:
                groups.append([node])
        for place, nodes in enumerate(groups):
            previous, more = groups[place - 1] if place else [], place + 1 < len(groups)
            self.make(nodes, self.speaker.thought(nodes, previous, more) if self.thoughts else "")
            if self.failing in nodes:
                failed, self.failing = self.failing, None
                if look:
                    self.make([look], self.speaker.phrase("look") if self.thoughts else "")
                self.make([failed], self.speaker.again(look) if self.thoughts else "")
        left = [n for n, node in enumerate(self.plan.nodes) if node.turn == turn and node.tool in self.absent]
        sentences = [self.speaker.answer(ran)] if ran else []
        sentences += [self.speaker.first_attempt(look)] if look else []
        self.say("assistant", " ".join([*sentences, *(self.speaker.unable(number) for number in left)]))

    def make(self, nodes: Sequence[Node], thought: str) -> None:
        """One turn of calls with their results."""
        calls = []
        for node in nodes:
            calls.append(call(self.calls, node.tool, self.plan.values(node)))
            self.calls += 1
        self.messages.append({"role": "assistant", "content": thought, "tool_calls": calls})
        for node, one in zip(nodes, calls, strict=True):
            content: Any = node.result
            if node is self.failing:
                content = {"error": self.plan.error}
            elif self.variant == "noisy_output":
                content = self.noisy(content)
            text = json.dumps(content, ensure_ascii=False)
            self.messages.append({"role": "tool", "tool_call_id": one["id"], "name": node.tool, "content": text})

    def noisy(self, result: dict[str, Any]) -> dict[str, Any]:
        """A result among fields that nobody asked for."""
        noise = {
            "request_id": f"req-{self.rng.randrange(16**8):08x}",
            "took_ms": self.rng.randrange(3, 900),
            "served_from": self.rng.choice(("cache", "primary", "replica")),
        }
        parts = [*result.items(), *noise.items()]
        self.rng.shuffle(parts)
        return dict(parts)
