"""The YAML head of a README.md as plain data, within limits that keep one card from stopping whoever reads it.

The limits are checked on the parser's events, before anything is composed: composing recurses in C, so a head nested
deeply enough ends the process. What passes can always be sent as JSON.
"""

import datetime
import json
import re
from typing import Any

import yaml

HEAD_MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_NUMBER_CHARS = 100

_FRONT = re.compile(r"\A\ufeff?(?:[ \t]*\r?\n){0,20}---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"[-+.]*\d[-+.:_0-9a-fxobA-FXOBEe]*")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class LimitError(ValueError):
    """A card's metadata are larger or deeper than anyone should read."""


def split_card(text: str) -> tuple[str, str]:
    """(YAML head, Markdown body); the head is empty where the card has none."""
    match = _FRONT.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)


def parse_metadata(head: str) -> dict[str, Any]:
    """The YAML head as a mapping of JSON values.

    Args:
        head: the text between the `---` lines.

    Raises:
        LimitError: more bytes, levels, nodes or digits than the limits above.
        ValueError: one line, where it is not valid YAML, not a mapping, or holds what JSON cannot.
    """
    try:
        check_limits(head)
        value = yaml.load(head, _LOADER)  # noqa: S506 - one of the two safe loaders
    except LimitError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(" ".join(f"{getattr(error, 'problem', None) or error}{where}".split())) from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's constructors, on values such as `!!int ""`, `!!bool maybe` or 2024-99-99.
        raise ValueError(f"a value does not fit its YAML type ({type(error).__name__}: {error})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("The metadata of a card must be a mapping of keys to values")
    plain: dict[str, Any] = _plain(value)
    try:
        json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("the metadata hold text that is not valid Unicode (a lone surrogate)") from None
    return plain


def check_limits(head: str) -> None:
    """Raises LimitError where the head is beyond a limit above; yaml.YAMLError where it is not YAML or has aliases."""
    if len(head) > HEAD_MAX_BYTES:
        raise LimitError(f"The metadata of a card may have {HEAD_MAX_BYTES} characters, these have {len(head)}")
    depth = nodes = 0
    for event in yaml.parse(head, _LOADER):
        if isinstance(event, yaml.AliasEvent):  # ten nested ones expand to gigabytes of JSON
            raise yaml.YAMLError("anchors and aliases are not supported in card metadata")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            line = event.start_mark.line + 1 if event.start_mark else 0
            if nodes > MAX_NODES:
                raise LimitError(f"The metadata of a card may have {MAX_NODES} values (line {line})")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise LimitError(f"The metadata of a card may be nested {MAX_DEPTH} levels deep (line {line})")
            elif isinstance(event, yaml.ScalarEvent) and _is_long_number(event):
                raise LimitError(
                    f"A number in a card's metadata may have {MAX_NUMBER_CHARS} characters (line {line}): quote it"
                )


def _is_long_number(event: yaml.ScalarEvent) -> bool:
    """True for what would be read as a number and takes quadratic time, or cannot be written as JSON."""
    if len(event.value) <= MAX_NUMBER_CHARS:
        return False
    return event.tag in _NUMBER_TAGS or (event.implicit[0] and bool(_NUMBER.fullmatch(event.value)))


def _plain(value: Any) -> Any:
    """YAML's dates as text, keys as strings: what JSON can carry."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
