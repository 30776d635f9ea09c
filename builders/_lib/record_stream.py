"""Records of JSON files one after another, however large the file is."""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator
from typing import IO, Any

from ...hub_sync.errors import DataError

_CHUNK = 1 << 20
_BLANK = " \t\r\n"
_NUMBER = "+-.eE0123456789"


def records(stream: IO[bytes], name: str) -> Iterator[Any]:
    """The records of a JSON list or of JSON Lines, one at a time.

    Memory holds the current record and a megabyte. Blank lines and a byte order mark are passed over.

    Args:
        stream: from its beginning.
        name: what it is called in errors.

    Raises DataError, with the line or record and a remedy, for a file that is empty, not UTF-8 or not JSON (NaN and
    infinities are not).
    """
    empty = True
    found = list_items(stream, name) if first_character(stream) == "[" else (v for _, v in json_lines(stream, name))
    for record in found:
        empty = False
        yield record
    if empty:
        raise DataError(f"{name}: has no records")


def first_character(stream: IO[bytes]) -> str:
    """The first character that is not blank, "" in an empty file; the stream is at its beginning again."""
    _skip_mark(stream)
    while (first := stream.read(1)) and first in b" \t\r\n":
        pass
    stream.seek(0)
    return first.decode("latin-1")


def json_lines(stream: IO[bytes], name: str, strict: bool = True) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every line that is not blank. Raises DataError as `records` does.

    Args:
        strict: NaN and infinities are refused.
    """
    decode = (STRICT if strict else _LENIENT).decode
    for number, line in enumerate(text_lines(stream, name), 1):
        if line.strip():
            try:
                yield number, decode(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{name}: line {number} is not JSON ({error}); fetch the file again, or convert it to JSON Lines"
                ) from error


def text_lines(stream: IO[bytes], name: str) -> Iterator[str]:
    """Lines without their ends (LF or CR LF) and without a byte order mark. Raises DataError for what is not UTF-8."""
    offset = _skip_mark(stream)
    for line in stream:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}: byte {offset + error.start} is not UTF-8; save the file as UTF-8 (iconv -f cp1252 -t utf-8 "
                "converts one of Windows)"
            ) from error
        offset += len(line)
        yield text.removesuffix("\n").removesuffix("\r")


def _skip_mark(stream: IO[bytes]) -> int:
    """Go to the beginning, behind a byte order mark; the bytes passed over."""
    stream.seek(0)
    skipped = 3 if stream.read(3) == codecs.BOM_UTF8 else 0
    stream.seek(skipped)
    return skipped


def list_items(stream: IO[bytes], name: str, strict: bool = True) -> Iterator[Any]:
    """Items of a file that is a JSON list. Raises DataError as `records` does; nothing else may follow the list."""
    _skip_mark(stream)
    text = _Window(stream, name, STRICT if strict else _LENIENT)
    if text.skip_blanks() != "[":
        raise DataError(f"{name}: is not a JSON list; fetch the file again")
    yield from _items(text, name)
    if text.skip_blanks():
        raise DataError(f"{name}: is not JSON (text after the list); fetch the file again")


def list_members(stream: IO[bytes], name: str, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(key, item) of the lists with these keys in a file that is one JSON object, as COCO's annotations are.

        >>> list(list_members(io.BytesIO(b'{"info": {}, "images": [{"id": 7}]}'), "a.json", ["images"]))
        [('images', {'id': 7})]

    Other lists are passed over an item at a time. Raises DataError as `records` does.
    """
    _skip_mark(stream)
    text, number = _Window(stream, name, _LENIENT), 0
    if text.skip_blanks() != "{":
        raise DataError(f"{name}: is not a JSON object; fetch the file again")
    text.position += 1
    while (mark := text.skip_blanks()) != "}":
        if number and mark == ",":
            text.position += 1
            text.skip_blanks()
        elif number:
            raise DataError(f"{name}: is not JSON (expecting ',' or '}}' after member {number}); fetch the file again")
        number += 1
        key = text.value(number)
        if not isinstance(key, str) or text.skip_blanks() != ":":
            raise DataError(f"{name}: is not JSON (member {number} has no key); fetch the file again")
        text.position += 1
        if text.skip_blanks() == "[":
            for item in _items(text, name):
                if key in keys:
                    yield key, item
        else:
            text.value(number)
    text.position += 1
    if text.skip_blanks():
        raise DataError(f"{name}: is not JSON (text after the object); fetch the file again")


def _items(text: _Window, name: str) -> Iterator[Any]:
    """Items of the list that begins here, which is read to its end."""
    number, after = 0, "["
    text.position += 1
    while True:
        mark = text.skip_blanks()
        if after == "item" and mark == ",":
            text.position += 1
            after = ","
        elif mark == "]" and after != ",":
            text.position += 1
            return
        elif after == "item" or not mark:
            expected = "',' or ']'" if after == "item" else "a value"
            raise DataError(f"{name}: is not JSON (expecting {expected} after record {number}); fetch the file again")
        else:
            number += 1
            yield text.value(number)
            after = "item"


class _Window:
    """The part of a text that is looked at, read on from `stream` as far as needed."""

    def __init__(self, stream: IO[bytes], name: str, decoder: json.JSONDecoder) -> None:
        self.text, self.position = "", 0
        self._stream, self._name, self._decoder = stream, name, decoder
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._ended = False

    def skip_blanks(self) -> str:
        """The next character that is not blank, which stays unread; "" at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in _BLANK:
                self.position += 1
            if self.position < len(self.text) or not self._more(_CHUNK):
                return self.text[self.position : self.position + 1]

    def value(self, number: int) -> Any:
        """The JSON value that begins here, read to its end."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.position)
                # A number may go on after the end of the window: `12`, `12.`, `12e-`.
                cut = not self.text[end:].strip(_NUMBER) if len(self.text) - end < 4 else False
                if not (cut and self._more(size)):
                    self.position = end
                    return value
            except json.JSONDecodeError as error:
                # Cut off, and no mistake, if a text has no end or the error is where the window ends.
                cut = error.msg.startswith("Unterminated") or error.pos > len(self.text) - 16
                if not (cut and self._more(size)):
                    raise self._broken(number, error) from error
            except (ValueError, RecursionError) as error:
                raise self._broken(number, error) from error
            size *= 2

    def _broken(self, number: int, error: Exception) -> DataError:
        return DataError(f"{self._name}: record {number} is not JSON ({error}); fetch the file again")

    def _more(self, size: int) -> bool:
        """Whether there was more to read."""
        if self._ended:
            return False
        data = self._stream.read(size)
        try:
            text = self._decode.decode(data, final=not data)
        except UnicodeDecodeError as error:
            start = self._stream.tell() - len(data) + error.start
            raise DataError(f"{self._name}: byte {start} is not UTF-8; save the file as UTF-8") from error
        self._ended = not data
        self.text, self.position = self.text[self.position :] + text, 0
        return bool(text) or (not self._ended and self._more(size))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


STRICT, _LENIENT = json.JSONDecoder(parse_constant=_refuse_constant), json.JSONDecoder()
