"""The recipe and the lock that are published with a result: written so that they run elsewhere, and read back.

    hubwright run datasets/me/drills@v1.0.0 --set namespace=YOU

A repository has the steps that its result follows from, and no others. Files of the author's machine are named by
their place below the current folder, or by their name; Hub data sets read as a `source` stand with their commit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .hub_sync.errors import HubError, UsageError
from .hub_sync.lock import RecipeLock, lock_text
from .hub_sync.provenance import RECIPE_FILES
from .hub_sync.pull import pull
from .sources import KEYS, path_elsewhere

if TYPE_CHECKING:
    from .hub_sync.refs import ArtifactRef
    from .making import Job
    from .recipe import Plan

logger = logging.getLogger("hubwright")

_PUBLISHED = re.compile(r"(datasets|models|spaces)/[^/\s]+/[^/\s]+")
_LOCAL_PATH = re.compile(r"([\w-]+:)?(~?/\S+)")
_IN_PACKAGE = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+")  # `package:folder`, which is the same elsewhere
_SECRET_KEYS = frozenset({
    "apikey", "openaiapikey", "password", "passwd", "secret", "clientsecret", "hftoken", "accesstoken", "authtoken",
    "bearertoken", "authorization",
})  # fmt: skip
_SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[opsu]_[A-Za-z0-9]{30,}|\bAKIA[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@"
)


@dataclass(frozen=True)
class PublishedRecipe:
    """Texts of `recipe.yaml` and `recipe.lock`, and the local files and code that the recipe reads: name, SHA-256 and
    bytes of each."""

    files: dict[str, str]
    needs: list[dict[str, Any]]


def publish_form(plan: Plan, target: ArtifactRef, jobs: Mapping[str, Job], lock: RecipeLock) -> PublishedRecipe | None:
    """The part of a recipe that makes one repository; None if it only adds a report to what another recipe made.

    Args:
        target: the repository.
        jobs: the steps of which the inputs are known so far, by name.
        lock: of the run.
    """
    steps = {step.name: step for step in plan.steps}
    goals = [step.name for step in plan.steps if step.target.place == target.place]
    if all(steps[name].spec.kind == "card" for name in goals):
        return None
    names, todo = set[str](), list(goals)
    while todo:
        if (name := todo.pop()) not in names:
            names.add(name)
            todo += [source for source in steps[name].inputs.values() if isinstance(source, str)]
    namespace = plan.namespace or target.repo_id.partition("/")[0]
    value = {**plan.value, "namespace": namespace}
    value["steps"] = {
        name: _portable_step(step, jobs[name].recorded if name in jobs else {}, namespace)
        for name, step in plan.value["steps"].items()
        if name in names
    }
    order = [key for key in ("name", "description", "namespace", "card", "steps") if value.get(key) is not None]
    text = yaml.dump(_plain({key: value[key] for key in order}), Dumper=_Dumper, sort_keys=False, allow_unicode=True,
                     width=1000)  # fmt: skip
    needs: list[dict[str, Any]] = []
    for name in sorted(names & jobs.keys()):
        needs += [source for source in jobs[name].sources.values() if source not in needs]
    called = [need.get("path", need["name"]) for need in needs]
    if twice := {name for name in called if called.count(name) > 1}:
        logger.warning(
            "warning: %s: the published recipe cannot tell apart two files called %s: put them into folders below the "
            "current one", target.repo_id, min(twice),
        )  # fmt: skip
    locked = lock_text(
        *_lock_of(names, jobs, lock), {name: n["sha256"] for name, n in zip(called, needs, strict=True)}
    )
    return PublishedRecipe({RECIPE_FILES[0]: text, RECIPE_FILES[1]: locked}, needs)


def _portable_step(step: Mapping[str, Any], recorded: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A step's value with repositories below `namespace` by name alone, and with no path of this machine."""
    publish = {
        key: value.removeprefix(f"{namespace}/") if key in ("dataset", "model", "space") and value else value
        for key, value in step["publish"].items()
    }
    result = {**step, "publish": publish}
    return result | ({"with": portable(step["with"], recorded)} if step.get("with") else {})


