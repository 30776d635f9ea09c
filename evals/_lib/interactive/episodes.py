"""What an interactive task and the model that runs it say to one another, without lm-eval.

lm-eval hands a model one text for a document and takes one text back. Here the first is a JSON text that names a kind
of episode and holds the document, the second a JSON text of all that came of it. Kinds stand in a table of ours: a
request cannot name code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from ....hub_sync.errors import DataError
from ....inference.reasoning import TAGS

# kind -> module beside this package; its function `episode` makes an episode of a document.
KINDS = {"bfcl": "..bfcl.live", "tool_query": "..tool_query.episode"}
_REQUEST = '{"hubwright": "episode", '
_TRANSCRIPT = '{"hubwright": "transcript", '


class Episode(Protocol):
    """One document, played step by step."""

    def prompt(self) -> list[dict[str, str]] | None:
        """The conversation (`role`, `content`) whose next turn the model writes; None when the episode is over."""

    def reply(self, text: str, reasoning: str = "") -> None:
        """Take the model's turn, act on it, go on; the thought before it is for the transcript alone. Never raises for
        what the model says."""

    def stop(self, reason: str) -> None:
        """End the episode as failed, for a reason in one line."""

    def transcript(self) -> dict[str, Any]:
        """All that came of it, in JSON's types; the task scores it."""


@dataclass(frozen=True)
class Request:
    """What a task asks for.

    Attributes:
        kind: a key of `KINDS`.
        document: what the episode is made from.
        chat: prompts go through the model's chat template.
        system: a system instruction of the evaluation's own, put first; None: none.
        tags: opening tags of thoughts, which no episode sees.
    """

    kind: str
    document: dict[str, Any]
    chat: bool = False
    system: str | None = None
    tags: tuple[str, ...] = TAGS

    def text(self) -> str:
        """As the prompt that lm-eval carries. Raises DataError for a document that has no JSON form."""
        said: dict[str, Any] = {"kind": self.kind, "chat": self.chat, "system": self.system}
        said |= {"tags": self.tags, "document": self.document}
        try:
            return _REQUEST + _json(said)
        except TypeError as error:
            raise DataError(f"{_cited(self)} has no JSON form ({error}); build the data set anew") from error


def read_request(text: object) -> Request | None:
    """The request in a prompt; None for a prompt of another task. Raises DataError for one that is damaged."""
    if not isinstance(text, str) or not text.startswith(_REQUEST):
        return None
    try:
        said = json.loads(text)
        return Request(said["kind"], said["document"], bool(said["chat"]), said["system"], tuple(said["tags"]))
    except (ValueError, KeyError) as error:
        raise DataError(f"a request for an episode cannot be read ({error}); build the requests anew") from error


def begin(request: Request) -> Episode:
    """The episode of a request. Raises DataError for a kind that is not ours or a document that is not of its kind."""
    if request.kind not in KINDS:
        raise DataError(f"episodes of kind {request.kind!r} are unknown; use one of {', '.join(sorted(KINDS))}")
    maker = import_module(KINDS[request.kind], __package__)
    try:
        made: Episode = maker.episode(request.document)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{_cited(request)} cannot be played ({error!r}); build the data set anew") from error
    return made


def transcript_text(transcript: Mapping[str, Any]) -> str:
    """A transcript as the answer that lm-eval carries."""
    return _TRANSCRIPT + _json(transcript)


def _cited(request: Request) -> str:
    return f"{request.kind}: document {request.document.get('id')!r}"


def _json(value: Mapping[str, Any]) -> str:
    """JSON without its first brace; half a surrogate pair, which no file takes, as its escape."""
    text = json.dumps(dict(value), ensure_ascii=False).removeprefix("{")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_transcript(text: str) -> dict[str, Any] | None:
    """The transcript in an answer; None where an ordinary model wrote it."""
    if not text.startswith(_TRANSCRIPT):
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found
