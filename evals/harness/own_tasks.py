"""Where tasks are found: ours, lm-eval's, and a recipe's own: a folder of YAML files with their code, or one file."""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError, first_line
from ...hub_sync.files import list_files
from ...hub_sync.text import utf8
from ...inference.launch import LAUNCHED
from .._lib.data import tasks_dir
from .known_tasks import task_files, unknown

MOST_BYTES = 10_000_000
FOLDER = "tasks"


def copied(include_path: str | None, context: StepContext) -> Path | None:
    """The checked copy of `include_path` in the work folder, which is what runs and what is published."""
    if include_path is None:
        return None
    folder = context.workdir / FOLDER
    if LAUNCHED not in os.environ:
        copy_tasks(Path(include_path).expanduser(), folder)
        check_names(folder)
    return folder


@contextmanager
def temporary_copy(include_path: str | None) -> Iterator[Path | None]:
    """A checked copy of `include_path` to be looked at; None without one."""
    if include_path is None:
        yield None
        return
    with TemporaryDirectory() as folder:
        copy_tasks(Path(include_path).expanduser(), Path(folder) / FOLDER)
        check_names(Path(folder) / FOLDER)
        yield Path(folder) / FOLDER


def check_path(text: str) -> str:
    """The path; for `package:folder` that of a folder in an installed package. Raises ValueError in one line if it is
    no folder with YAML files, and no YAML file."""
    path = Path(text).expanduser()
    package, colon, inside = text.partition(":")
    if colon and not path.exists():
        try:
            found = find_spec(package)  # runs no code of the package
        except (ImportError, ValueError):
            found = None
        if found is None or not found.submodule_search_locations:
            raise ValueError(f"{text!r}: there is no package {package!r}: install it")
        path = Path(next(iter(found.submodule_search_locations)), inside)
        if not path.is_dir():
            raise ValueError(f"{text!r}: the package {package!r} has no folder {inside!r}")
        text = str(path)
    if path.is_dir():
        if not any(path.rglob("*.yaml")):
            raise ValueError(f"{text!r} holds no .yaml file of a task")
    elif not path.is_file() or path.suffix != ".yaml":
        raise ValueError(f"{text!r} is no folder and no .yaml file here; paths are relative to the current folder")
    elif match := re.search(r"!function\s+\S+|^include:.*", path.read_text(encoding="utf-8"), re.MULTILINE):
        raise ValueError(f"{text!r} needs a file beside it ({match[0]}): name the folder, so that both are published")
    return text


def copy_tasks(source: Path, target: Path) -> None:
    """Copy the files of tasks, which are run from there and published from there.

    Raises UsageError in one line for more than 10 MB, a link, or a file that names its own folder on this machine.
    """
    if link := next((path for path in source.rglob("*") if path.is_symlink()), None):
        raise UsageError(f"include_path: {link.name} is a link, which is not published: put the file itself there")
    files = [source] if source.is_file() else [path for path in list_files(source) if _counts(path, source)]
    if (size := sum(path.stat().st_size for path in files)) > MOST_BYTES:
        raise UsageError(f"include_path {source.name}: {size:,} bytes: keep data in a data set, 10 MB at most here")
    base, home = source if source.is_dir() else source.parent, str(source.resolve())
    shutil.rmtree(target, ignore_errors=True)
    for path in files:
        if utf8(home) in path.read_bytes():
            raise UsageError(
                f"include_path: {path.name} names the folder {home}: write paths relative to where the recipe runs"
            )
        copy = target / base.name / path.relative_to(base) if source.is_dir() else target / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _counts(path: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)


def check_names(folder: Path) -> set[str]:
    """The names of the tasks and groups of a folder. Raises UsageError for a file that cannot be read, and for a name
    that it has twice, or that is one of ours or of lm-eval's: its figures would pass for those of the other."""
    from lm_eval.tasks._yaml_loader import load_yaml

    names: dict[str, str] = {}
    for path in sorted(folder.rglob("*.yaml")):
        try:
            config = load_yaml(path, resolve_func=True, recursive=True)
        except Exception as error:  # yaml's own, and what includes and the code raise
            raise UsageError(f"include_path: {path.name} cannot be read: {first_line(error)}") from error
        for key in ("task", "group"):
            if isinstance(name := config.get(key), str):
                if name in names and key == "task":
                    raise UsageError(f"include_path: task {name} is in {names[name]} and {path.name}: rename one")
                names[name] = path.name
    if not names:
        raise UsageError("include_path: no file has a `task:` or a `group:`")
    from lm_eval import tasks

    for owner, place in (("hubwright", tasks_dir()), ("lm-eval", Path(tasks.__file__).parent)):
        if taken := next((name for name in names if name in task_files(place)), ""):
            raise UsageError(f"include_path: {names[taken]}: {taken} is the name of a task of {owner}'s: rename yours")
    return set(names)


@contextmanager
def _quiet_index() -> Iterator[None]:
    """No line for every task that lm-eval finds twice: where ours are installed among its own, it warns of each."""
    logger = logging.getLogger("lm_eval.tasks._index")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def find_tasks(
    names: Sequence[str], metadata: Mapping[str, Any] | None = None, include_path: str | None = None
) -> tuple[Any, list[str]]:
    """The index that knows all of `names` (glob patterns allowed), and the names that they match. Raises UsageError.

    It holds ours (and those below `include_path`) alone if they suffice, else upstream's too.
    """
    from lm_eval.tasks import TaskManager

    ours = [str(tasks_dir()), *([include_path] if include_path else [])]
    for defaults in (False, True):
        with _quiet_index():
            manager = TaskManager(include_defaults=defaults, include_path=list(ours), metadata=dict(metadata or {}))
        result = {name: manager.match_tasks([name]) for name in names}
        matches = list(dict.fromkeys(match for several in result.values() for match in several))
        if all(result.values()) and (defaults or all(_members_known(manager, match) for match in matches)):
            return manager, matches
    raise unknown([name for name, several in result.items() if not several], manager.all_tasks)


def _members_known(manager: Any, name: str) -> bool:
    """False for a group of ours that names a task of upstream's, which an index of ours alone takes for a new one."""
    config = manager.task_index[name].cfg or {}
    if "group" not in config:
        return True
    members = [m if isinstance(m, str) else m.get("group") or m.get("task") for m in config.get("task") or ()]
    return all(member in manager.task_index and _members_known(manager, member) for member in members)
