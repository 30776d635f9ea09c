"""Text games by name: "taxi", "babyai/GoToLocal", and those of installed packages."""

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points, version
from typing import Any

from ...hub_sync.errors import UsageError, did_you_mean, first_line
from .interface import TextGame

GROUP = "hubwright.environments"
_HERE = __name__.rpartition(".")[0]
OURS = {
    "taxi": f"{_HERE}.grids:Taxi",
    "frozen_lake": f"{_HERE}.grids:FrozenLake",
    "cliff_walking": f"{_HERE}.grids:CliffWalking",
    "babyai": f"{_HERE}.babyai:BabyAI",
    "textworld_express": f"{_HERE}.textworld_express:TextWorldExpress",
    "scienceworld": f"{_HERE}.scienceworld:ScienceWorld",
    "textworld": f"{_HERE}.textworld_game:TextWorld",
}


@cache
def families() -> dict[str, str]:
    """The families by name: "module:Class". Raises UsageError if a package offers a name that is taken."""
    known = dict(OURS)
    for entry in entry_points(group=GROUP):
        if entry.name in known:
            raise UsageError(f"entry point {entry.value} of {GROUP}: {entry.name!r} is the name of another game")
        known[entry.name] = entry.value
    return known


def game_class(name: str) -> tuple[type[TextGame], str]:
    """The class of a game and the variant in its name. Raises UsageError with a suggestion.

    >>> game_class("babyai/GoToLocal")
    (<class 'hubwright.environments.text.babyai.BabyAI'>, 'GoToLocal')
    """
    if not isinstance(name, str):
        raise UsageError(f"a game's name is text, not {name!r:.80}")
    family, _, variant = name.partition("/")
    if family not in families():
        raise UsageError(f"no game is called {name!r:.80}{did_you_mean(family, families())}")
    target = families()[family]
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever another package raises when it is imported
        raise UsageError(f"game {family}: {target} of {GROUP} cannot be loaded: {first_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, TextGame)):
        raise UsageError(f"game {family}: {target} of {GROUP} is not a subclass of TextGame")
    return found, variant


def check_game(name: str, options: Mapping[str, Any] | None = None) -> type[TextGame]:
    """The class of a game that can be played here with these parameters. Starts nothing. Raises UsageError."""
    found, _ = game_class(name)
    found.check_options(options or {})
    found.require()
    return found


def open_game(name: str, options: Mapping[str, Any] | None = None) -> TextGame:
    """A game in this process. Most callers want a `GamePool`. Raises UsageError."""
    return check_game(name, options)(name.partition("/")[2], options)


def versions(name: str) -> dict[str, str]:
    """The versions that decide what happens in a game, by distribution, for the record.

    >>> versions("babyai/GoToLocal")
    {'hubwright': '0.1.0', 'minigrid': '3.2.0'}
    """
    package = game_class(name)[0].package
    return {name: version(name) for name in sorted({"hubwright", package} - {""})}
