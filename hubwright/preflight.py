"""What is known before a run works: whether licences let every step publish, and this machine has what it needs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .hub_sync.adapters import adapter_base
from .hub_sync.errors import HubError, UsageError
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef
from .recipe import PlannedStep

CARD = ["README.md", ".gitattributes"]


def check_licences(
    steps: Sequence[PlannedStep],
    published: Mapping[str, ArtifactRef | None],
    at_commit: Callable[[ArtifactRef], ArtifactRef],
) -> None:
    """Apply the licence rules to steps that have not worked yet.

    An input that cannot be read yet, and a licence that only the work itself brings, are left out: what is refused
    here would be refused after the work.

    Args:
        steps: the steps to come, in the order in which they run.
        published: commit of every earlier step by name; None where it has none.
        at_commit: gives an outside reference its commit.

    Raises DataError or UsageError, as `licences.decide`, naming the step and the input.
    """
    from .model_cards import licences

    predicted: dict[str, licences.Right | None] = {}

    def right_of(source: str | ArtifactRef) -> licences.Right | None:
        if isinstance(source, str) and source in predicted:
            return predicted[source]
        ref = published.get(source) if isinstance(source, str) else source
        if ref is None:
            return None
        try:
            return licences.of_card(pull(ref if isinstance(source, str) else at_commit(ref), CARD), ref.repo_id)
        except HubError:
            return None

    def base_of(source: str | ArtifactRef) -> ArtifactRef | None:
        """The base of an adapter from outside; a step's own adapter has its base's licence."""
        try:
            return None if isinstance(source, str) else adapter_base(at_commit(source))
        except HubError:
            return None

    for step in steps:
        sources: dict[str, str | ArtifactRef] = dict(step.inputs)
        for role in step.spec.folding(step.inputs):
            if (base := base_of(step.inputs[role])) is not None:
                sources[f"{role}.base"] = base
        rights = {role: right_of(source) for role, source in sources.items()}
        known = {role: right for role, right in rights.items() if right is not None}
        own = getattr(step.config, "license", None)
        decided = licences.decide(
            step.name,
            licences.carrying(known),
            own=own,
            own_name=getattr(step.config, "license_name", None),
            **step_rules(step),
        )
        predicted[step.name] = licences.of_decision(decided, f"steps.{step.name}") if own or known else None


def check_machine(steps: Iterable[PlannedStep]) -> None:
    """Raises UsageError, naming the step, for settings that need what this machine has not (their `lacks()`)."""
    for step in steps:
        lacks = getattr(step.config, "lacks", None)
        if lacks is not None and (absent := lacks()):
            raise UsageError(f"step {step.name}: {absent}")


def step_rules(step: PlannedStep) -> dict[str, Any]:
    """What the recipe says of a step's licence, as arguments of `licences.decide`."""
    publish = step.publish
    return {"declared": publish.license, "accepted": publish.accept_unlicensed, "private": publish.private}
