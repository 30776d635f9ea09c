"""The recipe: what a YAML file may say, checked before anything is started.

    name: demo
    namespace: demo
    steps:
      drills:
        uses: feedback_drills
        with: {train_rows: 2000}
        publish: {dataset: feedback-drills, tag: v1.0.0}
      tuned:
        uses: sft
        inputs: {model: HuggingFaceTB/SmolLM2-135M-Instruct, dataset: steps.drills}
        publish: {model: smollm2-drills}

A step's inputs are outside artifacts (`org/name@revision`) or what an earlier step publishes (`steps.NAME`).
"""

import graphlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from .catalog import config_class, spec_of
from .hub_sync.errors import HubError, UsageError, did_you_mean
from .hub_sync.hub import user_name
from .hub_sync.licence_ids import LicenceId
from .hub_sync.parquet import SHARD_MB
from .hub_sync.refs import ArtifactRef
from .hub_sync.settings import Settings
from .hub_sync.step import StepSpec
from .model_cards.author import AuthorCard, CardDefaults, author_part, inline_files
from .published_recipe import fetch_recipe, refuse_secrets
from .yaml_source import Where, apply_setting, read_setting, read_yaml

_STEP_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,39}$")
_TAG = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class Publish(Settings):
    """Where a step's result goes."""

    dataset: str | None = Field(None, description="Repository for a data set: `name` or `org/name`.")
    model: str | None = Field(None, description="Repository for a model: `name` or `org/name`.")
    space: str | None = Field(None, description="Repository for a Space: `name` or `org/name`.")
    tag: str | None = Field(None, description="Tag for the commit, such as v1.0.0. A tag is never moved.")
    shard_mb: int = Field(
        SHARD_MB,
        ge=1,
        description="Builders: largest Parquet file in MB, uncompressed. Neither rows nor fingerprint depend on it.",
    )
    private: bool = Field(False, description="Make the repository private when it is created.")
    license: LicenceId | None = Field(
        None, description="Hub licence id of the result; by default it follows from the inputs' licences."
    )
    accept_unlicensed: str | None = Field(
        None,
        min_length=10,
        description="Why publishing is in order although an input states no licence; printed in the card.",
    )
    card: AuthorCard | None = Field(None, description="What you say on the card; it is no part of the fingerprint.")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(target is not None for target in (self.dataset, self.model, self.space)) != 1:
            raise ValueError("give exactly one of 'dataset', 'model' and 'space'")
        if self.tag is not None and not _TAG.match(self.tag):
            raise ValueError(f"tag {self.tag!r} is not a valid tag name: use letters, digits, '.', '_', '-'")
        return self


