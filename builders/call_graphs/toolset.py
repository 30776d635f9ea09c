"""Tools that compositions are sampled from: definitions, types and wording."""

from __future__ import annotations

import string
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...environments import worlds
from ...environments.definition import from_function
from ...environments.sandbox import Sandbox
from ...environments.world_sandbox import LIMITS, open_worlds
from .stubs.values import snake


@dataclass(frozen=True)
class Tool:
    """A tool that can be executed and put into words.

    Attributes:
        definition: name, description, parameters, responses (environments/definition.py).
        ask, carried, tell, tests: as the worlds say (environments/worlds/__init__.py).
        called: field -> (short, full).
        input_types: parameter -> type, or "" for an enumeration.
        output_types: field of the result -> type, of fields that there are words for.
        changes: it may change the state, so a call with an unknown outcome is not simply repeated.
        look: the call that shows whether it did (environments/worlds/shared.py); None if there is none.
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
        given: type -> values that a user may state, if the tools have no function `pools`.
        code: what the sandbox runs beside `modules`.
        origin: source of the tools for the rows' `made_by`; "" for the worlds and for a file.
        fields: tool -> field, if only tools of one field fit together; a plan keeps to one.
    """

    tools: dict[str, Tool]
    named: dict[str, str]
    modules: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    given: Mapping[str, list[Any]] = field(default_factory=dict)
    code: str = ""
    origin: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Sandbox:
        """A sandbox in which the tools run. Raises DataError where they cannot be loaded."""
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
        return self.given or box.call("pools", {}).value


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.rstrip("s") for word in snake(name).split("_"))


def read_worlds() -> dict[str, Tool]:
    """All tools by name. Raises ValueError where a world does not hold its contract."""
    found: dict[str, Tool] = {}
    for world in worlds.WORLDS:
        for function in world.TOOLS:
            definition = from_function(function)
            name = definition["name"]
            if name in found:
                raise ValueError(f"{world.__name__}: there is another tool {name}")
            called = {
                field: words for key, words in world.CALLED.items() for tool, field in [key.split(".")] if tool == name
            }
            results = definition["responses"]["properties"]
            parameters = definition["parameters"]["properties"]
            found[name] = Tool(
                name, world.__name__.rpartition(".")[2], definition, tuple(world.ASK[name]), tuple(world.TELL[name]),
                called,
                tuple(world.TESTS.get(name, ())),
                {key: schema.get("kind", "") for key, schema in parameters.items()},
                {field: results[field]["kind"] for field in called if "kind" in results[field]},
                name in world.CHANGES,
                world.CHANGES.get(name),
                getattr(world, "CARRIED", {}).get(name, ()),
            )  # fmt: skip
            for key, schema in parameters.items():
                if "kind" not in schema and "enum" not in schema and schema.get("type") != "boolean":
                    raise ValueError(f"{name}: {key} has neither a kind nor a list of values")
    return found


def named() -> dict[str, str]:
    """Type -> how a user names a value of it."""
    return {kind: words for world in (worlds.shared, *worlds.WORLDS) for kind, words in world.NAMED.items()}


def places(text: str) -> list[str]:
    """The names of a template's places, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]
