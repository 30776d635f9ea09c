"""Tools that compositions are sampled from: definitions, types and wording."""

import string
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...environments import worlds
from ...environments.definition import from_function
from ...environments.sandbox import Sandbox
from ...environments.world_sandbox import LIMITS, open_worlds, wording_of
from .stubs.values import snake


@dataclass(frozen=True)
class Tool:
    """A tool that can be executed and put into words.

    Attributes:
        definition: name, description, parameters, responses (environments/definition.py).
        ask, carried, tell, tests: the worlds' wording (environments/worlds/__init__.py).
        called: field -> (short, full).
        input_types: parameter -> type, or "" for an enumeration.
        output_types: field of the result -> type, of fields that there are words for.
        changes: it may change the state, so a call with an unknown outcome is not simply repeated.
        look: the call that shows whether it did, as in `changes` of the wording; None if there is none.
    """

    name: str
    world: str
    definition: dict[str, Any]
    ask: tuple[str, ...]
    tell: tuple[str, ...]
    called: dict[str, tuple[str, str]]
    tests: tuple[tuple[str, str, tuple[Any, ...], str], ...]
    input_types: dict[str, str]
    output_types: dict[str, str]
    changes: bool = True
    look: tuple[str, dict[str, str], str] | None = None
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Toolset:
    """Tools, the words for their values, and the sandbox they run in.

    Attributes:
        named: type -> how a user names a value of it.
        modules, paths: what the sandbox loads, and from where; empty: the worlds.
        user_values: type -> values that a user may state, if the tools have no function `pools`.
        code: what the sandbox runs beside `modules`.
        origin: source of the tools for the rows' `made_by`; "" for the worlds and for a file.
        fields: tool -> field, if only tools of one field fit together; a plan keeps to one.
    """

    tools: dict[str, Tool]
    named: dict[str, str]
    modules: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    user_values: Mapping[str, list[Any]] = field(default_factory=dict)
    code: str = ""
    origin: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Sandbox:
        """A sandbox in which the tools run. Raises DataError if they cannot be loaded."""
        return Sandbox(self.code, LIMITS, modules=self.modules, paths=self.paths) if self.modules else open_worlds()

    def distractors(self, needed: Set[str]) -> list[str]:
        """Tools that can be offered beside the needed ones without serving the request as well.

        The worlds' tools all do different things. Of other definitions none is offered whose name shares a noun (any
        word but the first, singular or plural) with a needed one's: `getBoat` excludes `listBoats`.
        """
        nouns = {word for name in needed for word in _words(name)[1:]} if self.fields else set()
        return [name for name in sorted(set(self.tools) - needed) if nouns.isdisjoint(_words(name))]

    def begin(self, box: Sandbox, seed: int) -> Mapping[str, list[Any]]:
        """Start a new state; returns the values that a user may state in it, by type."""
        box.call("begin", {"seed": seed})
        return self.user_values or box.call("pools", {}).value


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.rstrip("s") for word in snake(name).split("_"))


def read_worlds() -> Toolset:
    """The tools of all worlds."""
    tools: dict[str, Tool] = {}
    named: dict[str, str] = {}
    for world in worlds.WORLDS:
        wording = wording_of(world)
        named |= wording["named"]
        for function in world.TOOLS:
            tool = tool_of(from_function(function), world.__name__.rpartition(".")[2], wording)
            tools[tool.name] = tool
    return Toolset(tools, named)


def tool_of(definition: dict[str, Any], world: str, wording: Mapping[str, Mapping[str, Any]]) -> Tool:
    """The tool of a definition, worded by the tables `ask`, `tell` and so on (environments/worlds/__init__.py)."""
    name, parameters = definition["name"], definition["parameters"]["properties"]
    results = definition["responses"].get("properties", {})
    called = {key.partition(".")[2]: words for key, words in wording["called"].items() if key.startswith(f"{name}.")}
    return Tool(
        name, world, definition, tuple(wording["ask"][name]), tuple(wording["tell"][name]), called,
        tuple(wording["tests"].get(name, ())),
        {key: schema.get("kind", "") for key, schema in parameters.items()},
        {field: results[field]["kind"] for field in called if "kind" in results[field]},
        name in wording["changes"],
        wording["changes"].get(name),
        tuple(wording["carried"].get(name, ())),
    )  # fmt: skip


def places(text: str) -> list[str]:
    """The names of a template's places, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]