class Step(Settings):
    """One step: what does the work, on what, how, and where the result goes."""

    uses: str = Field(
        description="What does the work: a step (`hubwright recipes --kinds`), or `package.module:name` of your own."
    )
    inputs: dict[str, str] = Field(default_factory=dict, description="Role -> `org/name@revision` or `steps.NAME`.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="The step's own settings.")
    publish: Publish = Field(description="Where the result goes.")


class Recipe(Settings):
    """A whole recipe."""

    name: str = Field(pattern=_STEP_NAME.pattern, description="Short name; also names the run's folder.")
    description: str = Field("", description="What the recipe makes, in a sentence.")
    namespace: str | None = Field(
        None, min_length=1, description="User or organisation for repositories given without one; null: "
        "HUBWRIGHT_NAMESPACE, else the user of the token.",
    )  # fmt: skip
    card: CardDefaults | None = Field(None, description="What you say on the cards of all steps.")
    steps: dict[str, Step] = Field(min_length=1, description="The steps by name; order follows from the inputs.")


@dataclass(frozen=True)
class PlannedStep:
    """A step after all checks: its spec, its parsed config, its target and its inputs by role."""

    name: str
    spec: StepSpec
    uses: str
    config: BaseModel
    publish: Publish
    target: ArtifactRef
    inputs: dict[str, ArtifactRef | str]
    """An outside reference, or the name of the step that makes it."""
    author: dict[str, Any]
    """What the author says on the card."""


@dataclass(frozen=True)
class Plan:
    """A checked recipe: its steps in an order in which every input exists before it is used.

    Attributes:
        namespace: of repositories given without one.
        value: the recipe as it was read, with changes by `--set` and the text of Markdown files.
    """

    path: Path
    name: str
    description: str
    steps: list[PlannedStep]
    namespace: str | None
    value: dict[str, Any]


def find_recipe(name: str) -> Path:
    """A path as given, the shipped recipe of that name, or the one published with `datasets/org/name@revision`.

    Raises UsageError for a name that is none of them.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    if (published := fetch_recipe(name)) is not None:
        return published
    raise UsageError(f"{name!r} is neither a recipe file nor a shipped recipe{did_you_mean(name, shipped)}")


def shipped_recipes() -> dict[str, Path]:
    """Shipped recipes by name (the file's stem): `recipes/<paper or purpose>/<name>.yaml`."""
    package = Path(__file__).parent
    folder = next(f for f in (package / "recipes", package.parent / "recipes") if f.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*/*.yaml"))}


def load_plan(path: Path, settings: list[str] | None = None, *, user: str = "") -> Plan:
    """Read a recipe, apply `--set` settings (`a.b=c`) and check all of it. Raises UsageError in one line.

    Args:
        user: namespace of a recipe that names none; "": the user whom the hub knows by the token.
    """
    value, where = read_yaml(path)
    return check_recipe(path, value, where, [read_setting(setting) for setting in settings or []], user=user)


def check_recipe(
    path: Path, value: Any, where: Where, settings: Iterable[tuple[str, Any]] = (), *, user: str = ""
) -> Plan:
    """The plan of a recipe's value. Raises UsageError in one line.

    Args:
        path: names the recipe in errors, and its lock file.
        where: lines of the keys, from `read_yaml`; empty for a recipe that was not read from a file.
        settings: (dotted key, value) of what is changed first.
        user: as in `load_plan`.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{path}: a recipe is a mapping with 'name' and 'steps'")
    for dotted, new in settings:
        apply_setting(value, dotted, new)
    inline_files(value, path.parent, lambda at: _place(path, where, at))
    refuse_secrets(value, lambda at: _place(path, where, at))
    recipe: Recipe = validate(Recipe, value, path, where, ())
    targets = [
        step.publish.dataset or step.publish.model or step.publish.space or "" for step in recipe.steps.values()
    ]
    if recipe.namespace is None and not all("/" in name for name in targets):
        recipe = recipe.model_copy(update={"namespace": user or _own_namespace(path)})
    planned = {name: _plan_step(path, where, recipe, name, step) for name, step in recipe.steps.items()}
    steps = _in_order(path, where, planned)
    return Plan(path, recipe.name, recipe.description, steps, recipe.namespace, value)


def _own_namespace(path: Path) -> str:
    """HUBWRIGHT_NAMESPACE, else the name of the token's user. Raises UsageError if there is neither."""
    if namespace := os.environ.get("HUBWRIGHT_NAMESPACE"):
        return namespace
    try:
        return user_name()
    except HubError as error:
        raise UsageError(
            f"{path}: publishes below no namespace, and the hub tells none ({error}): write --set namespace=NAME, or "
            "set HUBWRIGHT_NAMESPACE"
        ) from error


def _plan_step(path: Path, where: Where, recipe: Recipe, name: str, step: Step) -> PlannedStep:
    at = ("steps", name)

    def refuse(message: str, *more: str) -> UsageError:
        return UsageError(f"{_place(path, where, (*at, *more))}: {message}")

    if not _STEP_NAME.match(name):
        raise refuse(f"step name {name!r}: use lower-case letters, digits, '_' and '-', at most 40")
    try:
        spec = spec_of(step.uses)
    except UsageError as error:
        raise refuse(str(error), "uses") from error
    repo = getattr(step.publish, spec.publishes)
    if repo is None:
        raise refuse(
            f"{step.uses} publishes a {spec.publishes}: write 'publish: {{{spec.publishes}: NAME}}'", "publish"
        )
    if "shard_mb" in step.publish.model_fields_set and spec.kind != "builder":
        raise refuse(
            f"shard_mb is for builders; {step.uses} cuts its files itself: leave it out", "publish", "shard_mb"
        )
    try:
        target = ArtifactRef.parse(repo if "/" in repo else f"{recipe.namespace}/{repo}", spec.publishes)
    except UsageError as error:
        raise refuse(str(error), "publish", spec.publishes) from error
    if "@" in repo:
        raise refuse(
            f"{repo!r} names a revision; publishing goes to main, the version is 'tag'", "publish", spec.publishes
        )
    own = step.publish.card
    if own is not None and own.columns and spec.publishes != "dataset":
        raise refuse(f"a {spec.publishes} has no columns: leave them out", "publish", "card", "columns")
    inputs: dict[str, ArtifactRef | str] = {}
    for role, text in step.inputs.items():
        known = spec.role(role)
        if known is None:
            hint = did_you_mean(role, spec.role_names()) if spec.inputs else "; it takes none"
            raise refuse(f"{step.uses} has no input {role!r}{hint}", "inputs", role)
        if text.startswith("steps."):
            source = text.removeprefix("steps.")
            if source not in recipe.steps:
                raise refuse(f"no step is called {source!r}{did_you_mean(source, recipe.steps)}", "inputs", role)
            output = spec_of(recipe.steps[source].uses).publishes if recipe.steps[source].uses else None
            if output != known.type:
                raise refuse(f"{text} is a {output}; {role!r} takes a {known.type}", "inputs", role)
            inputs[role] = source
        else:
            try:
                inputs[role] = ArtifactRef.parse(text, known.type)
            except UsageError as error:
                raise refuse(str(error), "inputs", role) from error
    missing = [n for n, role in spec.inputs.items() if not (n in inputs or role.optional or n.endswith("*"))]
    if missing:
        raise refuse(f"{step.uses} needs the input {missing[0]!r}: add it below 'inputs'")
    settings = step.with_
    ordered = next((name for name, role in spec.inputs.items() if role.ordered), None)
    if ordered and settings.get("order") is None:
        begin = ordered.removesuffix("*")
        settings = settings | {"order": [role.removeprefix(begin) for role in inputs if role.startswith(begin)]}
    config: BaseModel = validate(config_class(spec), settings, path, where, (*at, "with"))
    if (check := getattr(config, "check_inputs", None)) is not None:
        try:
            check(inputs)
        except ValueError as error:
            raise refuse(str(error), "inputs") from error
    # A report adds to a card that has the recipe's fields from the step that made the model.
    author = author_part(None if spec.kind == "card" else recipe.card, own)
    return PlannedStep(name, spec, step.uses, config, step.publish, target, inputs, author)


def _in_order(path: Path, where: Where, planned: dict[str, PlannedStep]) -> list[PlannedStep]:
    graph = {n: [i for i in p.inputs.values() if isinstance(i, str)] for n, p in planned.items()}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise UsageError(f"{path}: steps wait for each other in a circle: {' -> '.join(error.args[1])}") from error
    writers: dict[tuple[str, str], str] = {}
    for name in order:
        step = planned[name]
        key = (step.target.repo_type, step.target.repo_id)
        other = writers.setdefault(key, name)
        # Two steps may share a repository only where the second adds to what the first published.
        if other != name and not (step.spec.kind == "card" and other in graph[name]):
            raise UsageError(
                f"{_place(path, where, ('steps', name, 'publish'))}: steps {other!r} and {name!r} both publish to "
                f"{step.target.repo_id}; give each its own repository"
            )
    return [planned[name] for name in order]


def _place(path: Path, where: Where, at: tuple[str | int, ...]) -> str:
    """`file:line: dotted.key` of the deepest key that stands in the file."""
    dotted = ".".join(str(k) for k in at)
    while at and at not in where:
        at = at[:-1]
    if not where:
        return f"{path}: {dotted}" if dotted else str(path)
    return f"{path}:{where.get(at, 1)}: {dotted}" if dotted else f"{path}:{where.get(at, 1)}"


def validate(model: type[Any], value: Any, path: Path, where: Where, at: tuple[str | int, ...]) -> Any:
    """Build `model` from `value`, or raise one UsageError: where, what was found, what to write instead."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors()
        # Of a value that may have several forms, the form that it came nearest to.
        near = [one for one in errors if one["loc"][:1] == errors[0]["loc"][:1]]
        first = max(near, key=lambda one: len(one["loc"]))
        loc: tuple[str | int, ...] = tuple(first["loc"])
        place = _place(path, where, (*at, *_written(loc, value, first["type"] == "missing")))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UsageError(f"{place}: {_explain(model, first, loc)}{more}") from error


def _written(loc: tuple[str | int, ...], value: Any, missing: bool) -> tuple[str | int, ...]:
    """An error's place without the names that pydantic gives to the forms of a value, which no file has.

    Args:
        missing: the last key is one that should be there.
    """
    keys: list[str | int] = []
    for place, key in enumerate(loc):
        if (isinstance(value, dict) and key in value) or (isinstance(value, list) and isinstance(key, int)):
            value = value[key]  # type: ignore[index]
            keys.append(key)
        elif missing and place == len(loc) - 1:
            keys.append(key)
    return tuple(keys)


def _explain(model: type[BaseModel], error: Any, loc: tuple[str | int, ...]) -> str:
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, loc[:-1])
        return f"unknown key {loc[-1]!r}" + did_you_mean(str(loc[-1]), known, f"; known keys: {', '.join(known)}")
    if error["type"] == "missing":
        return f"{loc[-1]!r} is missing"
    value = error["input"]
    shown = repr(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("dict_type", "model_type", "model_attributes_type"):
        message = "it is not a mapping; write `key: value` lines"
    return f"{message} (found {shown[:80]})"


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys allowed where an unknown one was found, following nested models."""
    here: Any = model
    for key in loc:
        fields = getattr(here, "model_fields", None)
        if fields is None:
            continue  # a step's name or a list's index: the model below stays the same
        field = next((f for n, f in fields.items() if key in (n, f.alias)), None)
        if field is not None:
            here = _inner_model(field.annotation)
    fields = getattr(here, "model_fields", {})
    return [f.alias or n for n, f in fields.items()]


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        model = _inner_model(inner)
        if model is not None:
            return model
    return None


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, `with:` of every kind included; editors complete and check by it."""
    from .catalog import catalog

    schema = Recipe.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    rules = []
    for uses, spec in catalog().items():
        config = config_class(spec).model_json_schema(by_alias=True, ref_template=f"#/$defs/{uses}.{{model}}")
        for name, inner in config.pop("$defs", {}).items():
            definitions[f"{uses}.{name}"] = inner
        definitions[f"{uses}.with"] = config
        rules.append(
            {
                "if": {"properties": {"uses": {"const": uses}}},
                "then": {"properties": {"with": {"$ref": f"#/$defs/{uses}.with"}}},
            }
        )
    step = definitions["Step"]
    step["properties"]["uses"] |= {"anyOf": [{"enum": list(catalog())}, {"pattern": r"^[\w.]+:\w+$"}]}
    step["allOf"] = rules
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
