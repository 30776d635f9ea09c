"""One record to one row of a format, or the reason why not."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ...hub_sync.errors import DataError, RowRejected, did_you_mean
from ...hub_sync.files import canonical_json
from ...hub_sync.json_columns import infer_features, unstorable
from ...hub_sync.licence_ids import licence_id
from ...hub_sync.text import is_well_formed
from ...inference.conversations import THOUGHT, read_messages, read_tools, with_system
from ...inference.media.images import ImageLimits, check_image
from ...inference.padding import padded, pads_arguments
from ...inference.responses import ABSENT, read_responses
from .._lib.rejections import one_line
from .._lib.sources import holds_media
from .._lib.tables import Table, has_json
from .columns import find_columns, is_there, value_at

if TYPE_CHECKING:
    from .build import RowsConfig

ROLES = ("system", "user", "assistant", "tool")
TURN_KEYS = frozenset(("role", "content", "tool_calls", "tool_call_id", "name", "weight", *THOUGHT))
SPLIT = r"\w+(\.\w+)*"
"""Names of splits that datasets takes."""
_UNSTORABLE = {"text_not_unicode": "half a surrogate pair, which is not text"}


class Row(NamedTuple):
    """A row: its columns, the split that the source or a column says, and what it is compared by.

    Attributes:
        prompt: JSON of what a model is shown of the row: rows with the same one belong into one split.
        key: SHA-256 of all that the format makes: rows with the same one are duplicates.
        text: all its words, for near duplicates.
    """

    columns: dict[str, Any]
    split: str | None
    prompt: str
    key: str
    text: str


class Converter:
    """Records to rows; called with a record of the table that was begun last. Raises RowRejected.

    Attributes:
        extra: `datasets` feature by column of the setting `keep`, of the first table.
        changes: what was done to rows, by kind.
    """

    def __init__(self, config: RowsConfig) -> None:
        self.changes: Counter[str] = Counter()
        self.extra: dict[str, Any] = {}
        self._config = config
        self._plain: bool | None = None  # whether prompts are text; the first row tells
        self._fits: dict[str, Callable[[Any], bool]] = {}
        self._make: Callable[..., tuple[dict[str, Any], Any, str]] = getattr(self, f"_{config.format}")

    def begin(self, table: Table, head: Sequence[Any]) -> dict[str, str]:
        """Target -> column of the table, by its first records.

        Raises DataError if no record has the columns that the settings name or the format needs.
        """
        self._table = table
        self._columns = lru_cache(256)(
            lambda present: find_columns(self._config.format, self._config.columns, present)
        )
        self._labels = {path: names_of(type_) for path, type_ in table.types.items() if hasattr(type_, "int2str")}
        first: dict[str, str] | None = None
        fault: RowRejected | None = None
        for record in head:
            try:
                first = first or self._find(record)
            except RowRejected as error:
                fault = fault or error
        if first is None and fault is not None:
            raise DataError(f"{table.name}: {fault.reason}{f'; {one_line(fault.detail)}' if fault.detail else ''}")
        records = [record for record in head if isinstance(record, dict)]
        present = table.columns or tuple(dict.fromkeys(key for record in records for key in record))
        named = (*self._config.keep, self._config.split_column, self._config.license_column)
        for path in filter(None, named):
            if not is_there(path, present):
                hint = did_you_mean(path, present, f"; it has {', '.join(present[:20])}")
                raise DataError(f"{table.name}: there is no column {path!r}{hint}")
        if not self.extra:
            values = [{path: value_at(record, path) for path in self._config.keep} for record in records]
            self.extra |= extra_types(values, self._config.keep, table)
            self._fits = {path: fits(feature) for path, feature in self.extra.items()}
        return first or {}

    def _find(self, record: Any) -> dict[str, str]:
        if isinstance(record, RowRejected):
            raise record
        if not isinstance(record, dict):
            raise RowRejected("not an object", record)
        columns: dict[str, str] = self._columns(self._table.columns or tuple(record))
        return columns

    def __call__(self, record: Any) -> Row:
        at = self._find(record)
        changes: Counter[str] = Counter()
        values = {target: value_at(record, path) for target, path in at.items()}
        values = {target: None if value != value else value for target, value in values.items()}  # NaN
        for target, path in at.items():
            if path in self._labels:
                values[target] = self._labels[path](values[target])
        columns, prompt, text = self._make(values, at, changes)
        if why := unstorable({name: value for name, value in columns.items() if name != "image"}):
            raise RowRejected(_UNSTORABLE.get(why, f"a value that cannot be stored: {why}"))
        content = canonical_json([prompt, columns.get("text")] if "image" in columns else columns)
        key = hashlib.sha256(content).hexdigest()
        row = {"id": key[:16], **columns, "source": self._table.name}
        if column := self._config.license_column:
            row["license"] = _licence(value_at(record, column))
        split = self._table.split
        if column := self._config.split_column:
            split = value_at(record, column)
            if not isinstance(split, str) or not re.fullmatch(SPLIT, split) or split == "all":
                raise RowRejected(f"column {column!r} does not hold the name of a split", split)
        row |= self._extra(record)
        self.changes.update(dict.fromkeys(changes, 1))
        return Row(row, split, canonical_json(prompt).decode(), key, text)

    def _extra(self, record: Mapping[str, Any]) -> dict[str, Any]:
        values = {path: value_at(record, path) for path in self._fits}
        for path, fit in self._fits.items():
            if not fit(values[path]):
                raise RowRejected(f"column {path!r} is of another type than in the first rows", values[path])
        return values

    def _messages(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        tools, turns = self._tools(values, at), values.get("messages")
        if "messages" in at:
            turns = read_messages(self._renamed(turns), tools, is_padded=self._pads(at["messages"]), changes=changes)
        else:
            completion = _text_of(values["completion"], changes)
            turns = pair_turns(values.get("history"), self._prompt(values, changes), completion)
        turns = self._checked(with_system(turns, values.get("system") or None, changes), changes)
        roles = [turn["role"] for turn in turns]
        if "user" not in roles or "assistant" not in roles:
            raise RowRejected(f"no turn of role {'assistant' if 'user' in roles else 'user'}", roles)
        first = turns[: roles.index("assistant")]
        row = {"messages": turns} | ({"tools": tools} if "tools" in at else {})
        return row, [turn["content"] for turn in first if turn["role"] == "user"] or _words(turns), _words(turns)

    def _questions(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        """The turns without the assistant's last reply."""
        tools, turns = self._tools(values, at), values.get("messages")
        if "messages" in at:
            pads = self._pads(at["messages"])
            turns = read_messages(self._renamed(turns), tools, is_padded=pads, empty_answers=True, changes=changes)
        else:
            turns = pair_turns(values.get("history"), self._prompt(values, changes))
        turns = self._checked(with_system(turns, values.get("system") or None, changes), changes)
        while turns and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
            changes["the last reply left out"] = 1
        if all(turn["role"] != "user" for turn in turns):
            raise RowRejected("no turn of role user to answer", [turn["role"] for turn in turns])
        return {"messages": turns} | ({"tools": tools} if "tools" in at else {}), turns, _words(turns)

    def _prompt_completion(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        return self._responses(values, at, ("completion",), changes)

    def _preference(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        made = self._responses(values, at, ("chosen", "rejected"), changes)
        if made[0]["chosen"] == made[0]["rejected"]:
            raise RowRejected("chosen and rejected are the same")
        return made

    def _responses(
        self, values: dict[str, Any], at: Mapping[str, str], names: tuple[str, ...], changes: Counter[str]
    ) -> Any:
        tools, system = self._tools(values, at), values.get("system") or None
        prompt = self._prompt(values, changes) if "prompt" in at else ABSENT
        responses = {name: self._renamed(_text_of(values[name], changes)) for name in names}
        pads = any(self._pads(at[name]) for name in names)
        pair = read_responses(self._renamed(prompt), responses, tools, is_padded=pads, changes=changes)
        plain = isinstance(pair["prompt"], str)
        if plain and system:
            raise RowRejected("a system text beside plain text, which no template shows: use format messages", system)
        if not plain:
            pair = {name: self._checked(turns, changes) for name, turns in pair.items()}
            pair["prompt"] = with_system(pair["prompt"], system, changes) if system else pair["prompt"]
        if not (pair["prompt"].strip() if plain else pair["prompt"]):
            raise RowRejected("the prompt is empty")
        self._plain = plain if self._plain is None else self._plain
        if plain != self._plain:
            raise RowRejected("plain text among conversations" if plain else "a conversation among plain text")
        words = "\n".join(part if plain else _words(part) for part in pair.values())
        return pair | ({"tools": tools} if "tools" in at else {}), pair["prompt"], words

    def _text(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        text = _text_of(values["text"], changes)
        if not isinstance(text, str) or not text.strip():
            raise RowRejected("no text", text)
        return {"text": text}, text, text

    def _images(self, values: dict[str, Any], at: Mapping[str, str], changes: Counter[str]) -> Any:
        name, content = self._image(values["image"])
        check_image(content, ImageLimits(len(content), self._config.max_image_pixels, None), whole=True)
        text = _text_of(values.get("text"), changes)
        if "text" in at and (not isinstance(text, str) or not text.strip()):
            raise RowRejected("no text beside the image", text)
        row = {"image": {"bytes": content, "path": name}} | ({"text": text} if "text" in at else {})
        return row, hashlib.sha256(content).hexdigest(), text or ""

    def _image(self, value: Any) -> tuple[str | None, bytes]:
        """(name, content) of an image as bytes, or by its path in the source."""
        most = int(self._config.max_image_mb * 1e6)
        path, content = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (value, None)
        content = value if isinstance(value, bytes) else content
        name = posixpath.basename(path) if isinstance(path, str) else None
        if content is None:
            if not isinstance(path, str) or not path:
                raise RowRejected("no image", value)
            inside = posixpath.normpath(posixpath.join(self._table.folder, path.replace("\\", "/")))
            if inside not in self._table.files:
                raise RowRejected("no such image file in the source", path)
            with self._table.files[inside].open() as stream:
                content = stream.read(most + 1)
        if len(content) > most:
            raise RowRejected(f"an image above max_image_mb {self._config.max_image_mb:g}", name)
        return name, content

    def _prompt(self, values: Mapping[str, Any], changes: Counter[str]) -> Any:
        """The prompt, and Alpaca's `input` after a blank line."""
        prompt, more = (_text_of(values.get(name), changes) for name in ("prompt", "input"))
        if not more:
            return prompt
        if not (isinstance(prompt, str) and isinstance(more, str)):
            raise RowRejected("input or the prompt beside it is not text", more)
        return f"{prompt}\n\n{more}" if more.strip() else prompt

    def _tools(self, values: Mapping[str, Any], at: Mapping[str, str]) -> list[dict[str, Any]]:
        return read_tools(values.get("tools"), "tools" in at and padded(value_at(self._table.types, at["tools"])))

    def _pads(self, path: str) -> bool:
        return pads_arguments(value_at(self._table.types, path))

    def _renamed(self, turns: Any) -> Any:
        """Turns with the keys and roles that the settings translate."""
        config = self._config
        if not isinstance(turns, list) or not (config.role_key or config.content_key or config.roles):
            return turns
        return [self._turn(turn) if isinstance(turn, dict) else turn for turn in turns]

    def _turn(self, turn: dict[str, Any]) -> dict[str, Any]:
        config, turn = self._config, dict(turn)
        for key, own in (("role", config.role_key), ("content", config.content_key)):
            if own and own in turn:
                turn[key] = turn.pop(own)
        key = "from" if "from" in turn and "role" not in turn else "role"
        return turn | {key: config.roles.get(turn[key], turn[key])} if isinstance(turn.get(key), str) else turn

    def _checked(self, turns: list[dict[str, Any]], changes: Counter[str]) -> list[dict[str, Any]]:
        """Turns of known roles, without the keys that no chat template reads."""
        if odd := next((turn["role"] for turn in turns if turn["role"] not in ROLES), None):
            raise RowRejected("a turn of another role than system, user, assistant, tool: set `roles`", odd)
        if any(turn["role"] == "system" for turn in turns[1:]):
            raise RowRejected("a system turn after the first")
        if any(not turn["content"].strip() and turn["role"] == "user" for turn in turns):
            raise RowRejected("a turn of role user is empty")
        if not all(TURN_KEYS.issuperset(turn) for turn in turns):
            changes["keys of turns left out that no chat template reads"] += 1
        return [{key: value for key, value in turn.items() if key in TURN_KEYS} for turn in turns]


def pair_turns(history: Any, prompt: Any, completion: Any = ABSENT) -> list[dict[str, Any]]:
    """The turns of a prompt, and a completion if there is one, after Alpaca's history of pairs. Raises RowRejected."""
    if isinstance(history, str):
        with suppress(ValueError, RecursionError):
            history = json.loads(history)
    history = [] if history is None else history
    if not isinstance(history, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        raise RowRejected("history is not a list of pairs", history)
    turns = []
    for query, answer in [*history, (prompt, completion)]:
        turns += [("user", query), ("assistant", answer)] if answer is not ABSENT else [("user", query)]
    for role, text in turns:
        if not isinstance(text, str) or not text.strip():
            raise RowRejected(f"no text for the turn of role {role}", text)
    return read_messages([{"role": role, "content": text} for role, text in turns], [])


def is_plain_turns(turns: list[Any]) -> bool:
    """Whether turns have role and content alone."""
    return bool(turns) and all(isinstance(turn, dict) and turn.keys() == {"role", "content"} for turn in turns)


def _words(turns: list[dict[str, Any]]) -> str:
    return "\n".join(turn["content"] for turn in turns)


def _text_of(value: Any, changes: Counter[str]) -> Any:
    """An integer as its digits; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        changes["an integer read as text"] += 1
        return str(value)
    return value


def _licence(value: Any) -> str:
    licence = licence_id(value) if isinstance(value, str) else None
    if licence is None:
        raise RowRejected("a licence that is no licence id of the Hub", value)
    return licence


def names_of(label: Any) -> Callable[[Any], Any]:
    """The name of a class by its number; None for none."""
    return lambda number: None if number is None or number < 0 else label.int2str(number)


def extra_types(rows: Sequence[Mapping[str, Any]], names: Sequence[str], table: Table) -> dict[str, Any]:
    """`datasets` feature by column: text of CSV, the table's own type, else what the first rows hold."""
    from datasets import Value

    inferred = infer_features(rows, names)
    if media := next((name for name in names if holds_media(table.types.get(name))), None):
        raise DataError(f"{table.name}: column {media!r} holds images, sound or video; leave it out of `keep`")
    if table.is_text:
        return dict.fromkeys(names, Value("string"))
    types = {name: table.types.get(name, inferred[name]) for name in names}
    return {name: Value("string") if type_ == Value("null") else type_ for name, type_ in types.items()}


def fits(feature: Any) -> Callable[[Any], bool]:
    """Whether a value is stored in a column of this feature, and read back equal."""
    import pyarrow as pa
    from datasets import Features

    if has_json(feature):
        return lambda value: not unstorable(value)
    type_ = Features({"x": feature}).arrow_schema.field("x").type

    def fit(value: Any) -> bool:
        if value is None or (isinstance(value, str) and pa.types.is_string(type_)):
            return value is None or is_well_formed(value)
        try:
            stored = pa.array([value], type_)[0].as_py()
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            return False
        return bool(stored == value or (stored != stored and value != value))

    return fit