def portable(value: Any, recorded: Any = None, key: str = "") -> Any:
    """Settings as they run elsewhere.

        >>> portable({"source": "/home/me/rows.jsonl"}, {"source": "rows.jsonl"})
        {'source': 'rows.jsonl'}

    Args:
        value: the settings as the recipe says them.
        recorded: the same as provenance has them, where known: a source resolved to a commit, the content of a file.
        key: the setting's name.
    """
    if isinstance(value, Mapping):
        known = recorded if isinstance(recorded, Mapping) else {}
        return {name: portable(inner, known.get(name), str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        same = isinstance(recorded, list) and len(recorded) == len(value)
        pairs = zip(value, recorded if same else [None] * len(value), strict=True)
        return [portable(inner, one, key) for inner, one in pairs]
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if isinstance(recorded, Mapping | list) and _exists(text):
        return recorded  # the settings read this file
    if key in KEYS and "://" not in text and _exists(text):
        return path_elsewhere(text)
    if key in KEYS and isinstance(recorded, str):
        return text if _IN_PACKAGE.fullmatch(text) else recorded
    path = _LOCAL_PATH.fullmatch(text)
    return f"{path[1] or ''}{Path(path[2]).name}" if path and _exists(path[2]) else text


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long for a path, the home of an unknown user, a null character
        return False


def _lock_of(
    names: set[str], jobs: Mapping[str, Job], lock: RecipeLock
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """(inputs, steps) of the lock: what these steps read and published in this run, without the hub's address."""
    steps = {
        name: {key: value for key, value in entry.items() if key != "endpoint"}
        for name, entry in lock.steps.items()
        if name in names & jobs.keys() and entry["fingerprint"] == jobs[name].fingerprint
    }
    read = {f"{ref.repo_id}@{ref.revision}" for name in names & jobs.keys() for ref in jobs[name].inputs.values()}
    inputs = {
        key: commit
        for key, commit in lock.inputs.items()
        if f"{key.partition(' ')[2].partition('@')[0]}@{commit}" in read
    }
    return inputs, steps


def fetch_recipe(text: str) -> Path | None:
    """The `recipe.yaml` of a published artifact in the cache, its lock beside it; None for text of another form.

    Args:
        text: `datasets/org/name@revision`; also models/ and spaces/.

    Raises HubError for an artifact that is absent, UsageError for one that holds no recipe.
    """
    from .verification import find_artifact

    if not _PUBLISHED.fullmatch(text):
        return None
    ref = find_artifact(text).resolve()
    try:
        return pull(ref, list(RECIPE_FILES)) / RECIPE_FILES[0]
    except HubError as error:
        if "has no file" not in str(error):
            raise
        raise UsageError(f"{text} holds no {RECIPE_FILES[0]}: save the recipe on its card, and run that") from error


def published_lock(recipe: Path) -> Path | None:
    """The lock beside a recipe that came from the hub; None for a recipe of this machine."""
    from huggingface_hub import constants

    in_cache = Path(constants.HF_HUB_CACHE).resolve() in recipe.parent.resolve().parents
    return recipe.with_name(RECIPE_FILES[1]) if in_cache else None


def refuse_secrets(value: Any, place: Callable[[tuple[str | int, ...]], str], at: tuple[str | int, ...] = ()) -> None:
    """Raises UsageError for a key or password in a recipe, which is published with the result.

    Args:
        place: gives the place of a key in words.
    """
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        refuse_secrets(inner, place, (*at, key))
    name = re.sub(r"[-_]", "", str(at[-1])).lower() if at else ""
    if isinstance(value, str) and ((name in _SECRET_KEYS and len(value) >= 8) or _SECRET.search(value)):
        raise UsageError(
            f"{place(at)}: this looks like a key or password, and recipes are published: put it into the environment "
            "(HF_TOKEN, OPENAI_API_KEY), and drop it here"
        )


class _Dumper(yaml.SafeDumper):
    """YAML that `read_yaml` takes: no anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _plain(value: Any) -> Any:
    """What YAML has a form for: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
