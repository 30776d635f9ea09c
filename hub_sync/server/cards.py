"""Repository cards: README.md's YAML head, its checks, and its body as HTML that is safe to show."""

from __future__ import annotations

import datetime
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

CARD_MAX_BYTES = 2 << 20
_FRONT = re.compile(r"\A\ufeff?(?:[ \t]*\r?\n){0,20}---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _load(head: str) -> Any:
    """Plain data only, and no aliases: ten nested ones expand to gigabytes of JSON."""
    for event in yaml.parse(head, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not supported in card metadata")
    return yaml.load(head, _LOADER)  # noqa: S506 - one of the two safe loaders


def split_card(text: str) -> tuple[str, str]:
    """(YAML head, Markdown body); the head is empty where the card has none."""
    match = _FRONT.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)


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


def parse_metadata(head: str) -> dict[str, Any]:
    """The YAML head as a mapping. Raises ValueError with one line where it is not valid YAML or no mapping."""
    try:
        value = _load(head)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(" ".join(f"{getattr(error, 'problem', None) or error}{where}".split())) from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("The metadata of a card must be a mapping of keys to values")
    plain: dict[str, Any] = _plain(value)
    return plain


@lru_cache(maxsize=256)
def _cached_metadata(head: str) -> dict[str, Any]:
    try:
        return parse_metadata(head)
    except ValueError:
        return {}


def card_metadata(text: str) -> dict[str, Any]:
    """The metadata of a card as stored; an invalid head counts as none."""
    return dict(_cached_metadata(split_card(text)[0]))


def validate(text: str, repo_type: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) about a card's metadata, as the Hub's `validate-yaml` reports them."""
    head, _ = split_card(text)
    if not head.strip():
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = parse_metadata(head)
    except ValueError as error:
        return [str(error)], []
    errors = []
    for key in ("tags", "language", "datasets", "license", "base_model", "metrics", "task_categories"):
        value = data.get(key)
        items = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(item, str) for item in items):
            errors.append(f'"{key}" must be a string or an array of strings')
    for key in ("pretty_name", "pipeline_tag", "library_name", "license_name", "license_link"):
        if data.get(key) is not None and not isinstance(data[key], str):
            errors.append(f'"{key}" must be a string')
    if repo_type == "dataset" and not isinstance(data.get("configs", []), list):
        errors.append('"configs" must be an array')
    if "model-index" in data and not isinstance(data["model-index"], list):
        errors.append('"model-index" must be an array')
    return errors, []


def _as_list(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def tags_of(data: dict[str, Any], repo_type: str) -> list[str]:
    """The tags the Hub derives from a card, for filters and `info.tags`."""
    tags: list[str] = []
    prefixes = {"license": "license:", "datasets": "dataset:", "base_model": "base_model:"}
    if repo_type == "dataset":
        prefixes |= {
            "task_categories": "task_categories:",
            "language": "language:",
            "size_categories": "size_categories:",
        }
    for key in ("library_name", "pipeline_tag", "tags", "language", "datasets", "base_model", "license",
                "task_categories", "size_categories"):  # fmt: skip
        tags += [prefixes.get(key, "") + item for item in _as_list(data.get(key))]
    return list(dict.fromkeys(tags))


_ALLOWED = {
    "a": {"href", "title", "id"}, "img": {"src", "alt", "title", "width", "height", "align"},
    "td": {"align", "colspan", "rowspan"}, "th": {"align", "colspan", "rowspan"}, "ol": {"start"},
    "div": {"align"}, "p": {"align"}, "h1": {"align"}, "h2": {"align"}, "h3": {"align"},
    "code": {"class"}, "details": {"open"},
}  # fmt: skip
_TAGS = {
    *_ALLOWED, "h4", "h5", "h6", "br", "hr", "b", "i", "strong", "em", "s", "del", "ins", "sub", "sup", "kbd", "samp",
    "ul", "li", "dl", "dt", "dd", "blockquote", "pre", "table", "thead", "tbody", "tfoot", "tr", "caption",
    "summary", "center", "span", "picture", "figure", "figcaption", "abbr", "cite", "mark", "var", "small",
}  # fmt: skip


def render_markdown(body: str, resolve_prefix: str, blob_prefix: str) -> str:
    """A card's body as sanitised HTML: no scripts, styles, forms, frames or foreign schemes.

    Relative images point below `resolve_prefix`, relative links below `blob_prefix` (both end in a slash).
    Images of other hosts are not loaded: that would tell those hosts who reads the page.
    """
    import nh3
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    html = parser.render(body[:CARD_MAX_BYTES])

    def attribute(tag: str, name: str, value: str) -> str | None:
        if (tag, name) not in (("img", "src"), ("a", "href")):
            return value
        try:
            parts = urlsplit(value)
        except ValueError:
            return None
        if parts.scheme or parts.netloc or value.startswith(("#", "//")):
            data = parts.scheme == "data"
            allowed = value.startswith("data:image/") if tag == "img" else not data
            return value if allowed else None
        path = parts.path.removeprefix("./")
        if path.startswith("/"):
            return value
        prefix = resolve_prefix if tag == "img" else blob_prefix
        joined = prefix + quote(path, safe="/%") if path else value
        return joined + (f"#{parts.fragment}" if parts.fragment and path else "")

    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ALLOWED,
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer nofollow",
    )
