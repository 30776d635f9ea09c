"""What an author says on a card: the fields of `card:` in a recipe, and the checks of its Markdown.

    card:
      title: Feedback drills
      text: about.md                    # Markdown, or a .md file beside the recipe
      tags: [feedback, dialogue]
      authors: [Ada Lovelace]
      contact: ada@example.org
      citation: "@misc{drills, title={Feedback drills}}"
      intended_use: Tuning and testing small models.
      limits: Templates, not people's words.
      language: [en]
      columns: {messages: "user, assistant, feedback, in turns"}    # of a step that publishes a data set

The card of a published artifact is rendered from `provenance.json`, where these fields are a record's `author`. They
are no part of its fingerprint: a changed text replaces the card, and nothing is built or trained again.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ..hub_sync.errors import DataError, UsageError, did_you_mean
from ..hub_sync.settings import Settings

MARKDOWN = ("text", "intended_use", "limits")
"""Fields that may name a file."""
PLOTS = "plots/"
_FILE = re.compile(r"\S[^\n]*\.md", re.IGNORECASE)
_FILE_LIMIT = 1 << 20
_HEADER = re.compile(r"\s*---[ \t]*\n")
_REMOTE = re.compile(r"(https?:)?//|data:", re.IGNORECASE)
_SRC = re.compile(r"<(?:img|source|video|audio)\b[^>]*?\bsrc(?:set)?\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
# Elements that, left open, take in the rest of the card.
_OPEN = re.compile(r"<(/?)(details|div|table|center|pre|script|style|textarea|picture)\b", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual|code")


def _markdown(text: str) -> str:
    """The text with Unix line ends and no blank ends. Raises ValueError for what breaks a card around it."""
    if _HEADER.match(text := text.lstrip("\ufeff").replace("\r\n", "\n")):
        raise ValueError("it begins with a '---' header: drop it, the fields of card say the same")
    if not (text := text.strip()):
        raise ValueError("it is empty: write something, or drop it")
    html, images = _read(text)
    if html.count("<!--") > html.count("-->"):
        raise ValueError("a comment <!-- is not closed: end it with -->")
    for _, name in _OPEN.findall(html):
        ends = [end for end, other in _OPEN.findall(html) if other.lower() == name.lower()]
        if ends.count("") > ends.count("/"):
            raise ValueError(f"<{name}> is not closed: end it with </{name}>")
    for image in images:
        if not _REMOTE.match(image) and not image.startswith(PLOTS):
            raise ValueError(
                f"image {image!r} is a local file, which is not published: give its https:// address, or a plot of "
                f"the step ({PLOTS}NAME.png)"
            )
    return text


def _read(text: str) -> tuple[str, list[str]]:
    """(HTML within Markdown, addresses of images). Raises ValueError for a code block that is not closed."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # or file: would pass as text
    html: list[str] = []
    images: list[str] = []
    for token in parser.parse(text):
        if token.type == "fence" and token.map:
            first, last = token.map[0], token.map[1] - 1
            end = rf"[\s>]*{re.escape(token.markup)}{re.escape(token.markup[0])}*\s*"
            if first == last or not re.fullmatch(end, text.split("\n")[last]):
                raise ValueError(f"a code block is not closed: end it with a line {token.markup}")
        html += [token.content] if token.type == "html_block" else []
        for child in token.children or ():
            html += [child.content] if child.type == "html_inline" else []
            images += [str(child.attrs["src"])] if child.type == "image" else []
    images += _SRC.findall("".join(html))
    return "".join(html), [image.removeprefix("./") for image in images]


def _line(text: str) -> str:
    if "\n" in text.strip():
        raise ValueError("it has several lines: write one")
    return _markdown(text)


def _title(text: str) -> str:
    if text.lstrip().startswith("#"):
        raise ValueError("a title is text without '#': drop it")
    return _line(text)


def _citation(text: str) -> str:
    return text.strip() if text.lstrip().startswith("@") else _markdown(text)


def _text(value: Any) -> Any:
    if isinstance(value, int | float | date):
        raise ValueError("it is not text: put it in quotes")
    return value


def _list(value: Any) -> Any:
    """A single text as a list of it."""
    values = value if isinstance(value, list | dict | None) else [value]
    for item in values if isinstance(values, list) else []:
        if not isinstance(item, str):
            raise ValueError(f"{item!r} is not text: put it in quotes")
        if not item.strip():
            raise ValueError("it holds an empty text: drop it")
    return values


def _tags(tags: list[str]) -> list[str]:
    for tag in tags:
        if "," in tag or "\n" in tag:
            raise ValueError(f"{tag!r} is several tags: write a list, [one, two]")
        if tag.lower().startswith(("license:", "licence:")):
            raise ValueError(f"{tag!r} is no tag: write publish.license")
    return list(dict.fromkeys(tag.strip() for tag in tags))


