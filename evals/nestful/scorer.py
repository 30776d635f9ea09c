"""The score of one reply to a request of NESTFUL. Needs neither lm-eval nor torch."""

from .._lib.call_lists import scorer
from .._lib.call_lists.micro import Tally
from .._lib.call_lists.scorer import Calls, whole
from .._lib.tool_calls import parse


def score(gold: Calls, reply: str) -> tuple[dict[str, float], dict[str, Tally]]:
    """As `call_lists.scorer.score`, and averaged `sequence_exact`: the calls are gold's, in gold's order."""
    values, tallies = scorer.score(gold, reply)
    in_order = list(map(whole, parse(reply).calls)) == list(map(whole, gold))
    return values | {"sequence_exact": float(values["call_exact"] and in_order)}, tallies
