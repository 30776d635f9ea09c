"""NESTFUL as an lm-eval task: a request and functions in, the sequence of calls that serves it out.

The chat form is that of the `toolcall` task. Nothing is executed: references are compared as text.
"""

from .._lib.call_lists.task import CallListTask
from .._lib.data import TaskData
from .scorer import score


class NestfulTask(CallListTask):
    """All rows. Beyond what every list of calls gets, `sequence_exact`: the calls are gold's in gold's order."""

    METRICS = ("format_acc", "call_exact", "sequence_exact")
    INTERVALS = METRICS
    DATA = TaskData("nestful")
    RULE = (
        "Write all calls that the request needs, in the order in which they are to be made, in one reply. The results "
        "of your calls are named var1, var2 and so on, in the order of the calls. Where an argument is taken from the "
        "result of an earlier call, give $var1.field$ as its value, with the field's path in the `responses` of the "
        "function that was called, or $var1$ for the whole result."
    )
    SCORE = staticmethod(score)
