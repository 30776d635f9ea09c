"""Tool calls as an lm-eval task: one document per assistant turn of a conversation that offers functions.

    lm_eval run --model hf --model_args pretrained=... --apply_chat_template --tasks toolcall \\
        --metadata '{"dataset": "org/tool-calls@v1.0.0"}'

The model continues the conversation as it went up to that turn (teacher forcing), greedily.
"""

from __future__ import annotations

from typing import Any

from ...hub_sync.errors import DataError
from .._lib.data import TaskData
from .._lib.turn_task import TurnTask, turns_to_answer


class ToolCallTask(TurnTask):
    """Every assistant turn of the test split's conversations that offer functions."""

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the test split and cut it into turns. Raises as `TaskData.rows` does."""
        import datasets

        rows = TaskData("toolcall", "hubwright/tool-calls", "toolcalls").rows(self.config.metadata)
        try:
            documents = turns_to_answer(rows)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the data set has no messages and tools in TRL's form ({error!r})") from error
        if not documents:
            raise DataError("no conversation of the test split offers functions: nothing to evaluate")
        self.dataset = {"test": datasets.Dataset.from_list(documents)}
