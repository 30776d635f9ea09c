"""What an interactive task and the model that runs it exchange, without lm-eval.

lm-eval hands a model one text per document and takes one text back: here a JSON text that names a player and holds the
document, and a JSON text of the transcript. A player makes the episode of a document; requests name registered players
only.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ....hub_sync.errors import DataError
from ....inference.reasoning import TAGS

_REQUEST = '{"hubwright": "episode", '
_TRANSCRIPT = '{"hubwright": "transcript", '


class Episode(Protocol):
    """One document, played step by step."""

    def prompt(self) -> list[dict[str, str]] | None:
        """The conversation (`role`, `content`) whose next turn the model writes; None when the episode is over."""

    def reply(self, text: str, reasoning: str = "") -> None:
        """Act on the model's turn; its thought is for the transcript alone. Never raises for a reply."""

    def stop(self, reason: str) -> None:
        """End the episode as failed, for a reason in one line."""

    def transcript(self) -> dict[str, Any]:
        """All that came of it, in JSON's types; the task scores it."""


Player = Callable[[Mapping[str, Any]], Episode]
_PLAYERS: dict[str, Player] = {}


def register(player: Player) -> str:
    """The name by which requests of this process mean a player: "package.module:name"."""
    name = f"{player.__module__}:{player.__qualname__}"
    _PLAYERS[name] = player
    return name


@dataclass(frozen=True)
class Request:
    """A task's request for an episode: a registered player, the document, whether prompts go through the model's chat
    template, the evaluation's own system instruction, and the opening tags of thoughts, which no episode sees.
    """

    player: str
    document: dict[str, Any]
    chat: bool = False
    system: str | None = None
    tags: tuple[str, ...] = TAGS

    def text(self) -> str:
        """As the prompt that lm-eval carries. Raises DataError for a document that has no JSON form."""
        names = ("player", "chat", "system", "tags", "document")
        try:
            return _REQUEST + _json({name: getattr(self, name) for name in names})
        except TypeError as error:
            raise DataError(f"{_source(self)} has no JSON form ({error}); build the data set anew") from error


def read_request(text: object) -> Request | None:
    """The request in a prompt; None for a prompt of another task. Raises DataError for one that is damaged."""
    if not isinstance(text, str) or not text.startswith(_REQUEST):
        return None
    try:
        fields = json.loads(text)
        chat, tags = bool(fields["chat"]), tuple(fields["tags"])
        return Request(fields["player"], fields["document"], chat, fields["system"], tags)
    except (ValueError, KeyError) as error:
        raise DataError(f"a request for an episode cannot be read ({error}); build the requests anew") from error


def begin(request: Request) -> Episode:
    """The episode of a request. Raises DataError for an unregistered player or a document that it cannot play."""
    player = _PLAYERS.get(request.player)
    if player is None:
        raise DataError(f"no task of this process plays {request.player!r}; build the requests anew")
    try:
        return player(request.document)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{_source(request)} cannot be played ({error!r}); build the data set anew") from error


def transcript_text(transcript: Mapping[str, Any]) -> str:
    return _TRANSCRIPT + _json(transcript)


def _source(request: Request) -> str:
    return f"{request.player}: document {request.document.get('id')!r}"


def _json(value: Mapping[str, Any]) -> str:
    """JSON without its first brace; half a surrogate pair, which no file takes, as its escape."""
    text = json.dumps(dict(value), ensure_ascii=False).removeprefix("{")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_transcript(text: str) -> dict[str, Any] | None:
    """The transcript in an answer; None where an ordinary model wrote it."""
    if not text.startswith(_TRANSCRIPT):
        return None
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return result
