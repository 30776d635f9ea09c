"""What a package says of its steps: its `steps.py` holds a StepSpec for each word of a recipe's `uses:`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .refs import ArtifactRef, RepoType

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
class Preview:
    """An artifact before the step that reads it works.

    Settings of a step that may fail on its inputs have `preview(inputs: Mapping[str, Preview]) -> Preview`: what the
    step will publish. It raises a HubwrightError in one line for inputs that the step cannot work with.

    Attributes:
        name: the artifact in messages.
        source: repository at a commit that can be looked into, of a model the one with its tokenizer; None if that is
            not known before the recipe has run.
        template: chat template that a step gives to the tokenizer in `source`; None: the tokenizer's own.
        kind: model_type of a model with images that a step of the recipe will publish; "": that of `source`.
        columns: of a data set that a step of the recipe will publish; empty if they are not known.
        warnings: what may go wrong in the step, one line each.
    """

    name: str = ""
    source: ArtifactRef | None = None
    template: str | None = None
    kind: str = ""
    columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


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
        columns: columns of the rows that it publishes, as far as a trainer reads them and no setting decides them.
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
    columns: tuple[str, ...] = ()

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
