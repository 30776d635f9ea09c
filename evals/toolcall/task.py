"""Tool calls as an lm-eval task: one document per assistant turn of a conversation that offers functions.

The model continues the conversation as it went up to that turn (teacher forcing), greedily.
"""

import datasets

from ...hub_sync.errors import DataError
from .._lib.data import TaskData
from .._lib.turn_task import TurnTask, turns_to_answer


class ToolCallTask(TurnTask):
    """Every assistant turn of the test split's conversations that offer functions."""

    DATA = TaskData("toolcall", "hubwright/tool-calls", "toolcalls")

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows' turns. Raises DataError for rows of another form, or if no row offers functions."""
        try:
            documents = turns_to_answer(rows)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the data set has no messages and tools in TRL's form ({error!r})") from error
        if not documents:
            raise DataError("no conversation of the test split offers functions: nothing to evaluate")
        return datasets.Dataset.from_list(documents)
