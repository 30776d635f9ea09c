"""Which tasks there are, and which data sets they load, by the text of their files.

lm-eval's own index parses 14,000 YAML files, which takes about 20 times as long as to search their text.
"""

import fnmatch
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...hub_sync.errors import HubError, UsageError, did_you_mean
from ...hub_sync.text import utf8
from .._lib.data import tasks_dir

logger = logging.getLogger("hubwright")
# `task: NAME`, `group: NAME`, `tag: NAME`; `tag:` with a list. A list below `task:` is of a group's members.
_NAMES = re.compile(
    rb"""^["']?(?:(?:task|group|tag)["']?:[ \t]*(["']?[\w.+-][^\n#]*)"""
    rb"""|tag["']?:[^\n\w]*((?:\n[ \t]*-[^\n]*)+|\[[^\]]*\]))""",
    re.MULTILINE,
)
_FORMATS = ("arrow", "csv", "json", "parquet", "text")  # of files that a task names by itself
_MOST_FILES = 300  # of one name that are read for its data sets; the largest group has 250


@cache
def task_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files of a folder that define a task, a group or a tag, by its name."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*yaml")):  # what tasks include ends in _yaml
        for scalar, several in _NAMES.findall(path.read_bytes()):
            words = re.findall(rb"[\w.+][^\s,'\"\]]*", several) if several else [scalar.strip(b" \t\r\"'")]
            for word in words:
                files.setdefault(word.decode("utf-8", "replace"), []).append(path)
    return {name: tuple(paths) for name, paths in files.items()}


def folders(own: Path | None) -> list[Path]:
    """Where tasks are looked for: ours, `own`, lm-eval's. Raises UsageError if lm-eval is not installed."""
    package = find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        raise UsageError("lm-eval is not installed: pip install 'hubwright[eval]'")
    return [tasks_dir(), *([own] if own else []), Path(package.submodule_search_locations[0], "tasks")]


def check_known(names: Sequence[str], own: Path | None = None) -> None:
    """Raises UsageError for a name or glob pattern that matches no task, group or tag.

    A name that stands in the text of some file in another way is looked up in lm-eval's own index.
    """
    known: set[str] = set()
    missing = list(names)
    for folder in folders(own):
        known |= task_files(folder).keys()
        missing = [name for name in missing if name not in known and not fnmatch.filter(known, name)]
        if not missing:
            return
    if not any(_stands_in(folder, name) for name in missing for folder in folders(own)):
        raise unknown(missing, known)
    logger.info("looking for %s in lm-eval's index of tasks", ", ".join(missing))
    from .own_tasks import find_tasks

    find_tasks(names, include_path=str(own) if own else None)


def unknown(missing: Sequence[str], known: Iterable[str]) -> UsageError:
    """The error about names that are no tasks."""
    near = did_you_mean(missing[0], known, "")
    return UsageError(
        f"task {', '.join(missing)} is unknown{near}; `hubwright tasks list` names ours, `lm_eval ls tasks` upstream's"
    )


def _stands_in(folder: Path, name: str) -> bool:
    """Whether a file of a folder holds the word, or the name is a pattern, which the text does not tell."""
    word = utf8(name)
    return any(c in name for c in "*?[") or any(word in path.read_bytes() for path in folder.rglob("*yaml"))


def are_ours(names: Sequence[str]) -> bool:
    """Whether all of these are tasks or groups of ours."""
    return all(name in task_files(tasks_dir()) for name in names)


def data_sets(names: Sequence[str], own: Path | None = None) -> set[str]:
    """Data sets on the Hub that the tasks of these names load by lm-eval's own code, which ours do not use."""
    if are_ours(names):
        return set()
    from lm_eval.tasks._yaml_loader import load_yaml

    files = {name: path for folder in reversed(folders(own)) for name, path in task_files(folder).items()}
    left = [match for name in names for match in ([name] if name in files else fnmatch.filter(files, name))]
    seen: set[Path] = set()
    result: set[str] = set()
    while left and len(seen) < _MOST_FILES:
        name = left.pop()
        for path in files.get(name, ()):
            if path in seen or len(seen) >= _MOST_FILES:
                continue
            seen.add(path)
            try:
                config = load_yaml(path, resolve_func=False, recursive=True)
            except Exception as error:  # the step itself says what is wrong with it
                logger.debug("%s: %s", path, error)
                continue
            left += list(_members(config.get("task")))
            source = config.get("dataset_path")
            if isinstance(source, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) and source not in _FORMATS:
                result.add(source)
    return result


def out_of_reach(sources: Iterable[str]) -> Iterator[str]:
    """A warning for each data set that the hub in use does not have. It may still be in the cache of `datasets`."""
    from huggingface_hub import HfApi

    from ...hub_sync.hub import endpoint_url, translate_errors

    api = HfApi()
    for source in sorted(sources):
        try:
            with translate_errors(f"dataset {source}"):
                there = api.repo_exists(source, repo_type="dataset")
        except HubError:
            continue
        if not there:
            yield (
                f"the tasks load {source}, which {endpoint_url()} does not have: upload it there, unless the cache of "
                "`datasets` holds it"
            )


def _members(task: Any) -> Iterator[str]:
    """The names of a group's members."""
    if isinstance(task, list):
        for one in task:
            if isinstance(one, str):
                yield one
            elif isinstance(one, dict):
                name = one.get("task", one.get("group"))
                yield from [name] if isinstance(name, str) else _members(name)
