"""A task of lm-eval whose answers a model judges by checklists, in one batch.

Settings come from `--metadata` or, in brackets, from the environment: `dataset` [HUBWRIGHT_DATA_NAME], `judge`
[HUBWRIGHT_JUDGE] (a string or a mapping of `JudgeConfig`), `verdicts` [HUBWRIGHT_VERDICTS] (file to store them in, and
to go on from), `bootstrap` (resamples, 1000), `max_failed` (share in 0..1 above which no score is given, 0.05).
"""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.instance import Instance

from ....hub_sync.errors import DataError, UsageError
from ....hub_sync.text import utf8
from ..chat import RuleScoredTask
from .benchmark import Benchmark
from .cases import Case, JudgeInfo, Row, decided_rows, verdict_rows
from .criteria import read_rows
from .judge import check_ready, judge_answers, read_judge_config
from .verdicts import group_rows

logger = logging.getLogger(__name__)

MAX_TOKENS = 4096
RESERVE = 100  # tokens that stay free
STEP = 256  # our choice: limits are cut to multiples of it, or each answer would be a batch of its own
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def ruled(case: Case, answers: int) -> list[Row]:
    """The rows of a case that needs no judge: a rule decides it, or there is no answer."""
    by = JudgeInfo("", language="")
    if case.answer_state == "ok":
        return decided_rows(case, by, answers)
    return verdict_rows(case, [], by, state="not_judged", attempts=0, prompt_hash="rule", answers=answers)


