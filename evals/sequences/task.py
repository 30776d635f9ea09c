"""The synthetic sequence sets as lm-eval tasks: is the expected word the model's first choice?

    lm_eval run --model hf --model_args pretrained=... --tasks kv_induction \\
        --metadata '{"dataset": "org/induction@v1.0.0"}'

One document a row: `context` in, the log-likelihood of a blank and `target` out. With a tokenizer that has a token for
each word, `acc` is exact: it is 1 where the expected word has the greatest probability of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._lib.data import TaskData
from .._lib.scored import ScoredTask
from .scorer import score


class SequenceTask(ScoredTask):
    """One scored position of each row. A subclass names its data set and what the accuracy is split by."""

    LOWER_IS_BETTER = ("loss",)
    NAME = ""  # of the data set and of its step
    SPLIT_BY = ""  # column whose values give acc_VALUE

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the split that the YAML names as `test_split`. Raises as `TaskData.rows` does."""
        split = str(self.config.test_split)
        data = TaskData(self.NAME, build=f"sequences --only {self.NAME}")
        columns = [name for name in ("context", "target", self.SPLIT_BY) if name]
        rows = data.rows(self.config.metadata, split, columns=columns)
        groups = sorted(set(rows[self.SPLIT_BY])) if self.SPLIT_BY else []
        self.INTERVALS = ("acc", *(f"acc_{group}" for group in groups))
        self.METRICS = (*self.INTERVALS, "loss")
        self.dataset = {split: rows}

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **kwargs: Any) -> str:
        """The context as it is: no template, instruction or example belongs before a synthetic sequence.

        The YAML's `num_fewshot: 0` makes lm-eval pass over any other number.
        """
        return str(doc["context"])

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        """The words up to the scored position."""
        return str(doc["context"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The expected word behind a blank, as it stands in a text."""
        return f" {doc['target']}"

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Metrics of one answer: (log-likelihood, is greedy)."""
        ((log_likelihood, is_greedy),) = results
        return score(log_likelihood, is_greedy, str(doc[self.SPLIT_BY]) if self.SPLIT_BY else "")


class InductionTask(SequenceTask):
    """A key that was seen: its successor."""

    NAME = "induction"


class NgramTask(SequenceTask):
    """The left side of a rule: its right side."""

    NAME = "ngram"


class HopKTask(SequenceTask):
    """A letter: the one reached by k hops."""

    NAME, SPLIT_BY = "hop_k", "hops"


class ModularArithmeticTask(SequenceTask):
    """A problem and its solution up to the last result: that result."""

    NAME, SPLIT_BY = "arithmetic", "difficulty"
