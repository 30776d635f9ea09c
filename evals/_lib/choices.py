"""Questions whose answer is the likeliest of several continuations: scores of one document, and the base of tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...hub_sync.text import utf8
from .scored import ScoredTask


def choice_scores(log_likelihoods: Sequence[float], options: Sequence[str], gold: int) -> dict[str, float]:
    """Metrics of one document.

    Args:
        log_likelihoods: of each option behind the prompt, in nats, summed over its tokens.
        options: their texts, without the blank before them.
        gold: number of the right one.

    Returns:
        acc: the right option is the likeliest (the first of equal ones).
        acc_norm: the same after division by the option's number of characters, as lm-eval.
        choice_loss: negative log of the right option's share of the options' probabilities, in nats (our choice).
        loss_per_byte: negative log-likelihood of the right option per UTF-8 byte, in nats (our choice).
    """
    normed = [value / max(len(option), 1) for value, option in zip(log_likelihoods, options, strict=True)]
    best = max(log_likelihoods)
    total = best + math.log(math.fsum(math.exp(value - best) for value in log_likelihoods))
    return {
        "acc": float(list(log_likelihoods).index(best) == gold),
        "acc_norm": float(normed.index(max(normed)) == gold),
        "choice_loss": total - log_likelihoods[gold],
        "loss_per_byte": -log_likelihoods[gold] / max(len(utf8(options[gold])), 1),
    }


class ChoiceTask(ScoredTask):
    """The likeliest of several continuations. A document has `options` and `gold`, the number of the right one."""

    METRICS: tuple[str, ...] = ("acc", "acc_norm", "choice_loss", "loss_per_byte")
    INTERVALS = ("acc",)
    LOWER_IS_BETTER = ("choice_loss", "loss_per_byte")

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({**config, "doc_to_choice": "options"})

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> int:
        return int(doc["gold"])

    def scores(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        return choice_scores([float(value) for value, _ in results], doc["options"], doc["gold"])
