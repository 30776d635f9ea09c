"""The synthetic sequence sets as lm-eval tasks: is the expected word the model's first choice?

One document a row: `context` in, the log-likelihood of a blank and `target` out. With a tokenizer that has a token for
each word, `acc` is exact: it is 1 where the expected word has the greatest probability of all.
"""

from collections.abc import Sequence
from typing import Any

import datasets

from .._lib.data import TaskData
from .._lib.scored import ScoredTask
from .scorer import score

# Column whose values give acc_VALUE, by data set.
GROUPS = {"hop_k": "hops", "arithmetic": "difficulty"}


class SequenceTask(ScoredTask):
    """One scored position of each row; `dataset_name` of the YAML names the data set."""

    LOWER_IS_BETTER = ("loss",)
    TEXT, TARGET = "{context}", " {target}"

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """As the parent, from the data set that the YAML names."""
        name = str(self.config.dataset_name)
        self.DATA, self.group = TaskData(name, build=f"sequences --only {name}"), GROUPS.get(name, "")
        self.COLUMNS = tuple(filter(None, ("context", "target", self.group)))
        super().download(dataset_kwargs, **kwargs)

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows; their groups decide the metrics."""
        groups = sorted(set(rows[self.group])) if self.group else []
        self.INTERVALS = ("acc", *(f"acc_{group}" for group in groups))
        self.METRICS = (*self.INTERVALS, "loss")
        return rows

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **kwargs: Any) -> str:
        """The context as it is: no template, instruction or example belongs before a synthetic sequence."""
        return str(doc["context"])

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        ((log_likelihood, is_greedy),) = results
        return score(log_likelihood, is_greedy, str(doc[self.group]) if self.group else "")
