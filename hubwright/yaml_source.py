"""Strict YAML with line numbers: duplicate keys, anchors and tags are refused, and every key knows its line."""

from pathlib import Path
from typing import Any

import yaml

from .hub_sync.errors import UsageError

_SIZE_LIMIT = 1 << 20
_DEPTH_LIMIT = 40
Where = dict[tuple[str | int, ...], int]


def read_yaml(path: Path) -> tuple[Any, Where]:
    """The value of a YAML file, and the line (from 1) of every key and item by its path.

    Raises UsageError in one line for: a missing or too large file, bad syntax, a duplicate key, an anchor, a tag.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if len(raw) > _SIZE_LIMIT:
        raise UsageError(f"{path}: {len(raw)} bytes is too large for a recipe (limit {_SIZE_LIMIT})")
    try:
        text = raw.decode("utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            # Aliases are how a kilobyte becomes gigabytes; a recipe has no need of them.
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise UsageError(f"{path}:{line}: anchors and aliases are not allowed")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    where: Where = {}
    loader = yaml.SafeLoader("")
    value = None if node is None else _construct(loader, node, (), where, path)
    return value, where


def _construct(loader: yaml.SafeLoader, node: yaml.Node, at: tuple[str | int, ...], where: Where, path: Path) -> Any:
    line = node.start_mark.line + 1
    where.setdefault(at, line)
    if len(at) > _DEPTH_LIMIT:
        raise UsageError(f"{path}:{line}: nested more than {_DEPTH_LIMIT} levels deep")
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _scalar(loader, key_node, path)
            if not isinstance(key, str):
                raise UsageError(f"{path}:{key_line}: key {key!r} is not text; put it in quotes")
            if key in result:
                raise UsageError(f"{path}:{key_line}: {key!r} appears twice; keep one of them")
            where[(*at, key)] = key_line
            result[key] = _construct(loader, value_node, (*at, key), where, path)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*at, i), where, path) for i, item in enumerate(node.value)]
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise UsageError(f"{path}:{line}: tag {node.tag!r} is not allowed in a recipe")
    return _scalar(loader, node, path)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Any:
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # A lone "=" has a type of its own in YAML 1.1 that nothing can read; PyYAML says so in three lines. A tag
        # that does not fit (`!!int ""`, `!!bool maybe`) ends in whatever its constructor stumbles over.
        problem = getattr(error, "problem", None) or error
        line = node.start_mark.line + 1
        raise UsageError(f"{path}:{line}: {node.value!r} cannot be read ({' '.join(str(problem).split())})") from error


def read_setting(setting: str) -> tuple[str, Any]:
    """(dotted key, value) of a `--set` setting, `a.b=c` with the value as YAML. Raises UsageError in one line."""
    dotted, equals, text = setting.partition("=")
    if not equals or not all(dotted.split(".")):
        raise UsageError(f"--set {setting!r}: write --set path.to.key=value")
    try:
        return dotted, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {setting!r}: the value is not valid YAML") from error


def apply_setting(value: dict[str, Any], dotted: str, new: Any) -> None:
    """Change the value at a dotted key in place. Raises UsageError if the key leads through what is no mapping."""
    keys = dotted.split(".")
    place: Any = value
    for i, key in enumerate(keys[:-1]):
        place = place.setdefault(key, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UsageError(f"setting {dotted!r}: {'.'.join(keys[: i + 1])} is not a mapping")
    place[keys[-1]] = new
