"""Licence algebra: the licence of a result follows from its inputs, and a conflict is refused with the chain shown.

The classes below are our reading for the purpose of not publishing by accident what should not be; they are no legal
advice. Rules:
- inputs that only ask for attribution: the main input's licence is kept, the others are named in the card;
- one licence that restricts (share-alike, non-commercial, no-derivatives, model terms): the result carries it;
- two different ones that restrict: refused;
- no licence stated anywhere upstream: all rights reserved, so publishing in public needs a reason in the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub_sync.errors import DataError, UsageError

PUBLIC_DOMAIN = frozenset({"cc0-1.0", "unlicense", "pddl", "wtfpl"})
ATTRIBUTION = frozenset(
    {
        "apache-2.0", "mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "zlib", "ms-pl",
        "postgresql", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by", "cdla-permissive-1.0",
        "cdla-permissive-2.0", "artistic-2.0", "bsl-1.0", "ncsa",
    }
)  # fmt: skip
_NO_DERIVATIVES = re.compile(r"^cc-by(-nc)?-nd-")
UNSTATED = "none-stated-by-upstream"
"""license_name of rows whose authors state no licence; "other" with this name, or with none, counts as it."""


@dataclass(frozen=True)
class Right:
    """The licence one input states: a Hub licence id, or UNSTATED; `name` explains an id of "other"."""

    licence: str
    name: str | None = None


def read_card_metadata(folder: Path) -> dict[str, Any]:
    """The YAML header of a pulled repository's README.md; empty where there is none."""
    from huggingface_hub import RepoCard

    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        return RepoCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict()
    except ValueError:
        return {}


def of_inputs(folders: Mapping[str, Path]) -> dict[str, Right]:
    """The licence of every pulled input by role, as its own card states it."""
    rights = {}
    for role, folder in folders.items():
        data = read_card_metadata(folder)
        said = data.get("license")
        said = said[0] if isinstance(said, list) and len(said) == 1 else said
        if not isinstance(said, str) or said in ("unknown", ""):
            said = UNSTATED
        name = data.get("license_name")
        if said == "other" and name in (None, UNSTATED):
            said = UNSTATED
        rights[role] = Right(said, name)
    return rights


def decide(
    step: str,
    inputs: Mapping[str, Right],
    *,
    own: str | None = None,
    own_name: str | None = None,
    declared: str | None = None,
    accepted: str | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """The result's licence: `{"id", "name", "chain", "accepted"}`.

    Args:
        step: for the error's text.
        inputs: what `of_inputs` gave.
        own: licence of rows the step itself brings (a builder's source); "other" with no name means unstated.
        own_name: explains `own` where it is "other".
        declared: what the recipe says the result's licence is.
        accepted: the recipe's reason for publishing although a licence is unstated.
        private: a private repository is not a redistribution, so an unstated licence passes.

    Raises DataError with the chain where the inputs' licences conflict, or one is unstated and not accepted;
    UsageError where the declared licence is not compatible with them.
    """
    everything = dict(inputs)
    if own is not None:
        unstated = own == "other" and own_name in (None, UNSTATED)
        everything = {"source": Right(UNSTATED if unstated else own, own_name), **everything}
    chain = [{"from": role, "license": r.licence, "name": r.name} for role, r in everything.items()]
    shown = ", ".join(f"{role} is {r.name or r.licence}" for role, r in everything.items())
    unstated_roles = [role for role, r in everything.items() if r.licence == UNSTATED]
    if unstated_roles and not private and not accepted:
        raise DataError(
            f"step {step}: {' and '.join(unstated_roles)} states no licence, so it must not be published in public "
            "(set publish.private: true, or publish.accept_unlicensed: 'the reason why it is in order')"
        )
    restricting = {
        (r.licence, r.name)
        for r in everything.values()
        if r.licence != UNSTATED and r.licence not in PUBLIC_DOMAIN | ATTRIBUTION
    }
    forbids = [licence for licence, _ in restricting if _NO_DERIVATIVES.match(licence)]
    if forbids and inputs:
        raise DataError(f"step {step}: {forbids[0]} allows no derivatives ({shown})")
    if len(restricting) > 1:
        raise DataError(f"step {step}: licences conflict, the result cannot carry both: {shown}")
    if restricting:
        licence, name = next(iter(restricting))
        if declared not in (None, licence):
            raise UsageError(f"step {step}: publish.license {declared!r} conflicts with the inputs: {shown}")
    elif unstated_roles:
        licence, name = declared or "other", None if declared else UNSTATED
    else:
        licence, name = declared or _main_licence(everything), None
        if declared in PUBLIC_DOMAIN and any(r.licence in ATTRIBUTION for r in everything.values()):
            raise UsageError(f"step {step}: publish.license {declared!r} drops the attribution owed: {shown}")
    return {"id": licence, "name": name, "chain": chain, "accepted": accepted if unstated_roles else None}


def _main_licence(everything: Mapping[str, Right]) -> str:
    """The licence to keep among those that only ask for attribution: the source's, the model's, the data set's."""
    for role in ("source", "model", "dataset"):
        if role in everything and everything[role].licence in ATTRIBUTION:
            return everything[role].licence
    found = next((r.licence for r in everything.values() if r.licence in ATTRIBUTION), None)
    return found or next((r.licence for r in everything.values()), "other")
