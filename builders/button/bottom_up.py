"""The bottom-up half: from a conversation to a composed task, its sub-tasks and their functions.

One function a phase, after BUTTON (arXiv 2410.12952). Limits of length are a little above those that the prompts ask
for: our choice.
"""

import re
from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import RowRejected
from .._lib.teacher import PhaseClient, Row, phase
from . import parse, prompts

_YOU = re.compile(r"\byou(?:r|rs|rself)?\b", re.IGNORECASE)
SCENARIO_WORDS, TASK_WORDS = 15, 45


@phase
async def scenarios(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """conversation -> scenario."""
    messages = prompts.scenario(row["conversation"])
    return {"scenario": await client.ask(messages, lambda text: parse.line(text, SCENARIO_WORDS))}


@phase
async def expansion(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """scenario -> another scenario."""
    messages = prompts.expansion(row["scenario"])
    return {"scenario": await client.ask(messages, lambda text: parse.line(text, SCENARIO_WORDS))}


@phase
async def atomic_tasks(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """scenario -> atomic, a task of one step, and values, what it states."""

    def read(text: str) -> Row:
        found = parse.json_object(text)
        task = parse.line(parse.text_of(found, "task"), TASK_WORDS)
        values = [value for value in parse.texts_of(found, "values") if parse.holds(task, value)]
        if not values:
            raise ValueError("none of the values is in the task")
        if _YOU.search(task):
            raise ValueError("the task says you: it is not the assistant whom it is about")
        if task in {reply["task"] for _, reply in prompts.EXAMPLES["atomic"]}:
            raise ValueError("the prompt's example is repeated")
        return {"atomic": task, "values": values}

    return await client.ask(prompts.atomic(row["scenario"]), read, form="json")


COMPOSITIONS = {  # -> prompt, fields of the reply with sub-tasks
    "sequential": (prompts.sequential, ("next",)),
    "parallel_then_sequential": (prompts.parallel_then_sequential, ("beside", "next")),
}


@phase
async def composition(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """atomic, values, composition -> sub_tasks (two or three) and task, which is all of them in one."""
    make_prompt, added = COMPOSITIONS[row["composition"]]

    def read(text: str) -> Row:
        found = parse.json_object(text)
        sub_tasks = [row["atomic"], *(parse.text_of(found, key) for key in added)]
        task = parse.text_of(found, "whole")
        texts = [" ".join(one.casefold().split()) for one in (*sub_tasks, task)]
        if len(set(texts)) < len(texts):
            raise ValueError("a task is said twice")
        shown = {text for name in COMPOSITIONS for _, reply in prompts.EXAMPLES[name] for text in reply.values()}
        if shown & {*sub_tasks[1:], task}:
            raise ValueError("the prompt's example is repeated")
        if lost := [value for value in row["values"] if not parse.holds(task, value)]:
            raise ValueError(f"a value is lost: {lost[0]:.60}")
        return {"sub_tasks": sub_tasks, "task": task}

    return await client.ask(make_prompt(row["atomic"]), read, form="json")


@phase
async def consistency(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """The row as it is, where the teacher finds that the sub-tasks make up the task. No verdict is no."""
    if not await client.ask(prompts.consistency(row["task"], row["sub_tasks"]), parse.says_yes, attempts=1):
        raise RowRejected("the sub-tasks do not make up the task")
    return {}


@phase
async def functions(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """task, sub_tasks -> functions: a list of definitions for each sub-task, none where it is mere reasoning."""
    defined: list[list[dict[str, Any]]] = []
    for number in range(len(row["sub_tasks"])):
        earlier = [definition for part in defined for definition in part]
        there = [definition["name"] for definition in earlier]

        def read(text: str, there: list[str] = there) -> list[dict[str, Any]]:
            return parse.definitions(parse.json_object(text).get("functions"), there)

        messages = prompts.functions(row["task"], row["sub_tasks"], number, earlier)
        defined.append(await client.ask(messages, read, label=str(number), form="json"))
    if not any(defined):
        raise RowRejected("no sub-task has a function")
    return {"functions": defined}


@phase
async def direct_task(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """The ablation: scenario -> task and functions in one prompt, with no sub-tasks."""

    def read(text: str) -> Row:
        reply = parse.json_object(text)
        defined = parse.definitions(reply.get("functions"))
        if not defined:
            raise ValueError("no function is defined")
        return {"task": parse.text_of(reply, "task"), "functions": [defined], "sub_tasks": []}

    return await client.ask(prompts.task_with_functions(row["scenario"]), read, form="json")
