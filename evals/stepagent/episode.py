"""A text game played by the model `interactive`; needs neither lm-eval nor torch.

All live episodes of a game are stepped together, in worker processes: replies are kept until the first prompt is
asked for.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from ...environments.text.interface import Episode, Frame, as_messages
from ...environments.text.pool import GamePool, Lost

RESTARTS = 3  # times an episode may begin again because its replay differed
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
        self._slot, self._restarts, self._thoughts = self._table.join(self), 0, 0
        self._begin()

    def _begin(self) -> None:
        self.action: str | None = None
        self.begins, self._end = True, ""
        self._observations: list[str] = []
        self._replies: list[str] = []
        self._rewards: list[float] = []
        self._invalid, self._score, self._success = 0, 0.0, False

    @property
    def waits(self) -> bool:
        """It has to begin or to step before its next prompt."""
        return not self._end and (self.begins or self.action is not None)

    def take(self, frame: Frame | Lost) -> None:
        """What the game showed."""
        if isinstance(frame, Lost):
            self._restarts += not frame.final
            if frame.final or self._restarts > RESTARTS:
                self._finish(f"crashed: {frame.reason}")
            else:
                self._begin()
            return
        if not self.begins:
            self._rewards.append(frame.reward)
            self._invalid += not frame.valid
        self.begins, self.action = False, None
        self._observations.append(frame.observation)
        self._score, self._success = frame.score, frame.success
        if frame.done:
            self._finish("done")
        elif len(self._rewards) >= min(frame.max_steps, self._limit or frame.max_steps):
            self._finish("max_steps")

    def prompt(self) -> list[dict[str, str]] | None:
        while self.waits:
            self._table.advance()
        if self._end:
            return None
        return as_messages(self._table.pool.instructions, self._observations, self._replies, self._history)

    def reply(self, text: str, reasoning: str = "") -> None:
        self._replies.append(text)
        self.action = text
        self._thoughts += bool(reasoning)

    def stop(self, reason: str) -> None:
        self._finish(reason)

    def _finish(self, end: str) -> None:
        self._end, self.action, self.begins = end, None, False
        self._table.leave(self._slot)

    def transcript(self) -> dict[str, Any]:
        return {
            "success": self._success, "score": self._score, "steps": len(self._rewards), "invalid": self._invalid,
            "end": self._end, "restarts": self._restarts, "rewards": self._rewards, "thoughts": self._thoughts,
            "observations": self._observations, "replies": self._replies,
        }  # fmt: skip
