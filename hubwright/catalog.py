"""The steps that a recipe can use: those of our packages and of installed packages that offer some.

Another package offers steps by an entry point of the group `hubwright.steps` that names a dict like our `STEPS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from .builders.steps import STEPS as BUILDERS
from .evals.steps import STEPS as EVALS
from .hub_sync.errors import UsageError, did_you_mean, first_line
from .hub_sync.step import StepSpec
from .model_cards.steps import STEPS as CARDS
from .trainers.steps import STEPS as TRAINERS

if TYPE_CHECKING:
    from pydantic import BaseModel

GROUP = "hubwright.steps"


@cache
def catalog() -> dict[str, StepSpec]:
    """The steps by the word of `uses:`. Raises UsageError if an installed package offers what is no dict of steps, or
    a word that is taken."""
    steps = BUILDERS | TRAINERS | EVALS | CARDS
    for entry in entry_points(group=GROUP):
        try:
            offered = entry.load()
        except Exception as error:  # whatever another package raises when it is imported
            raise UsageError(f"entry point {entry.value} of {GROUP} cannot be loaded: {first_line(error)}") from error
        if not isinstance(offered, dict) or not all(isinstance(spec, StepSpec) for spec in offered.values()):
            raise UsageError(f"entry point {entry.value} of {GROUP} is not a dict of StepSpec")
        if taken := sorted(offered.keys() & steps.keys()):
            raise UsageError(f"entry point {entry.value} of {GROUP}: {taken[0]!r} is the name of another step")
        steps |= offered
    return steps


def spec_of(uses: str) -> StepSpec:
    """The step behind a recipe's `uses:`. Raises UsageError with a suggestion."""
    steps = catalog()
    if uses not in steps:
        raise UsageError(f"{uses!r} is no known step{did_you_mean(uses, steps)}")
    return steps[uses]


def load(target: str, extra: str = "") -> Any:
    """Import "module:name". Raises UsageError that names the pip extra where a dependency is absent."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hubwright"):
            raise
        hint = f"pip install 'hubwright[{extra}]'" if extra else f"pip install {error.name}"
        raise UsageError(f"{error.name} is not installed: {hint}") from error


def config_class(spec: StepSpec) -> type[BaseModel]:
    """The pydantic model behind `with:`."""
    return load(spec.config, spec.extra)


def run_function(spec: StepSpec) -> Callable[..., Any]:
    """The function that does the step's work."""
    function = load(spec.run, spec.extra)
    if spec.loads_models:
        register_architectures()
    return function


def call_registered(work: Callable[..., Any], config: Any, context: Any) -> None:
    """Call a step's work in a process of its own, which has to know our architectures first."""
    register_architectures()
    work(config, context)


def register_architectures() -> None:
    """Make transformers know the architectures that are ours. Trainers do so themselves; evals cannot import them."""
    load("hubwright.trainers.architectures:register", "eval")()
