"""FB-Bench as an lm-eval task: three messages in, one answer out, judged in one batch, scored as published.

Settings come from `--metadata` or, in brackets, from the environment: `dataset` [HUBWRIGHT_DATA_FBBENCH], `judge`
[HUBWRIGHT_JUDGE] (a string or a mapping of `JudgeConfig`), `verdicts` [HUBWRIGHT_VERDICTS] (file to store them in, and
to go on from), `bootstrap` (resamples, 1000), `max_failed` (share in 0..1 above which no score is given, 0.05).
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.instance import Instance

from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.text import utf8
from .._lib.chat import RuleScoredTask
from .._lib.data import TaskData
from .._lib.judging.judge import check_ready, judge_answers, read_judge_config
from .answers import read_rows
from .metrics import higher_is_better, metric_names, read_metric
from .samples import EC, MAX_TOKENS, TEMPERATURES, Sample, answer_state, from_row
from .scorer import account, judged_score, score
from .verdicts import Judged, collect, official_rows

logger = logging.getLogger(__name__)

RESERVE = 100  # tokens the published rule leaves free
STEP = 256  # our choice: limits are cut to multiples of it, or each answer would be a batch of its own
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
DATA = TaskData("fbbench", "hubwright/fb-bench")
NO_JUDGE = (
    'FB-Bench needs a judge: pass --metadata \'{"judge": "openai:MODEL@BASE_URL"}\' (or "embedded:ORG/NAME-GGUF", '
    '"replay:VERDICTS.jsonl"), set HUBWRIGHT_JUDGE, or store the answers with --predict_only and run `hubwright judge '
    "fbbench` on them"
)


class FBBenchTask(RuleScoredTask):
    """The benchmark on a data set built by `hubwright run fbbench` (or the official JSON file)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._samples: dict[str, Sample] = {}
        self._judged: dict[str, Judged] = {}
        self._report: dict[str, Any] = {}
        self._present: list[Sample] = []
        self._rank, self._world_size = 0, 1
        super().__init__(config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the rows, and read the judge's settings, so that a wrong one fails before anything else is done."""
        judge = self._metadata.get("judge") or os.environ.get("HUBWRIGHT_JUDGE")
        self._judge = read_judge_config(judge) if judge else None
        rows = self._rows()
        try:
            self._samples = {row["id"]: from_row(row) for row in rows}
        except (KeyError, TypeError) as error:
            raise DataError(f"the data set is not FB-Bench ({error!r}); {DATA.hint}") from error
        self.dataset = {"test": datasets.Dataset.from_list(rows)}

    def _rows(self) -> list[dict[str, Any]]:
        return read_rows(*DATA.locate(self._metadata))

    @property
    def _metadata(self) -> dict[str, Any]:
        return self.config.metadata or {}

    def build_all_requests(self, **kwargs: Any) -> None:
        """As upstream; refuses first to generate answers that nobody could judge."""
        self._rank, self._world_size = kwargs.get("rank", 0), kwargs.get("world_size", 1)
        if not self.bypassed:
            if self._judge is None:
                raise UsageError(NO_JUDGE)
            check_ready(self._judge, (official_rows,))
        super().build_all_requests(**kwargs)

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        return list(doc["messages"])

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **kwargs: Any) -> Instance:
        templated = kwargs.pop("apply_chat_template", False)
        chat_template = kwargs.pop("chat_template", None)
        settings = deepcopy(self.config.generation_kwargs or {})
        if "temperature" not in settings and "do_sample" not in settings:
            temperature = TEMPERATURES.get(doc["task_type"], 0.0)
            settings |= {"temperature": temperature, "do_sample": temperature > 0}
        if not any(name in settings for name in TOKEN_LIMITS):
            settings["max_gen_toks"] = self._room(ctx, chat_template)
        if not templated:
            settings["until"] = [*settings.get("until", []), "\n\nUser:"]
        return Instance(request_type="generate_until", doc=doc, arguments=(ctx, settings), idx=0, **kwargs)

    def _room(self, ctx: Any, chat_template: Any) -> int:
        """New tokens allowed: 4096, or what the window leaves beside the prompt and 100 tokens, as published.

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
        self._present = [self._samples[instance.doc["id"]] for instance in instances]
        if self.bypassed:
            return filtered
        assert self._judge is not None, "build_all_requests lets no run without a judge pass"
        name = self._filters[0].name
        cases = [self._samples[instance.doc["id"]].case(instance.filtered_resps[name]) for instance in instances]
        # Without a verdict the answers are still lm-eval's to keep: no probe.
        official = (official_rows,)
        rows = judge_answers(cases, self._judge, out=self._verdict_file(), official=official, probe=False)
        self._judged = {one.sample.id: one for one in collect(rows)}
        return filtered

    def _verdict_file(self) -> Path | None:
        value = self._metadata.get("verdicts") or os.environ.get("HUBWRIGHT_VERDICTS")
        if not value:
            return None
        path = Path(value).expanduser()
        return path.with_suffix(f".rank{self._rank}{path.suffix}") if self._world_size > 1 else path

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """The verdicts under `fb_overall`; under the other metrics the score, or null where the row does not count."""
        if self.bypassed:
            return {"bypass": 999}
        judged = self._judged[doc["id"]]
        record = {
            "id": doc["id"],
            "verdicts": list(judged.verdicts),
            "reasons": list(judged.reasons),
            "state": judged.state,
            "answer_state": answer_state(results[0]),
            "judge": judged.judge,
            "score": judged_score(judged),
        }
        mine = ("fb_overall", "fb_ec" if judged.sample.scenario == EC else "fb_rm")
        values = {name: record["score"] if name.startswith(mine) else None for name in self._metric_names()}
        return values | {"fb_overall": record}

    def _metric_names(self) -> list[str]:
        # All ranks must have the same metrics; alone, only those that the evaluated rows can have.
        return metric_names(self._present if self._world_size == 1 else list(self._samples.values()))

    def aggregation(self) -> dict[str, Callable[[list[Any]], float]]:
        """One function per metric. `fb_overall` comes first and scores all records; the others read its report."""
        if self.bypassed:
            return super().aggregation()

        def overall(records: list[dict[str, Any]]) -> float:
            self._report = self._score(records)
            return read_metric(self._report, "fb_overall")

        def reader(name: str) -> Callable[[list[Any]], float]:
            return lambda _: read_metric(self._report, name)

        return {name: overall if name == "fb_overall" else reader(name) for name in self._metric_names()}

    def _score(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        judged = [
            Judged(self._samples[r["id"]], tuple(r["verdicts"]), r["state"], r["answer_state"], judge=r["judge"])
            for r in records
        ]
        resamples, max_failed = self._metadata.get("bootstrap", 1000), self._metadata.get("max_failed", 0.05)
        try:
            return score(judged, resamples=int(resamples), max_failed=float(max_failed))
        except DataError as error:  # the answers must not be lost with the score: NaN instead, and the reason
            logger.error("no score: %s", error)
            return {"counts": account(judged)}

    def higher_is_better(self) -> dict[str, bool]:
        if self.bypassed:
            return super().higher_is_better()
        return {name: higher_is_better(name) for name in self._metric_names()}

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return doc["reference_response"] or ""


class FBBenchSampleTask(FBBenchTask):
    """The same on our own bilingual sample of 32 rows, which needs no download; `metadata.dataset` replaces it."""

    def _rows(self) -> list[dict[str, Any]]:
        if self._metadata.get("dataset"):
            return super()._rows()
        return read_rows(Path(__file__).with_name("sample.jsonl"), "sample.jsonl")
