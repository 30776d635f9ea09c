"""Rows with images: placeholders become marks before turns are read, and tokens once they are."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import List, Value

from ...hub_sync.context import StepContext
from ...hub_sync.errors import RowRejected, UsageError
from ...inference.conversations import ROLES, Changes, note
from .._lib import rows, shown
from .._lib.images import AT, ImageColumn
from ..sft.trainer import Tokens
from .assemble import Base
from .config import VisionSFTConfig
from .template import MARK, PartsRenderer, with_images, without_images

_PARTS = ("image", "image_url", "input_image")
_INLINE = ("image", "image_url", "url", "bytes", "path", "base64")


class VisionReader(rows.Reader):
    """Reads rows whose images are in columns of their own.

    Args:
        columns: of images, by the first number in `AT`.
        text: rows are `text`, which follows the image or answers `config.prompt`.
    """

    def __init__(
        self, train: Any, form: rows.Form, base: Base, columns: list[ImageColumn], text: bool,
        config: VisionSFTConfig, context: StepContext,
    ) -> None:  # fmt: skip
        self.images, self.image, self.text, self.settings = columns, base.image, text, config
        self.model_role = "model" if "model" in context.inputs else "language_model"
        super().__init__(train, form, base.processor.tokenizer, config, context)
        self.renderer = PartsRenderer(self.tokenizer)

    def _check_template(self, tools: bool = False) -> Any:
        """As in the base class, for the template without its prelude, which TRL does not know."""
        whole = self.tokenizer.chat_template
        plain = without_images(whole, self.image.text)
        self.tokenizer.chat_template = plain
        try:
            marked = super()._check_template(tools)
        finally:
            self.tokenizer.chat_template = whole
        turn = [{"role": "user", "content": f"{MARK}hello"}]
        text = shown.render(PartsRenderer(self.tokenizer), turn, None)
        if text.count(self.image.text) != 1:
            raise UsageError(
                f"the chat template of {self.model_name} does not show images: set chat_template: chatml_tools"
            )
        return with_images(marked, self.image.text) if plain != whole else marked

    def _repeats(self, dataset: Any, context: StepContext) -> bool:
        return not self.text and super()._repeats(dataset, context)

    def read(self, row: Mapping[str, Any], pads: tuple[bool, bool], changes: Counter[str]) -> dict[str, Any]:
        column, number = row[AT]
        images = self.images[column].read(number)
        row = dict(row)
        if self.text:
            row["completion"], row["prompt"] = row["text"], self.settings.prompt or ""
            if self.settings.prompt is not None:
                row["prompt"] = [{"role": "user", "content": row["prompt"]}]
                row["completion"] = [{"role": "assistant", "content": row["text"]}]
                if not isinstance(row["text"], str) or not row["text"].strip():
                    raise RowRejected("text is empty or null")
        name = self.form.messages or "prompt"
        row[name] = self._marked(row[name], len(images), changes)
        if isinstance(row.get("completion"), str) and self.image.text in row["completion"]:
            raise RowRejected("the completion spells the token of an image", self.image.text)
        if not images and self.settings.part == "projector" and self.settings.lora is None:
            raise RowRejected("a row without an image, which teaches the projector nothing")
        return super().read(row, pads, changes) | {AT: [column, number] if images else [], "images": len(images)}

    def check(self, columns: Mapping[str, Any], changes: Counter[str]) -> None:
        super().check(columns, changes)
        if self.plain:
            return
        turns = columns["messages"] if self.form.messages else columns["prompt"]
        text = shown.render(self.renderer, turns, columns["tools"])
        if text.count(self.image.text) != columns["images"]:
            raise RowRejected("the chat template does not show every image once", text.count(self.image.text))

    def tokens(self, part: Any, tools: Any, **options: Any) -> Any:
        """As in the base class, with the token of an image as often as an image has tokens."""
        if isinstance(part, str):
            part = part.replace(MARK, self.image.text)
        encoded = super().tokens(part, tools, **options)
        times = np.where(np.asarray(encoded["input_ids"], int) == self.image.number, self.image.times, 1)
        names = [name for name in ("input_ids", "assistant_masks") if name in encoded]
        return {name: np.repeat(np.asarray(encoded[name], int), times).tolist() for name in names}

    def _marked(self, value: Any, images: int, changes: Changes) -> Any:
        """A prompt, or turns, with a mark in place of each image. Raises RowRejected."""
        if isinstance(value, str):
            parsed = _turns_of(value)
            if parsed is None:
                return self._plain(value, images, changes)
            value = parsed
        turns = value.get("messages", [value]) if isinstance(value, dict) else value
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            return value  # refused where turns are read
        _check_order(turns)
        marked = [self._turn(turn) for turn in turns]
        self._check_number(sum(_marks(turn) for turn in marked), images)
        if images and not any(_marks(turn) for turn in marked):
            place = next((n for n, turn in enumerate(marked) if _role(turn) == "user"), None)
            if place is None:
                raise RowRejected("images, and no user turn to put them in")
            key = _content_of(marked[place])
            text = marked[place][key]
            begin = [{"type": "text", "text": MARK * images}]
            marked[place][key] = begin + text if isinstance(text, list) else MARK * images + (text or "")
            note(changes, "images put before the first user turn")
        return marked

    def _plain(self, text: str, images: int, changes: Changes) -> str:
        if MARK in text:
            raise RowRejected("a text holds private-use characters that stand for images here")
        text = text.replace(self.image.text, MARK)
        self._check_number(text.count(MARK), images)
        if images and MARK not in text:
            if text:
                note(changes, "images put before the text")
            text = MARK * images + text
        return text

    def _check_number(self, marks: int, images: int) -> None:
        if marks and marks != images:
            raise RowRejected("other images than placeholders", f"{images} images, {marks} placeholders")

    def _turn(self, turn: dict[str, Any]) -> dict[str, Any]:
        """A turn with marks for its image parts, and where it is not the assistant's for placeholders in texts."""
        key, mine = _content_of(turn), _role(turn) == "assistant"
        content = turn.get(key)
        if isinstance(content, str):
            return turn | {key: self._text(content, mine)}
        if not isinstance(content, list):
            return dict(turn)
        parts: list[Any] = []
        for part in content:
            if isinstance(part, dict) and part.get("type") in _PARTS:
                if any(part.get(name) is not None for name in _INLINE):
                    raise RowRejected("an image within the turns: put it into the column of images")
                parts.append({"type": "text", "text": self.image.text if mine else MARK})
            elif isinstance(part, dict) and isinstance(part.get("text"), str):
                parts.append(part | {"text": self._text(part["text"], mine)})
            else:
                parts.append(self._text(part, mine) if isinstance(part, str) else part)
        return turn | {key: parts}

    def _text(self, text: str, mine: bool) -> str:
        if MARK in text:
            raise RowRejected("a text holds private-use characters that stand for images here")
        return text if mine else text.replace(self.image.text, MARK)


