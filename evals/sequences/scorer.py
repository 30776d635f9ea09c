"""The score of one document of a synthetic sequence set. Needs neither lm-eval nor torch."""


def score(log_likelihood: float, is_greedy: bool, group: str = "") -> dict[str, float]:
    """Metrics of one document.

    Args:
        log_likelihood: of the target after the context, in nats, summed over the target's tokens.
        is_greedy: every token of the target is the model's first choice.
        group: what `acc_GROUP` is split by; empty for no such metric.
    """
    scores = {"acc": float(is_greedy), "loss": -float(log_likelihood)}
    return scores | ({f"acc_{group}": float(is_greedy)} if group else {})
