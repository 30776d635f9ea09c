"""A text game played by the model `interactive`; needs neither lm-eval nor torch.

All live episodes of a game are stepped together, in worker processes: replies are kept until the first prompt is
asked for.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from ...environments.text.interface import Episode, Frame, Trajectory, as_messages
from ...environments.text.play import note
from ...environments.text.pool import GamePool, Lost

_TABLES: dict[tuple[str, str], "Table"] = {}


class Table:
    """The pool of a game, and what its episodes wait for."""

    def __init__(self, game: str, options: str) -> None:
        self.key = (game, options)
        self.pool = GamePool(game, json.loads(options), workers=min(4, os.cpu_count() or 1))
        self.live: dict[int, GameEpisode] = {}
        self._next = 0

    def join(self, episode: "GameEpisode") -> int:
        """A slot for an episode."""
        self._next += 1
        self.live[self._next] = episode
        return self._next

    def leave(self, slot: int) -> None:
        """Free a slot; the last one ends the processes."""
        if self.live.pop(slot, None) is not None:
            self.pool.free([slot])
        if not self.live:
            self.pool.close()
            _TABLES.pop(self.key, None)

    def advance(self) -> None:
        """Begin and step all episodes that wait, in two calls of the pool."""
        begin = {slot: one.episode for slot, one in self.live.items() if one.begins}
        step = {slot: one.action for slot, one in self.live.items() if not one.begins and one.action is not None}
        frames: dict[int, Frame | Lost] = self.pool.reset(begin) if begin else {}
        frames |= self.pool.step(step) if step else {}
        for slot, frame in frames.items():
            self.live[slot].take(frame)


class GameEpisode:
    """An episode of a text game, as evals/_lib/interactive has it.

    Args:
        row: env, task and seed; options (JSON text), history (past turns in a prompt; null: all) and max_steps, each
            of which may be absent.

    The transcript has success, score, steps, invalid, end, rewards, and the observations and replies.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.episode = Episode(str(row["env"]), str(row["task"]), int(row["seed"]))
        key = (self.episode.game, row.get("options") or "{}")
        self._table = _TABLES.get(key) or _TABLES.setdefault(key, Table(*key))
        self._history, self._limit = row.get("history"), row.get("max_steps")
        self._slot, self._thoughts = self._table.join(self), 0
        self._played = Trajectory(self.episode)
        self.action: str | None = None
        self.begins = True

    @property
    def waits(self) -> bool:
        """It has to begin or to step before its next prompt."""
        return not self._played.end and (self.begins or self.action is not None)

    def take(self, frame: Frame | Lost) -> None:
        """What the game showed."""
        self.begins, self.action = not note(self._played, frame, self._limit), None
        if self.begins:
            self._played = Trajectory(self.episode, restarts=self._played.restarts)
        elif self._played.end:
            self._table.leave(self._slot)

    def prompt(self) -> list[dict[str, str]] | None:
        while self.waits:
            self._table.advance()
        one = self._played
        if one.end:
            return None
        return as_messages(self._table.pool.instructions, one.observations, one.replies, self._history)

    def reply(self, text: str, reasoning: str = "") -> None:
        self._played.replies.append(text)
        self.action = text
        self._thoughts += bool(reasoning)

    def stop(self, reason: str) -> None:
        self._played.end, self.action, self.begins = reason, None, False
        self._table.leave(self._slot)

    def transcript(self) -> dict[str, Any]:
        one = self._played
        return {
            "success": one.success, "score": one.score, "steps": len(one.rewards), "invalid": one.valid.count(False),
            "end": one.end, "restarts": one.restarts, "rewards": one.rewards, "thoughts": self._thoughts,
            "observations": one.observations, "replies": one.replies,
        }  # fmt: skip
