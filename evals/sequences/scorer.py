"""The score of one document of a synthetic sequence set. Needs neither lm-eval nor torch."""


def score(log_likelihood: float, is_greedy: bool, group: str = "") -> dict[str, float]:
    """Metrics of one document from the target's log-likelihood after the context, in nats, and whether every token of
    it is the model's first choice; `acc_GROUP` for a group.
    """
    scores = {"acc": float(is_greedy), "loss": -float(log_likelihood)}
    return scores | ({f"acc_{group}": float(is_greedy)} if group else {})
