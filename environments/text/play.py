"""Whole episodes of a pool, played by a policy that answers for many at once."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...hub_sync.errors import UsageError
from .interface import Episode, Frame, Trajectory
from .pool import GamePool, Lost

RESTARTS = 3  # times an episode may begin again because its replay differed


@dataclass(frozen=True)
class View:
    """What a policy sees of one episode.

    Attributes:
        observations: the first and one after each action.
        actions, replies: as the game got them, and as the policy wrote them.
        answers: what was asked of the game in this state.
    """

    episode: Episode
    observations: list[str]
    actions: list[str]
    replies: list[str]
    answers: dict[str, Any]


Policy = Callable[[list[View]], Sequence[str | None]]


def play(
    pool: GamePool,
    episodes: Sequence[Episode],
    policy: Policy,
    batch: int = 16,
    asked: Sequence[str] = (),
    max_steps: int | None = None,
) -> list[Trajectory]:
    """Play episodes to their end, and return them in the order given.

        >>> with GamePool("taxi", workers=2) as pool:
        ...     rows = play(pool, panel(pool, "test", 20), lambda views: ["move north"] * len(views), batch=8)

    Args:
        policy: called with the views of all live episodes at once, in their order; gives a reply for each, in which
            `action_of` finds the action, or None to end the episode.
        batch: live episodes. Which of them a policy sees together depends on it, and not on the workers.
        asked: what is asked of the game in every state (`GamePool.ask`); views and trajectories have the answers.
        max_steps: steps after which an episode is cut, if the game's own limit is not lower.

    Raises UsageError if the policy gives anything else.
    """
    for name, value in (("batch", batch), ("max_steps", 1 if max_steps is None else max_steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"game {pool.title}: {name} {value!r} is not a whole number of at least 1")
    rows = [Trajectory(episode) for episode in episodes]
    waiting, free = deque(range(len(rows))), list(range(batch))[::-1]
    slots: dict[int, int] = {}  # of the live rows
    begin: list[int] = []  # rows whose episode has to begin, for the first time or again
    while waiting or slots:
        while waiting and free:
            slots[waiting[0]] = free.pop()
            begin.append(waiting.popleft())
        if begin:
            frames = pool.reset({slots[row]: rows[row].episode for row in begin}, asked)
            begin = []
        else:
            frames = pool.step(_replies(pool, rows, slots, policy), asked)
        for row, slot in sorted(slots.items()):
            if slot in frames and not note(rows[row], frames[slot], max_steps):
                rows[row] = Trajectory(rows[row].episode, restarts=rows[row].restarts)
                begin.append(row)
            if rows[row].end:
                del rows[row].replies[len(rows[row].actions) :]  # one that a crash left without an answer
                pool.free([slot])
                free.append(slots.pop(row))
    return rows


def _replies(pool: GamePool, rows: list[Trajectory], slots: dict[int, int], policy: Policy) -> dict[int, str]:
    """The policy's replies by slot; who gave none has ended."""
    live = [rows[row] for row in sorted(slots)]
    views = [
        View(one.episode, list(one.observations), list(one.actions), list(one.replies), one.answers[-1])
        for one in live
    ]
    replies = list(policy(views))
    if len(replies) != len(views):
        raise UsageError(f"game {pool.title}: the policy gave {len(replies)} replies to {len(views)} views")
    for one, reply in zip(live, replies, strict=True):
        if reply is None:
            one.end = "refused"
        elif isinstance(reply, str):
            one.replies.append(reply)
        else:
            raise UsageError(f"game {pool.title}: the policy's reply is not text but {reply!r:.80}")
    return {slots[row]: rows[row].replies[-1] for row in sorted(slots) if not rows[row].end}


def note(row: Trajectory, frame: Frame | Lost, max_steps: int | None) -> bool:
    """Add a frame to its trajectory; false if the episode has to begin again."""
    if isinstance(frame, Lost):
        row.restarts += not frame.final
        if frame.final or row.restarts > RESTARTS:
            row.end = f"crashed: {frame.reason}"
        return bool(row.end)
    row.score, row.success = frame.score, frame.success
    if row.observations:
        row.actions.append(frame.action)
        row.rewards.append(frame.reward)
        row.valid.append(frame.valid)
    row.observations.append(frame.observation)
    if frame.done:
        row.end = "done"
    else:
        row.answers.append(frame.answers)
        if len(row.actions) >= min(frame.max_steps, max_steps or frame.max_steps):
            row.end = "max_steps"
    return True
