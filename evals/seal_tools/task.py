"""Seal-Tools as lm-eval tasks: a request and functions in, all calls that serve it out.

The chat form is that of the `toolcall` task, with one rule before the functions: how a call takes a result of another.
"""

from .._lib.call_lists.task import CallListTask
from .._lib.data import TaskData


class SealToolsTask(CallListTask):
    """One split of the instances."""

    DATA = TaskData("seal_tools")
    SUBSET = "instances"
    RULE = (
        "Write all calls that the request needs, in the order in which they are to be made, in one reply. The results "
        "of your calls are named API_call_0, API_call_1 and so on: they are counted from 0 over all your calls in "
        "their order, and a call has one result for each property in the `responses` of its function. Where an "
        "argument is a result of an earlier call, give that name as its value."
    )
