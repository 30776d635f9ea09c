"""Bases of tasks: replies without thoughts, and metrics that a plain scorer names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.task import ConfigurableTask

from ...hub_sync.errors import UsageError
from ...inference.reasoning import answer_of, opened_by, reasoning_tags
from .statistics import wilson_high, wilson_low


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
        """As upstream; refuses wrong tags before anything is generated."""
        _ = self.reasoning_tags
        super().build_all_requests(**kwargs)

    def answer(self, text: str, prompt: Any) -> str:
        """The answer in a reply to a prompt, which may have opened the thought.

        Where lm-eval's model has its own `think_end_token`, which lm-eval puts into the metadata, it has cut already.
        """
        cut = (self.config.metadata or {}).get("think_end_token")
        opened = "" if cut else opened_by(prompt, self.reasoning_tags)
        return answer_of(opened + text, self.reasoning_tags)

    def apply_filters(self) -> list[Any] | None:
        """Filter as upstream, but what is left of the replies without their thoughts."""
        instances = self._instances or []
        whole = [instance.resps for instance in instances]
        for instance in instances:
            instance.resps = [
                self.answer(one, instance.args[0]) if isinstance(one, str) else one for one in instance.resps
            ]
        try:
            result: list[Any] | None = super().apply_filters()
        finally:
            for instance, replies in zip(instances, whole, strict=True):
                instance.resps = replies
        return result


class ScoredTask(AnswerTask):
    """lm-eval's task with metrics that a plain scorer names.

    A subclass sets `METRICS` (all names that `scores` may return; a value is left out if it does not apply to a
    document), `LOWER_IS_BETTER` and `scores`. Every metric is averaged; those in `INTERVALS` also get `NAME_ci_low`
    and `NAME_ci_high`.
    """

    TARGET = "gold"  # column with the right answer

    METRICS: tuple[str, ...] = ()
    INTERVALS: tuple[str, ...] = ()
    LOWER_IS_BETTER: tuple[str, ...] = ()

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={k: v for k, v in config.items() if k != "class"})

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Metrics of one document. Set by the subclass.

        Args:
            results: the answers without thoughts, or of each option (log-likelihood, is the first choice).
        """
        raise NotImplementedError

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """`scores` with the values for the intervals; nothing under --predict_only."""
        return {"bypass": 0.0} if self.bypassed else self.with_intervals(self.scores(doc, results))

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> Any:
        """The right answer."""
        return str(doc[self.TARGET])

    @property
    def bypassed(self) -> bool:
        """True under --predict_only: the answers are stored and nothing is scored."""
        return "bypass" in self._metric_fn_list

    def aggregation(self) -> dict[str, Any]:
        """How each metric is put together over the documents; mean gets a standard error from lm-eval."""
        from lm_eval.api.metrics import mean

        table: dict[str, Any] = {"bypass": mean} | dict.fromkeys(self.METRICS, mean)
        for name in self.INTERVALS:
            table |= {f"{name}_ci_low": wilson_low, f"{name}_ci_high": wilson_high}
        return table

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of each metric."""
        ends = ("_ci_low", "_ci_high")
        plain = {name: name.removesuffix(ends[0]).removesuffix(ends[1]) for name in self.aggregation()}
        return {name: metric not in self.LOWER_IS_BETTER for name, metric in plain.items()}

    def with_intervals(self, scores: dict[str, float]) -> dict[str, float]:
        """Add the values that the interval metrics are computed from."""
        for name in self.INTERVALS:
            if name in scores:
                scores[f"{name}_ci_low"] = scores[f"{name}_ci_high"] = scores[name]
        return scores