def _languages(codes: list[str]) -> list[str]:
    for code in codes:
        if not _LANGUAGE.fullmatch(code):
            raise ValueError(f"{code!r} is not a language code: write ISO 639-1 or 639-3, such as en or de")
    return list(dict.fromkeys(codes))


Text = Annotated[str, BeforeValidator(_text)]
Markdown = Annotated[Text, AfterValidator(_markdown)]
Line = Annotated[Text, AfterValidator(_line)]
Lines = Annotated[list[Line], BeforeValidator(_list)]
Title = Annotated[Text, AfterValidator(_title)]
Citation = Annotated[Text, AfterValidator(_citation)]
Tags = Annotated[list[str], BeforeValidator(_list), AfterValidator(_tags)]
Languages = Annotated[list[str], BeforeValidator(_list), AfterValidator(_languages)]


class CardDefaults(Settings):
    """What the author says on the cards of all steps; a step's own fields come first."""

    title: Title | None = Field(None, description="Heading of the card; null: what the step calls its result.")
    text: Markdown | None = Field(None, description="Markdown that opens the card, or a .md file beside the recipe.")
    tags: Tags | None = Field(None, description="Tags of the Hub, beside those of the step.")
    citation: Citation | None = Field(None, description="How to cite: BibTeX, or Markdown.")
    authors: Lines | None = Field(None, description="Names of the authors.")
    contact: Line | None = Field(None, description="Where questions go: an address or a link.")
    intended_use: Markdown | None = Field(None, description="Markdown, or a .md file: what it is for and what not.")
    limits: Markdown | None = Field(None, description="Markdown, or a .md file: known limits, biases and risks.")
    language: Languages | None = Field(None, description="Codes of the languages; null: what the step knows.")


class AuthorCard(CardDefaults):
    """What the author says on the card of one step."""

    columns: dict[str, Line] | None = Field(
        None, description="Columns of the data set: what each holds; over what the builder says."
    )


def author_part(defaults: CardDefaults | None, own: AuthorCard | None) -> dict[str, Any]:
    """The fields that hold something, a step's own first. A step that writes null drops the recipe's."""
    values = {} if defaults is None else defaults.model_dump()
    values |= {} if own is None else own.model_dump(exclude_unset=True)
    return {name: value for name, value in values.items() if value}


def inline_files(recipe: dict[str, Any], folder: Path, place: Callable[[tuple[str | int, ...]], str]) -> None:
    """Put the text of the Markdown files that a recipe's cards name in the place of their names.

    Args:
        recipe: as it was read, not checked yet.
        folder: of the recipe.
        place: gives the place of a key in words, for errors.

    Raises UsageError as `read_markdown`.
    """
    places: list[tuple[str, ...]] = [("card",)]
    steps = recipe.get("steps")
    places += [("steps", name, "publish", "card") for name in (steps if isinstance(steps, dict) else ())]
    for at in places:
        card: Any = recipe
        for key in at:
            card = card.get(key) if isinstance(card, dict) else None
        for name in MARKDOWN if isinstance(card, dict) else ():
            if isinstance(text := card.get(name), str):
                try:
                    card[name] = read_markdown(text, folder)
                except ValueError as error:
                    raise UsageError(f"{place((*at, name))}: {error}") from error


def read_markdown(text: str, folder: Path) -> str:
    """The content of the `.md` file that `text` names, or `text` itself.

    Args:
        text: one line that ends in `.md` is the name of a file.
        folder: of the recipe.

    Raises ValueError in one line for a file that is missing, elsewhere, too large or not UTF-8.
    """
    name = text.strip()
    if not _FILE.fullmatch(name):
        return text
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or name.startswith("~"):
        raise ValueError(f"{name!r} is not beside the recipe: put the file there, and write its name")
    if not (folder / path).is_file():
        raise ValueError(f"there is no file {name!r} beside the recipe: create it, or write the text itself")
    raw = (folder / path).read_bytes()
    if len(raw) > _FILE_LIMIT:
        raise ValueError(f"{name!r} has {len(raw):,} bytes, more than {_FILE_LIMIT:,}: link to it in the text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def check_author(author: Mapping[str, Any], step: str, columns: Iterable[str], files: Iterable[str]) -> None:
    """Raises DataError for descriptions of columns, and for plots, that the result has not.

    Args:
        columns: of the data set, of all its configs.
        files: paths that are published.
    """
    known = list(dict.fromkeys(columns))
    for name in author.get("columns", {}):
        if name not in known:
            raise DataError(
                f"step {step}: card.columns: the data set has no column {name!r}{did_you_mean(name, known)}"
            )
    published = sorted(path for path in files if path.startswith(PLOTS))
    images = [image for name in MARKDOWN if name in author for image in _read(author[name])[1]]
    for path in (image for image in images if image.startswith(PLOTS) and image not in published):
        plots = did_you_mean(path, published) if published else "; it has no plots"
        raise DataError(f"step {step}: card: the result has no {path!r}{plots}")