def _check_order(turns: list[dict[str, Any]]) -> None:
    """Raise RowRejected for image parts that name their images by `index` in another order than the column's."""
    contents = [turn.get(_content_of(turn)) for turn in turns]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    named = [part.get("index") for part in parts if part.get("type") in _PARTS]
    if any(index is not None and index != place for place, index in enumerate(named)):
        raise RowRejected("image parts whose `index` is not their place", named)


def _turns_of(text: str) -> Any:
    """Turns of JSON text; None for other text."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    first = value[0] if isinstance(value, list) and value else value
    return value if isinstance(first, dict) and {"role", "from", "messages"} & first.keys() else None


def _content_of(turn: Mapping[str, Any]) -> str:
    return "value" if turn.get("content") is None and turn.get("value") is not None else "content"


def _role(turn: Mapping[str, Any]) -> str:
    named = str(turn.get("role") or turn.get("from") or "")
    return ROLES.get(named.lower(), named)


def _marks(turn: Mapping[str, Any]) -> int:
    content = turn.get(_content_of(turn))
    if isinstance(content, str):
        return content.count(MARK)
    texts = [part.get("text") if isinstance(part, dict) else part for part in content or [] if part]
    return sum(text.count(MARK) for text in texts if isinstance(text, str))


class VisionTokens(Tokens):
    """Tokens and labels of a row as of `sft`, those of images unsupervised, and where its images are."""

    names = (*Tokens.names, "rows_without_an_image", "rows_with_a_cut_image", "images")

    def __init__(self, reader: VisionReader) -> None:
        super().__init__(reader)
        self.features = self.features | {AT: List(Value("int64"))}
        settings, self._image = reader.settings, reader.image
        self.key = self.key, reader.image, settings.image_limits(), settings.prompt, settings.part

    def _tokens(self, columns: Mapping[str, Any], sums: Any) -> tuple[list[int], Any]:
        ids, learnt = super()._tokens(columns, sums)
        return ids, [int(flag and i != self._image.number) for i, flag in zip(ids, learnt, strict=True)]

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums = account["sums"]
        row = super().__call__(columns, account)
        if row is None:
            return None
        if row["input_ids"].count(self._image.number) != columns["images"] * self._image.times:
            supervised = sum(label >= 0 for label in row["labels"])
            sums.update({
                "rows_with_a_cut_image": 1, "rows_used": -1, "tokens": -len(row["input_ids"]),
                "supervised_tokens": -supervised,
            })  # fmt: skip
            return None
        sums.update({"images": columns["images"], "rows_without_an_image": not columns["images"]})
        return row | {AT: columns[AT]}

    def check(self, sums: Mapping[str, int], split: str) -> None:
        super().check(sums, split)
        total, cut, share = sums["rows"], sums.get("rows_with_a_cut_image", 0), self.config.max_unsupervised_share
        if cut > share * total:
            raise UsageError(
                f"{cut} of {total} rows of the {split} split have an image that max_length {self.config.max_length} "
                f"cuts, of {self._image.times} tokens each, more than max_unsupervised_share {share}: raise max_length"
            )
