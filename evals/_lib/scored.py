"""Bases of tasks: replies without thoughts, and metrics that a plain scorer names."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

from ...hub_sync.errors import UsageError
from ...inference.reasoning import answer_of, opened_by, reasoning_tags
from .data import TaskData
from .statistics import wilson_end


class AnswerTask(ConfigurableTask):
    """lm-eval's task whose filters, and so whose scores, see a reply without its thought; the samples keep the reply.

    Further opening tags of thoughts stand in `metadata.reasoning_tags`.
    """

    @property
    def reasoning_tags(self) -> tuple[str, ...]:
        """The opening tags of thoughts. Raises UsageError for what is no tag."""
        try:
            return reasoning_tags((self.config.metadata or {}).get("reasoning_tags", ()))
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"task {self.config.task}: metadata.reasoning_tags: {error}") from error

    def build_all_requests(self, **kwargs: Any) -> None:
        _ = self.reasoning_tags
        super().build_all_requests(**kwargs)

    def answer(self, text: str, prompt: Any) -> str:
        """The answer in a reply to a prompt that may have opened the thought; `think_end_token` has cut it already."""
        cut = (self.config.metadata or {}).get("think_end_token")
        opened = "" if cut else opened_by(prompt, self.reasoning_tags)
        return answer_of(opened + text, self.reasoning_tags)

    def apply_filters(self) -> list[Any] | None:
        """Filter as upstream, but what is left of the replies without their thoughts."""
        instances = self._instances or []
        replies = [instance.resps for instance in instances]
        for instance in instances:
            prompt = instance.args[0]
            instance.resps = [self.answer(one, prompt) if isinstance(one, str) else one for one in instance.resps]
        try:
            return super().apply_filters()
        finally:
            for instance, original in zip(instances, replies, strict=True):
                instance.resps = original


class ScoredTask(AnswerTask):
    """lm-eval's task with metrics that a plain scorer names.

    A subclass sets `DATA`, `METRICS` (all names that `scores` may return; a value is left out if it does not apply to
    a document), `LOWER_IS_BETTER` and `scores`. Every metric is averaged; those in `INTERVALS` also get `NAME_ci_low`
    and `NAME_ci_high`.
    """

    DATA: TaskData
    SUBSET: str | None = None  # config of the data set; None: its default one
    COLUMNS: tuple[str, ...] = ()
    TEXT = ""  # the prompt, and the right answer; places are columns of a document
    TARGET = "{gold}"

    METRICS: tuple[str, ...] = ()
    INTERVALS: tuple[str, ...] = ()
    LOWER_IS_BETTER: tuple[str, ...] = ()

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={k: v for k, v in config.items() if k != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the split that the YAML names as `test_split`. Raises as `TaskData.rows` does."""
        split = str(self.config.test_split)
        rows = self.DATA.rows(self.config.metadata, split, config=self.SUBSET, columns=self.COLUMNS)
        self.dataset = {split: self.documents(rows)}

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The documents of a split's rows; the rows themselves unless a subclass says otherwise."""
        return rows

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Metrics of one document. Set by the subclass.

        Args:
            results: the answers without thoughts, or of each option (log-likelihood, is the first choice).
        """
        raise NotImplementedError

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """`scores` with the values for the intervals; nothing under --predict_only."""
        return {"bypass": 0.0} if self.bypassed else self.with_intervals(self.scores(doc, results))

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return self.TEXT.format_map(doc)

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> Any:
        return self.TARGET.format_map(doc)

    @property
    def bypassed(self) -> bool:
        """True under --predict_only: the answers are stored and nothing is scored."""
        return "bypass" in self._metric_fn_list

    def aggregation(self) -> dict[str, Any]:
        """How each metric is put together over the documents; mean gets a standard error from lm-eval."""
        from lm_eval.api.metrics import mean

        table: dict[str, Any] = {"bypass": mean} | dict.fromkeys(self.METRICS, mean)
        for name in self.INTERVALS:
            table |= {f"{name}_ci_{side}": partial(wilson_end, end=end) for end, side in enumerate(("low", "high"))}
        return table

    def higher_is_better(self) -> dict[str, bool]:
        ends = ("_ci_low", "_ci_high")
        plain = {name: name.removesuffix(ends[0]).removesuffix(ends[1]) for name in self.aggregation()}
        return {name: metric not in self.LOWER_IS_BETTER for name, metric in plain.items()}

    def with_intervals(self, scores: dict[str, float]) -> dict[str, float]:
        for name in self.INTERVALS:
            if name in scores:
                scores[f"{name}_ci_low"] = scores[f"{name}_ci_high"] = scores[name]
        return scores