class JudgedTask(RuleScoredTask):
    """A subclass sets `BENCHMARK`, `METRICS` (names of its figures, the first one scores), `rows` and `case`."""

    BENCHMARK: Benchmark
    NEEDS_JUDGE = True  # False: rules decide every case

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._verdicts: dict[str, list[Row]] = {}
        self._figures: dict[str, float] = {}
        self._rank, self._world_size = 0, 1
        super().__init__(config)

    def rows(self) -> list[dict[str, Any]]:
        """The documents. Set by the subclass."""
        raise NotImplementedError

    def case(self, doc: dict[str, Any], answer: Any) -> Case:
        """An answer to a document, as it is judged. Set by the subclass."""
        raise NotImplementedError

    def temperature(self, doc: dict[str, Any]) -> float:
        """At which the answer is drawn, unless settings say otherwise."""
        return 0.0

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the rows, and read the judge's settings, so that a wrong one fails before anything else is done."""
        judge = self._metadata.get("judge") or os.environ.get("HUBWRIGHT_JUDGE")
        self._judge = read_judge_config(judge) if judge else None
        self.dataset = {"test": datasets.Dataset.from_list(self.rows())}

    @property
    def _metadata(self) -> dict[str, Any]:
        return self.config.metadata or {}

    def build_all_requests(self, **kwargs: Any) -> None:
        """As upstream; refuses first to generate answers that nobody could judge."""
        self._rank, self._world_size = kwargs.get("rank", 0), kwargs.get("world_size", 1)
        if not self.bypassed and self.NEEDS_JUDGE:
            if self._judge is None:
                name = self.BENCHMARK.name
                raise UsageError(
                    f'{self.DATA.title} needs a judge: pass --metadata \'{{"judge": "openai:MODEL@BASE_URL"}}\' (or '
                    '"embedded:ORG/NAME-GGUF", "replay:VERDICTS.jsonl"), set HUBWRIGHT_JUDGE, or store the answers '
                    f"with --predict_only and run `hubwright judge {name}` on them"
                )
            check_ready(self._judge, (self.BENCHMARK.official,))
        super().build_all_requests(**kwargs)

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        return list(doc["messages"])

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **kwargs: Any) -> Instance:
        templated = kwargs.pop("apply_chat_template", False)
        chat_template = kwargs.pop("chat_template", None)
        settings = deepcopy(self.config.generation_kwargs or {})
        if "temperature" not in settings and "do_sample" not in settings:
            temperature = self.temperature(doc)
            settings |= {"temperature": temperature, "do_sample": temperature > 0}
        if not any(name in settings for name in TOKEN_LIMITS):
            settings["max_gen_toks"] = self._room(ctx, chat_template)
        if not templated:
            settings["until"] = [*settings.get("until", []), "\n\nUser:"]
        return Instance(request_type="generate_until", doc=doc, arguments=(ctx, settings), idx=0, **kwargs)

    def _room(self, ctx: Any, chat_template: Any) -> int:
        """New tokens allowed: 4096, or what the window leaves beside the prompt and 100 tokens.

        The window is the model's own (a bound `apply_chat_template` leads to it) or `max_length` in --model_args.
        Where neither is known, as with an endpoint, 4096: the server knows its window.
        """
        model = getattr(chat_template, "__self__", None)
        window = self._metadata.get("max_length", getattr(model, "max_length", None))
        if not isinstance(ctx, str) or not window:
            return MAX_TOKENS
        encode = getattr(model, "tok_encode", None)
        prompt = len(encode(ctx)) if encode else len(utf8(ctx)) // 2
        room = min(MAX_TOKENS, int(window) - prompt - RESERVE)
        if room < STEP:
            logger.warning("a prompt of %d tokens leaves %d of a window of %s for the answer", prompt, room, window)
            return max(room, 1)
        return room // STEP * STEP

    def apply_filters(self) -> list[Instance] | None:
        """Filter as upstream, then have all answers judged in one go."""
        filtered = super().apply_filters()
        instances = self._instances or []
        if self.bypassed:
            return filtered
        name = self._filters[0].name
        cases = [self.case(instance.doc, instance.filtered_resps[name]) for instance in instances]
        self._verdicts = {}
        if self.NEEDS_JUDGE:
            assert self._judge is not None, "build_all_requests lets no run without a judge pass"
            # Without a verdict the answers are still lm-eval's to keep: no probe.
            official = (self.BENCHMARK.official,)
            rows = judge_answers(cases, self._judge, out=self._verdict_file(), official=official, probe=False)
        else:
            rows = [row for case in cases for row in ruled(case, len(cases))]
        for row in rows:
            self._verdicts.setdefault(str(row["id"]), []).append(row)
        return filtered

    def _verdict_file(self) -> Path | None:
        value = self._metadata.get("verdicts") or os.environ.get("HUBWRIGHT_VERDICTS")
        if not value:
            return None
        path = Path(value).expanduser()
        return path.with_suffix(f".rank{self._rank}{path.suffix}") if self._world_size > 1 else path

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """The verdict rows under the first metric; the others are read from its report."""
        if self.bypassed:
            return {"bypass": 999}
        return dict.fromkeys(self.METRICS) | {self.METRICS[0]: self._verdicts[str(doc["id"])]}

    def aggregation(self) -> dict[str, Callable[[list[Any]], float]]:
        """One function per metric. The first scores all verdicts; the others read its report."""
        if self.bypassed:
            return super().aggregation()

        def first(verdicts: list[list[Row]]) -> float:
            self._figures = self._score([row for rows in verdicts for row in rows])
            return self._figures.get(self.METRICS[0], math.nan)

        def reader(name: str) -> Callable[[list[Any]], float]:
            return lambda _: self._figures.get(name, math.nan)

        return {name: reader(name) if place else first for place, name in enumerate(self.METRICS)}

    def _score(self, rows: list[Row]) -> dict[str, float]:
        resamples, max_failed = self._metadata.get("bootstrap", 1000), self._metadata.get("max_failed", 0.05)
        stored = group_rows(list(enumerate(rows, 1)), "verdicts")
        try:
            report = self.BENCHMARK.score(stored, resamples=int(resamples), max_failed=float(max_failed))
        except DataError as error:  # the answers must not be lost with the score: NaN instead, and the reason
            logger.error("no score: %s", error)
            return {}
        figures = self.BENCHMARK.figures(report, rows)
        return {name: math.nan if one["value"] is None else float(one["value"]) for name, one in figures.items()}

    def higher_is_better(self) -> dict[str, bool]:
        if self.bypassed:
            return super().higher_is_better()
        return {name: name not in self.LOWER_IS_BETTER for name in self.METRICS}


class CriteriaTask(JudgedTask):
    """A judged task on rows of the step `constraints`. A subclass sets `row_case`, too: (row, where it stands, answer)
    -> its case."""

    TARGET = "{reference}"
    row_case: Callable[..., Case]

    def rows(self) -> list[dict[str, Any]]:
        """Rows that make cases. Raises DataError for the first one that does not."""
        rows = read_rows(self.DATA.locate(self.config.metadata)[0])
        for row in rows:
            self.case(row, "")
        return rows

    def case(self, doc: dict[str, Any], answer: Any) -> Case:
        return type(self).row_case(doc, f"row {doc['id']}", answer)

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return self.TARGET.format_map({name: value or "" for name, value in doc.items()})
