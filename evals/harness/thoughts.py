"""Replies of lm-eval's own tasks that hold a thought: those tasks score the whole text, and the report says so."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...hub_sync.context import StepContext
from ...inference.reasoning import split_reasoning
from .._lib.data import tasks_dir

logger = logging.getLogger("hubwright")


def note_thoughts(context: StepContext, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Add a section to the report, and warn, where tasks that are not ours scored replies with thoughts in them.

    Args:
        samples: task -> its samples, as lm-eval returns them.
    """
    from lm_eval.tasks import TaskManager

    ours = set(TaskManager(include_defaults=False, include_path=[str(tasks_dir())]).all_tasks)
    result = {task: count for task, rows in sorted(samples.items()) if task not in ours and (count := _thoughts(rows))}
    if not result:
        return
    for task, (with_thought, replies) in result.items():
        logger.warning(
            "%s: %d of %d replies hold a thought, which lm-eval's task scored with the rest: set think_end_token, "
            "such as </think>",
            task, with_thought, replies,
        )  # fmt: skip
    counts = "; ".join(f"{task}: {some} of {all_of} replies" for task, (some, all_of) in result.items())
    body = (
        f"These tasks of lm-eval scored whole replies, thoughts included: {counts}. With the setting `think_end_token`"
        " they see what follows the thought."
    )
    context.report.section("Thoughts that were scored", body)


def _thoughts(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """(replies with a thought, replies) of a task's samples; None where no reply has one."""
    texts = [text for row in rows for reply in row.get("resps", ()) for text in reply if isinstance(text, str)]
    split = [split_reasoning(text) for text in texts]
    some = sum(bool(one.reasoning) or not one.closed for one in split)
    return (some, len(texts)) if some else None
