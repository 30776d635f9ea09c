"""Figures of played episodes for the card."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...hub_sync.context import Report
from .._lib.rejections import Rejections
from .games import Part
from .rows import Row

SHOWN_STEPS = 8


@dataclass
class Tally:
    """Sums over the episodes of a part, and one of them to be shown.

    Attributes:
        played: sums over all episodes that were played to their end.
        used: sums over those that are published.
    """

    part: Part
    panel: str
    played: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    example: Row | None = None

    def add(self, row: Row) -> None:
        """Count a played episode."""
        invalid = len(row["valid"]) - sum(row["valid"])
        self.played.update(
            episodes=1, success=row["success"], score=row["score"], steps=len(row["actions"]), invalid=invalid,
            reward=sum(row["rewards"]),
        )  # fmt: skip

    def use(self, row: Row, texts_differ: bool = False) -> None:
        """Count a row of `trajectories`."""
        self.used.update(episodes=1, steps=len(row["actions"]), texts_differ=texts_differ)
        self.example = self.example or row

    def line(self) -> list[Any]:
        count, mean = self.played["episodes"], {key: self.played[key] / self.played["episodes"] for key in self.played}
        return [
            self.part.game, self.part.split, count, self.used["episodes"], round(mean["success"], 3),
            round(mean["score"], 3), round(mean["steps"], 1), round(mean["reward"], 2), round(mean["invalid"], 2),
        ]  # fmt: skip


def reasons_of(rejections: Rejections, source: str) -> str:
    """A source's reasons with their numbers, for an error."""
    found = sorted((reason, n) for (name, reason), n in rejections.reasons.items() if name == source)
    return ", ".join(f"{reason}: {n}" for reason, n in found)


def report_games(report: Report, tallies: Sequence[Tally]) -> None:
    """Counts, the table by game and split, panels, and an episode to read."""
    report.card["default_config"] = "trajectories"
    used, played = sum((one.used for one in tallies), Counter()), sum((one.played for one in tallies), Counter())
    report.counts |= {
        "episodes_played": played["episodes"], "episodes": used["episodes"], "steps": used["steps"],
        "episodes_whose_texts_differ_in_a_replay": used["texts_differ"],
    }  # fmt: skip
    report.metrics |= {name: played[name] / played["episodes"] for name in ("success", "score")}
    columns = ["game", "split", "played", "used", "success", "score", "steps", "return", "invalid"]
    report.table("Episodes", columns, [one.line() for one in tallies], "Means are over all episodes that were played.")
    report.table(
        "Panels", ["game", "split", "versions", "options", "SHA-256 of the panel"],
        [[one.part.game, one.part.split, one.part.version, one.part.options, one.panel] for one in tallies],
        "The same episodes have the same hash: tasks, seeds, their order, parameters and versions.",
    )  # fmt: skip
    if example := next((one.example for one in tallies if one.example), None):
        report.section(f"An episode: {example['id']}", transcript(example))


def transcript(row: Row) -> str:
    """An episode to be read, as an indented block of Markdown."""
    lines: list[str] = []
    turns = row["messages"]
    for turn in turns[: 2 * SHOWN_STEPS]:
        begin = "> " if turn["role"] == "assistant" else ""
        lines += [f"    {begin}{line}".rstrip() for line in turn["content"].splitlines()]
    if len(turns) > 2 * SHOWN_STEPS:
        lines.append(f"    ... {len(row['actions']) - SHOWN_STEPS} more steps")
    score = "unknown" if row["score"] is None else f"{row['score']:g}"
    return "\n".join([*lines, f"    ({row['end'] or 'no end is stated'}, score {score})"])
