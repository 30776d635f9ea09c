"""The phases in turn, each a stage in a folder of its own, with what went in, came out and was refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...inference.budget import Usage
from ...inference.conversations import text_of
from ...inference.endpoint import Endpoint
from .._lib.sources import read_rows
from .._lib.teacher import Row
from . import dedup, prompts

if TYPE_CHECKING:
    from .build import ButtonConfig


@dataclass
class Phase:
    """What a phase did. Tokens are those of all its replies, so that a replay counts the same."""

    name: str
    rows_in: int
    rows_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Pipeline:
    """One run of all phases; `phases` and `usage` grow as it goes."""

    config: ButtonConfig
    endpoint: Endpoint
    context: StepContext
    phases: list[Phase] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def run(self) -> list[Row]:
        """Rows with scenario, composition, parallel, sub_tasks, task, functions and messages.

        Raises DataError if a phase leaves no row, and what `inference.stage.run_stage` raises.
        """
        config = self.config
        scenarios = self._scenarios()
        rows: list[Row] = []
        for number in range(config.rows):
            shape = config.compositions[number // 2 % len(config.compositions)] if config.bottom_up else "direct"
            scenario = scenarios[number % len(scenarios)]
            # Every second row allows parallel calls; shapes change in pairs, so that each comes with both.
            rows.append({"n": number, "scenario": scenario, "composition": shape, "parallel": number % 2 == 0})
        if config.bottom_up:
            for work in ("atomic_tasks", "composition", "consistency", "functions"):
                rows = self._phase(f"bottom_up:{work}", rows)
        else:
            rows = self._phase("bottom_up:direct_task", rows)
        if config.top_down:
            names = ("candidates", "min_agreement", "max_rounds")
            return self._phase("top_down:trajectory", rows, {name: getattr(config, name) for name in names})
        return self._phase("top_down:direct_trajectory", rows)

    def _scenarios(self) -> list[str]:
        source = self.context.inputs.get("dataset")
        if source is None:
            scenarios: list[str] = json.loads(resources.files(__package__).joinpath("seeds.json").read_text("utf-8"))
        else:
            texts = conversations(source, self.config, self.context)
            rows = self._phase("bottom_up:scenarios", [{"n": n, "conversation": t} for n, t in enumerate(texts)])
            scenarios = [row["scenario"] for row in rows]
        scenarios = self._distinct("scenarios that differ", scenarios)
        times = self.config.expansions
        if not times:
            return scenarios
        seeds = [{"n": n * times + k, "scenario": text} for n, text in enumerate(scenarios) for k in range(times)]
        more = self._phase("bottom_up:expansion", seeds)
        return self._distinct("scenarios that differ, expanded", scenarios + [row["scenario"] for row in more])

    def _distinct(self, name: str, texts: list[str]) -> list[str]:
        config = self.config
        embedder = self.context.inputs.get("embedder")
        vectors = dedup.embeddings(texts, embedder.path) if embedder else dedup.tfidf(texts)
        indices = dedup.first_of_each(vectors, config.max_similarity)
        phase = Phase(name, len(texts), len(indices))
        if len(indices) < len(texts):
            phase.reasons["nearly the same as another"] = len(texts) - len(indices)
        self.phases.append(phase)
        return [texts[index] for index in indices]

    def _phase(self, work: str, rows: Sequence[Row], settings: dict[str, Any] | None = None) -> list[Row]:
        from ...inference.stage import run_stage

        config, (module, _, name) = self.config, work.partition(":")
        names = ("seed", "temperature", "max_tokens", "attempts", "json_mode")
        stage_settings = (
            {name: getattr(config, name) for name in names} | {"prompts": prompts.VERSION} | (settings or {})
        )
        result = run_stage(
            f"{__package__}.{module}:{name}",
            rows,
            stage_settings,
            endpoint=self.endpoint,
            folder=self.context.workdir / name,
            recording=self.context.recording or self.context.workdir / "recording",
            replay=self.context.replay,
            max_failed=config.max_failed,
            **config.scale(),
        )
        self.usage.add(result.usage)
        phase = Phase(name, len(rows))
        accepted: list[Row] = []
        for row in result.rows:
            prompt, completion = row.pop("used")
            phase.prompt_tokens += prompt
            phase.completion_tokens += completion
            if "rejected" in row:
                phase.reasons[row["rejected"]] += 1
            else:
                accepted.append(row)
        phase.reasons += Counter({"the endpoint failed": len(result.failed)})
        phase.rows_out = len(accepted)
        self.phases.append(phase)
        if not accepted:
            worst, count = phase.reasons.most_common(1)[0]
            raise DataError(
                f"phase {name}: none of {len(rows)} rows is left ({worst}: {count}); use a stronger teacher, or raise "
                "attempts or max_tokens"
            )
        return accepted


def conversations(source: Input, config: ButtonConfig, context: StepContext) -> list[str]:
    """The first conversations of a data set as text, `messages` or `conversations` (ShareGPT) as they may be.

    Raises DataError if the split cannot be read or a row has neither column.
    """
    rows, where = read_rows(source, context, config.split), f"{source.ref}: split {config.split!r}"
    texts: list[str] = []
    for row in rows.select(range(min(config.conversations, len(rows)))):
        turns = row.get("messages") or row.get("conversations")
        if not turns:
            raise DataError(f"{where} has no messages or conversations in every row")
        try:
            heard = [
                (turn.get("role") or turn.get("from"), text_of(turn.get("content") or turn.get("value")))
                for turn in turns
            ]
        except RowRejected as error:
            raise DataError(f"{where}, row {len(texts)}: {error}: repair the row") from error
        text = "\n".join(f"{role}: {words}" for role, words in heard if role != "system" and words)
        texts.append(text[: config.conversation_chars])
    if not texts:
        raise DataError(f"{where} has no rows")
    return texts
