"""Licence algebra: the licence of a result follows from its inputs; conflicts are refused with the chain shown.

The classes in `licences.yaml` are our reading and no legal advice. Rules:
- inputs that only ask for attribution: the main input's licence is kept, the others are named in the card;
- one licence that restricts (share-alike, non-commercial, no-derivatives, model terms): the result carries it;
- two different ones that restrict: refused;
- no licence stated upstream: all rights reserved, so publishing in public needs a reason in the recipe.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..hub_sync.card_yaml import parse_metadata, split_card
from ..hub_sync.errors import DataError, UsageError
from ..hub_sync.licence_ids import licence_id

_CLASSES = yaml.safe_load(Path(__file__).with_name("licences.yaml").read_text(encoding="utf-8"))
PUBLIC_DOMAIN, ATTRIBUTION = frozenset(_CLASSES["public_domain"]), frozenset(_CLASSES["attribution"])
_NO_DERIVATIVES = re.compile(r"^cc-by(-nc)?-nd-")
UNSTATED = "none-stated-by-upstream"
"""license_name of rows whose authors state no licence; "other" with this name, or with none, counts as it."""


@dataclass(frozen=True)
class Right:
    """The licence one input states: a Hub licence id or UNSTATED, the `name` of an "other" one, and for errors the
    `fault` of a card that states none and the `repo`.
    """

    licence: str
    name: str | None = None
    fault: str = ""
    repo: str = ""


def read_card_metadata(folder: Path) -> dict[str, Any]:
    """The YAML header of a pulled repository's README.md; empty where there is none.

    Raises ValueError in one line where it cannot be read.
    """
    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    return parse_metadata(split_card(text)[0])


def of_card(folder: Path, repo: str = "") -> Right:
    """The licence that the card of a pulled repository, `repo` in errors, states.

    A licence as people write it (`MIT`, `Apache 2.0`) is read as its id; one that the Hub does not know is "other"
    with that name.
    """
    return replace(_stated(folder), repo=repo)


def _stated(folder: Path) -> Right:
    try:
        data = read_card_metadata(folder)
    except ValueError as error:
        return Right(UNSTATED, fault=f"the metadata of README.md cannot be read: {error}")
    licence, name = _single(data.get("license")), _single(data.get("license_name"))
    if isinstance(licence, list):
        return Right(UNSTATED, fault=f"README.md names {len(licence)} licences ({', '.join(map(str, licence))[:80]})")
    if licence is None:
        return Right(UNSTATED)
    for value in (licence, name or ""):
        if not isinstance(value, str):
            return Right(UNSTATED, fault=f"README.md's licence {str(value)[:60]!r} is not text")
    identifier = licence_id(licence)
    if identifier == "unknown" or licence.strip().lower() in _CLASSES["none"]:
        return Right(UNSTATED)
    if identifier is None:
        return Right("other", licence.strip())
    if identifier == "other" and name in (None, "", UNSTATED):
        return Right(UNSTATED)
    return Right(identifier, name)


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def of_decision(decided: Mapping[str, Any], repo: str) -> Right:
    unstated = decided["id"] == "other" and decided["name"] in (None, UNSTATED)
    return Right(UNSTATED if unstated else decided["id"], decided["name"], repo=repo)


def carrying(rights: Mapping[str, Right]) -> dict[str, Right]:
    """The inputs whose licence carries over: not the test sets that the result is only compared with."""
    return {role: right for role, right in rights.items() if not role.startswith("decontaminate_against")}


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
        inputs: what `of_card` gave, by role.
        own: licence of rows the step itself brings (a builder's source); "other" with no `own_name` means unstated.
        declared: what the recipe says the result's licence is.
        accepted: the recipe's reason for publishing although a licence is unstated.
        private: a private repository is not a redistribution, so an unstated licence passes.

    Raises DataError with the chain for licences that conflict or an unstated one; UsageError for an incompatible
    declared one.
    """
    everything = dict(inputs)
    if own is not None:
        nameless = own == "other" and own_name in (None, UNSTATED)
        everything = {"source": Right(UNSTATED if nameless else own, own_name), **everything}
    chain = [{"from": role, "license": r.licence, "name": r.name} for role, r in everything.items()]
    called = {role: f"{role} {r.repo}".rstrip() for role, r in everything.items()}
    shown = ", ".join(f"{called[role]} is {r.name or r.licence}" for role, r in everything.items())
    unstated_roles = [role for role, r in everything.items() if r.licence == UNSTATED]
    if unstated_roles and not private and not accepted:
        faults = "".join(f": {everything[role].fault}" for role in unstated_roles if everything[role].fault)
        unstated = " and ".join(called[role] for role in unstated_roles)
        raise DataError(
            f"step {step}: {unstated} states no licence, so it must not be published in public{faults} "
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
    licences = [right.licence for right in everything.values()]
    return next((one for one in licences if one in ATTRIBUTION), next(iter(licences), "other"))
