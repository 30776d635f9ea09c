"""What is known of a run before it works: whether each step can work, on what, and whether it may publish.

Of inputs the cards, tokenizers and columns are read, as far as a step's settings ask for them. What cannot be known
yet is left to the step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from .disk import Need
from .estimate import Estimate
from .hub_sync.adapters import adapter_base
from .hub_sync.errors import HubError, HubwrightError, SeveralErrors, UsageError
from .hub_sync.hub import translate_errors
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef
from .hub_sync.step import Preview
from .recipe import PlannedStep
from .sources import ABSENT, missing_sources, places

CARD = ["README.md", ".gitattributes"]
_WHOLE = ("train", "eval")
"""Extras of which a step needs every package. Of the others it needs those that its settings call for."""


@dataclass
class Outlook:
    """What is known of a step that has not worked yet.

    Attributes:
        inputs: role -> `org/name@commit`, or `steps.NAME` for what a step of the recipe will publish.
        warnings: what may go wrong, one line each.
        faults: what will go wrong; the run is refused.
        disk, estimate: what it needs on disk and in time, in a dry run.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[HubwrightError] = field(default_factory=list)
    disk: Need | None = None
    estimate: Estimate | None = None

    @contextmanager
    def collected(self, step: str) -> Iterator[None]:
        """An error within becomes a fault that names the step."""
        try:
            yield
        except HubwrightError as error:
            text = str(error)
            self.faults.append(error if text.startswith(f"step {step}") else type(error)(f"step {step}: {text}"))


def examine(
    steps: Sequence[PlannedStep],
    published: Mapping[str, ArtifactRef | None],
    at_commit: Callable[[ArtifactRef], ArtifactRef],
) -> dict[str, Outlook]:
    """The outlook of steps by name.

    Args:
        steps: the steps to come, in the order in which they run.
        published: commit of every earlier step by name; None where it has none.
        at_commit: gives an outside reference its commit.
    """
    at_commit = cache(at_commit)
    outlooks: dict[str, Outlook] = {}
    previews: dict[str, Preview] = {}
    rights: dict[str, Any] = {}
    for step in steps:
        outlook = outlooks[step.name] = Outlook()
        known: dict[str, ArtifactRef] = {}
        for role, source in step.inputs.items():
            outlook.inputs[role] = f"steps.{source}" if isinstance(source, str) else str(source)
            with outlook.collected(f"{step.name}: inputs.{role}"):
                ref = published.get(source) if isinstance(source, str) else at_commit(source)
                if ref is not None:
                    known[role], outlook.inputs[role] = ref, str(ref)
        for name, value in missing_sources(step.config):
            outlook.faults.append(UsageError(f"step {step.name}: with.{name}: {value!r} is {ABSENT}"))
        for place in places(step.config.model_dump(mode="json")):
            if isinstance(place, ArtifactRef):
                with outlook.collected(step.name):
                    at_commit(place)
        with outlook.collected(step.name):
            check_machine(step)
        if any(map(step.spec.is_endpoint, step.inputs)) and find_spec("xllamacpp") is None:
            outlook.warnings.append(
                "serving a model needs xllamacpp, unless all is replayed: pip install 'hubwright[llm]'"
            )
        if outlook.faults:  # what follows would tell the same once more
            continue
        with outlook.collected(step.name):
            rights[step.name] = _licence(step, known, rights)
        with outlook.collected(step.name):
            previews[step.name] = _preview(step, known, previews)
            outlook.warnings += previews[step.name].warnings
    return outlooks


def refuse(outlooks: Mapping[str, Outlook]) -> None:
    """Raises what was found to be wrong, if there is anything."""
    faults = [fault for outlook in outlooks.values() for fault in outlook.faults]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise SeveralErrors(faults)


def check_machine(step: PlannedStep) -> None:
    """Raises UsageError for packages of the step's extra that are not installed, and for settings that need what this
    machine has not (their `lacks()`)."""
    if step.spec.extra in _WHOLE and (absent := missing_packages(step.spec.extra)):
        raise UsageError(
            f"step {step.name}: {step.uses} needs {', '.join(absent)}: pip install 'hubwright[{step.spec.extra}]'"
        )
    lacks = getattr(step.config, "lacks", None)
    if callable(lacks) and (absent := lacks()):
        raise UsageError(f"step {step.name}: {absent}")


def missing_packages(extra: str) -> list[str]:
    """The packages of a pip extra of hubwright's that are not installed."""
    missing = []
    for text in metadata.requires("hubwright") or ():
        need = Requirement(text)
        if need.marker is None or not need.marker.evaluate({"extra": extra}):
            continue
        try:
            metadata.version(need.name)
        except metadata.PackageNotFoundError:
            missing.append(need.name)
    return missing


def _preview(step: PlannedStep, known: Mapping[str, ArtifactRef], previews: Mapping[str, Preview]) -> Preview:
    """What the step will publish. Raises a HubwrightError for inputs that it cannot work with."""
    inputs = {}
    for role, source in step.inputs.items():
        if role in known:
            inputs[role] = Preview(str(known[role]), known[role])
        elif isinstance(source, str):
            inputs[role] = replace(previews.get(source, Preview()), name=f"steps.{source}")
    preview = getattr(step.config, "preview", None)
    if not callable(preview):
        return Preview(columns=step.spec.columns)
    result: Preview = preview(inputs)
    return result if step.spec.publishes == "model" else replace(result, source=None)


def _licence(step: PlannedStep, known: Mapping[str, ArtifactRef], rights: Mapping[str, Any]) -> Any:
    """The licence of what the step will publish, by the licence rules; None if only the work itself brings it.

    What is refused here would be refused after the work. Raises DataError or UsageError, as `licences.decide`.
    """
    from .model_cards import licences

    sources: dict[str, licences.Right | None] = {}
    for role, source in step.inputs.items():
        if role in known:
            sources[role] = _right(known[role])
        elif isinstance(source, str):
            sources[role] = rights.get(source)
    for role in step.spec.folding(known):
        try:
            if not isinstance(step.inputs[role], str) and (base := adapter_base(known[role])) is not None:
                sources[f"{role}.base"] = _right(base)
        except HubError:
            continue
    stated = {role: right for role, right in sources.items() if right is not None}
    sources_own = (getattr(source, "license", None) for source in getattr(step.config, "sources", ()))
    own = getattr(step.config, "result_license", None) or getattr(step.config, "license", None)
    own = own or next(filter(None, sources_own), None)
    decided = licences.decide(
        step.name,
        licences.carrying(stated),
        own=own,
        own_name=getattr(step.config, "license_name", None),
        **step_rules(step),
    )
    return licences.of_decision(decided, f"steps.{step.name}") if own or stated else None


def _right(ref: ArtifactRef) -> Any:
    """The licence that the card of a repository states; None if the hub does not give it."""
    from huggingface_hub import HfApi

    from .model_cards import licences

    try:
        with translate_errors(f"{ref.repo_type} {ref}"):
            has_card = HfApi().file_exists(**ref.place, filename=CARD[0], revision=ref.revision)
        if not has_card:
            return licences.Right(licences.UNSTATED, repo=ref.repo_id)
        return licences.of_card(pull(ref, CARD), ref.repo_id)
    except HubError:
        return None


def step_rules(step: PlannedStep) -> dict[str, Any]:
    """What the recipe says of a step's licence, as arguments of `licences.decide`."""
    publish = step.publish
    return {"declared": publish.license, "accepted": publish.accept_unlicensed, "private": publish.private}
