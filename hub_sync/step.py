"""What a package says of its steps: its `steps.py` holds a StepSpec for each word of a recipe's `uses:`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .refs import RepoType

Kind = Literal["builder", "trainer", "eval", "card"]
_ENDING = re.compile(r"[A-Za-z0-9_.-]+\Z")


@dataclass(frozen=True)
class Size:
    """Size of an artifact: bytes of its files, and numbers in its tensors where it is a model.

    Settings that can tell what their step writes have `disk(inputs: Mapping[str, Size]) -> tuple[int, Size] | None`:
    bytes below `runs/` at most, and the size of what is published.
    """

    bytes: int
    weights: int = 0


@dataclass(frozen=True)
class Role:
    """An input of a step.

    Attributes:
        type: of the repository it takes.
        optional: whether the step works without it.
        endpoint: the step asks the model at an endpoint, whose server fetches it; the runner reads the card alone.
        folds: an adapter is folded into its base, which becomes an input of its own, ROLE.base.
        ordered: of a role with "*": the names, in the recipe's order, are written into the setting `order`.
    """

    type: RepoType
    optional: bool = False
    endpoint: bool = False
    folds: bool = False
    ordered: bool = False


@dataclass(frozen=True)
class StepSpec:
    """A step: what it takes, what it publishes and where its code is. Nothing is imported until it is needed.

    Attributes:
        kind: decides how the output is laid out and which card it gets.
        config: "module:Class" of the pydantic model of `with:`.
        run: "module:function", called with (config, context).
        publishes: type of the repository it publishes.
        help: one line for `hubwright recipes --kinds` and the JSON Schema.
        inputs: name -> role. A name that ends with "*" stands for any number of inputs that begin so.
        version: raised when the method changes its output for the same config; part of the fingerprint.
        extra: the pip extra it needs.
        benchmark: "module:OBJECT" of the judged benchmark that `hubwright score | judge NAME` use.
        loads_models: whether it loads models through transformers' Auto classes, which then know ours as well.
    """

    kind: Kind
    config: str
    run: str
    publishes: RepoType
    help: str
    inputs: Mapping[str, Role] = field(default_factory=dict)
    version: int = 1
    extra: str = ""
    benchmark: str = ""
    loads_models: bool = False

    def role(self, name: str) -> Role | None:
        """The role of an input; None if there is none of that name."""
        for pattern, role in self.inputs.items():
            begin = pattern.removesuffix("*")
            if name == begin == pattern:
                return role
            if pattern != begin and name.startswith(begin) and _ENDING.match(name, len(begin)):
                return role
        return None

    def is_endpoint(self, name: str) -> bool:
        """Whether an input is a model that the step asks at an endpoint."""
        role = self.role(name)
        return role is not None and role.endpoint

    def folding(self, names: Iterable[str]) -> list[str]:
        """The inputs of these whose adapter is folded into its base."""
        return sorted(name for name in names if (role := self.role(name)) and role.folds)

    def role_names(self) -> list[str]:
        """The inputs as a user reads them: `part_NAME` for any number that begin with `part_`."""
        return [name.replace("*", "NAME") for name in self.inputs]
