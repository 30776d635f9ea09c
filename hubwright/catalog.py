"""The steps that a recipe can use: those of our packages and of installed packages that offer some.

Another package offers steps by an entry point of the group `hubwright.steps` that names a dict like our `STEPS`, or is
named in the recipe itself: `uses: my_package.steps:squares`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .builders.steps import STEPS as BUILDERS
from .evals.steps import STEPS as EVALS
from .hub_sync.errors import UsageError, did_you_mean, first_line
from .hub_sync.files import sha256_file
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
    if ":" in uses:
        return _spec_at(*uses.split(":", 1))
    steps = catalog()
    if uses not in steps:
        raise UsageError(f"{uses!r} is no known step{did_you_mean(uses, steps)}")
    return steps[uses]


def _spec_at(module: str, name: str) -> StepSpec:
    """A module's StepSpec of that name, or the one of its dict STEPS."""
    uses = f"{module}:{name}"
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UsageError(f"{uses!r}: {module} cannot be imported: {first_line(error)}") from error
        raise UsageError(
            f"{uses!r}: there is no module {error.name}: install its package, or put its folder into PYTHONPATH"
        ) from error
    except Exception as error:  # whatever a module raises when it is imported
        raise UsageError(f"{uses!r}: {module} cannot be imported: {first_line(error)}") from error
    offered = vars(home).get("STEPS")
    named = {**vars(home), **(offered if isinstance(offered, dict) else {})}
    spec = named.get(name)
    if not isinstance(spec, StepSpec):
        known = [key for key, value in named.items() if isinstance(value, StepSpec)]
        raise UsageError(f"{uses!r}: {module} has no StepSpec called {name!r}{did_you_mean(name, known)}")
    return spec


def code_of(uses: str) -> dict[str, Any] | None:
    """Name, SHA-256 and bytes of the Python files of the package behind `module:name`; None for a step of the catalog.

    What such a step makes is made anew when its code changes; the steps of the catalog have versions.
    """
    if ":" not in uses:
        return None
    package = spec_of(uses).run.partition(".")[0].partition(":")[0]
    found = importlib.util.find_spec(package)
    if found is None or not (found.origin or found.submodule_search_locations):
        raise UsageError(f"{uses!r}: the code of {package} cannot be read")
    folder = Path(next(iter(found.submodule_search_locations or ()), found.origin or ""))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    lines = [f"{file.relative_to(folder).as_posix()} {sha256_file(file)}\n" for file in files]
    size = sum(file.stat().st_size for file in files)
    return {"name": package, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(), "bytes": size}


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
