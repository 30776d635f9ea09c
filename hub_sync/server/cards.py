"""Repository cards: README.md's YAML head, its checks, and its body as HTML that is safe to show."""

import contextlib
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from ..card_yaml import LimitError, check_limits, parse_metadata, split_card
from .problems import bad_request

CARD_MAX_BYTES = 2 << 20
# Rendering Markdown takes a second for 64 KiB of brackets and grows with the square of nested tags.
RENDER_MAX_CHARS = 64 << 10


def card_metadata(text: str) -> dict[str, Any] | None:
    """The metadata of a card; None where they cannot be read."""
    try:
        return parse_metadata(split_card(text)[0])
    except ValueError:
        return None


def check_card(text: str) -> None:
    """Raises Problem 400 where the metadata go beyond what the hub reads. Other faults are `validate`'s to report."""
    with contextlib.suppress(yaml.YAMLError):
        try:
            check_limits(split_card(text)[0])
        except LimitError as error:
            raise bad_request(f"README.md: {error}") from None


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
        if value is not None and not all(isinstance(item, str) for item in _as_list(value)):
            errors.append(f'"{key}" must be a string or an array of strings')
    for key in ("pretty_name", "pipeline_tag", "library_name", "license_name", "license_link"):
        if data.get(key) is not None and not isinstance(data[key], str):
            errors.append(f'"{key}" must be a string')
    for key in ["model-index"] + ["configs"] * (repo_type == "dataset"):
        if not isinstance(data.get(key, []), list):
            errors.append(f'"{key}" must be an array')
    return errors, []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def tags_of(data: dict[str, Any], repo_type: str) -> list[str]:
    """The tags the Hub derives from a card, for filters and `info.tags`."""
    prefixes = {"license": "license:", "datasets": "dataset:", "base_model": "base_model:"}
    if repo_type == "dataset":
        prefixes |= {key: f"{key}:" for key in ("task_categories", "language", "size_categories")}
    keys = ("library_name", "pipeline_tag", "tags", "language", "datasets", "base_model", "license", "task_categories",
            "size_categories")  # fmt: skip
    pairs = ((key, item) for key in keys for item in _as_list(data.get(key)) if isinstance(item, str))
    return list(dict.fromkeys(prefixes.get(key, "") + item for key, item in pairs))


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


def _shown(body: str) -> str:
    """The part of a body that is rendered, cut at the end of a line where there is one."""
    if len(body) <= RENDER_MAX_CHARS:
        return body
    cut = body.rfind("\n", RENDER_MAX_CHARS // 2, RENDER_MAX_CHARS)
    return body[: cut if cut > 0 else RENDER_MAX_CHARS]


@lru_cache(maxsize=64)
def render_markdown(body: str, resolve_prefix: str, blob_prefix: str) -> str:
    """A card's body as sanitised HTML: no scripts, styles, forms, frames or foreign schemes.

    Of a body beyond RENDER_MAX_CHARS only the paragraphs up to there are rendered; a note links to the whole file.
    Relative images point below `resolve_prefix`, relative links below `blob_prefix` (both end in a slash).
    Images of other hosts are not loaded: that would tell those hosts who reads the page.
    """
    import nh3
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    html = parser.render(_shown(body))

    def attribute(tag: str, name: str, value: str) -> str | None:
        if (tag, name) not in (("img", "src"), ("a", "href")):
            return value
        try:
            parts = urlsplit(value)
        except ValueError:
            return None
        if parts.scheme or parts.netloc or value.startswith(("#", "//")):
            allowed = value.startswith("data:image/") if tag == "img" else parts.scheme != "data"
            return value if allowed else None
        path = parts.path.removeprefix("./")
        if path.startswith("/"):
            return value
        prefix = resolve_prefix if tag == "img" else blob_prefix
        joined = prefix + quote(path, safe="/%") if path else value
        return joined + (f"#{parts.fragment}" if parts.fragment and path else "")

    if len(body) > RENDER_MAX_CHARS:
        note = f"a page shows {RENDER_MAX_CHARS} characters"
        html += f'<p><em>The rest is in <a href="README.md">README.md</a>: {note}.</em></p>'
    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ALLOWED,
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer nofollow",
    )
