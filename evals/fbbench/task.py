"""FB-Bench as an lm-eval task: three messages in, one answer out, judged in one batch, scored as published.

Settings are those of `_lib.judging.task`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from ...hub_sync.errors import DataError
from .._lib.data import TaskData
from .._lib.judging.cases import Case
from .._lib.judging.task import JudgedTask
from .answers import read_rows
from .benchmark import FBBENCH
from .metrics import higher_is_better, metric_names, read_metric
from .samples import EC, TEMPERATURES, Sample, answer_state, from_row
from .scorer import account, judged_score, score
from .verdicts import Judged, collect

logger = logging.getLogger(__name__)


class FBBenchTask(JudgedTask):
    """The benchmark on a data set built by `hubwright run fbbench` (or the official JSON file)."""

    BENCHMARK = FBBENCH
    DATA = TaskData("fbbench", "hubwright/fb-bench", title="FB-Bench")

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._samples: dict[str, Sample] = {}
        self._judged: dict[str, Judged] = {}
        self._report: dict[str, Any] = {}
        self._present: list[Sample] = []
        super().__init__(config)

    def rows(self) -> list[dict[str, Any]]:
        rows = self._read()
        try:
            self._samples = {row["id"]: from_row(row) for row in rows}
        except (KeyError, TypeError) as error:
            raise DataError(f"the data set is not FB-Bench ({error!r}); {self.DATA.hint}") from error
        return rows

    def _read(self) -> list[dict[str, Any]]:
        return read_rows(*self.DATA.locate(self._metadata))

    def case(self, doc: dict[str, Any], answer: Any) -> Case:
        return self._samples[doc["id"]].case(answer)

    def temperature(self, doc: dict[str, Any]) -> float:
        return TEMPERATURES.get(doc["task_type"], 0.0)

    def apply_filters(self) -> list[Instance] | None:
        filtered = super().apply_filters()
        self._present = [self._samples[instance.doc["id"]] for instance in self._instances or []]
        self._judged = {
            one.sample.id: one for one in collect([row for rows in self._verdicts.values() for row in rows])
        }
        return filtered

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
            self._report = self._report_on(records)
            return read_metric(self._report, "fb_overall")

        def reader(name: str) -> Callable[[list[Any]], float]:
            return lambda _: read_metric(self._report, name)

        return {name: overall if name == "fb_overall" else reader(name) for name in self._metric_names()}

    def _report_on(self, records: list[dict[str, Any]]) -> dict[str, Any]:
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

    def _read(self) -> list[dict[str, Any]]:
        if self._metadata.get("dataset"):
            return super()._read()
        return read_rows(Path(__file__).with_name("sample.jsonl"), "sample.jsonl")
