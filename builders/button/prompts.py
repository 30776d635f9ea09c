"""Messages to the teacher: the texts and examples of prompts.yaml, filled in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...hub_sync.text import utf8
from .._lib.conversation_rows import SWITCH
from .._lib.data_files import read_yaml
from .template import flat_of

Definition = Mapping[str, Any]
Messages = list[dict[str, str]]

PROMPTS = read_yaml(__file__, "prompts.yaml")
TEXTS, EXAMPLES = PROMPTS["texts"], PROMPTS["examples"]
# Changes with any prompt, since answers to other prompts are other answers.
VERSION = hashlib.sha256(Path(__file__).read_bytes() + utf8(json.dumps(PROMPTS))).hexdigest()[:16]


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shots(rules: str, examples: Sequence[tuple[str, str]], query: str) -> Messages:
    """Examples as turns of the conversation: small models copy those that stand inside a prompt."""
    (first, reply), *others = examples
    turns = [*_user(f"{rules}\n\n{first}"), {"role": "assistant", "content": reply}]
    for question, answer in others:
        turns += [*_user(question), {"role": "assistant", "content": answer}]
    return [*turns, *_user(query)]


def _with_json_replies(name: str, word: str, query: str) -> Messages:
    """A prompt whose examples pair a text with a JSON object."""
    shots = [(f"{word}: {text}", _json(reply)) for text, reply in EXAMPLES[name]]
    return _shots(TEXTS[name], shots, f"{word}: {query}")


def _steps(sub_tasks: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(sub_tasks, 1))


def _definitions(definitions: Sequence[Definition]) -> str:
    return "\n".join(_json(flat_of(definition)) for definition in definitions)


def scenario(conversation: str) -> Messages:
    """The situation behind a conversation, in a few words."""
    return _user(TEXTS["scenario"].format(conversation=conversation, example=EXAMPLES["expansion"][0][0]))


def expansion(situation: str) -> Messages:
    """Another situation."""
    return _shots(TEXTS["expansion"], EXAMPLES["expansion"], situation)


def atomic(situation: str) -> Messages:
    """A task of one step."""
    return _with_json_replies("atomic", "Situation", situation)


def sequential(task: str) -> Messages:
    """A task that builds upon the given one, and both in one."""
    return _with_json_replies("sequential", "Task", task)


def parallel_then_sequential(task: str) -> Messages:
    """A task beside the given one, one upon both, and all in one."""
    return _with_json_replies("parallel_then_sequential", "Task", task)


def consistency(task: str, sub_tasks: Sequence[str]) -> Messages:
    """Do the sub-tasks make up the task?"""
    shots = [(_cut(whole, steps), verdict) for whole, steps, verdict in EXAMPLES["consistency"]]
    return _shots(TEXTS["consistency"], shots, _cut(task, sub_tasks))


def _cut(task: str, sub_tasks: Sequence[str]) -> str:
    return f"Request: {task}\nSteps:\n{_steps(sub_tasks)}"


def functions(task: str, sub_tasks: Sequence[str], number: int, earlier: Sequence[Definition]) -> Messages:
    """The functions for sub-task `number`, counted from 0."""
    rules = TEXTS["functions"].format(function_rules=TEXTS["function_rules"])
    first, reply = EXAMPLES["sequential"][0]
    example = _step(reply["whole"], [first, reply["next"]], 0, [])
    shots = [(example, _json({"functions": [EXAMPLES["function"]]}))]
    return _shots(rules, shots, _step(task, sub_tasks, number, earlier))


def _step(task: str, sub_tasks: Sequence[str], number: int, earlier: Sequence[Definition]) -> str:
    existing = f"Functions that are there already:\n{_definitions(earlier)}\n" if earlier else ""
    return f"{_cut(task, sub_tasks)}\n{existing}Define what step {number + 1} needs: {sub_tasks[number]}"


def task_with_functions(situation: str) -> Messages:
    """Without the bottom-up half: a task and its functions at once."""
    form = _json({"task": "...", "functions": [EXAMPLES["function"]]})
    rules = TEXTS["function_rules"]
    return _user(TEXTS["task_with_functions"].format(situation=situation, function_rules=rules, form=form))


def user(task: str) -> Messages:
    """The user agent's first words."""
    shots = [(f"Wanted: {wish}", message) for wish, message in EXAMPLES["user"]]
    return _shots(TEXTS["user"], shots, f"Wanted: {task}")


def assistant(sub_tasks: Sequence[str], functions: Sequence[Sequence[Definition]], parallel: bool) -> str:
    """The assistant agent's system message, with the breakdown that is not kept."""
    plan = ""
    if sub_tasks:
        named = [
            f"{text} ({'with ' + ', '.join(d['name'] for d in part) if part else 'no function: work it out yourself'})"
            for text, part in zip(sub_tasks, functions, strict=True)
        ]
        plan = TEXTS["plan"].format(steps=_steps(named)) + "\n\n"
    # What never changes stands first: a server that keeps prompts reads it once.
    return str(
        TEXTS["assistant"].format(
            acted=EXAMPLES["acted"],
            plan=plan,
            functions=_definitions([d for part in functions for d in part]),
            switch=SWITCH[parallel],
        )
    )


def results(answered: Sequence[Mapping[str, Any]]) -> Messages:
    """What the called functions returned, as the assistant agent sees it."""
    return _user(f"Results:\n{_json(list(answered))}")


def tool(definition: Definition, name: str, arguments: Mapping[str, Any]) -> Messages:
    """A tool agent: the definition and the call."""
    call = _json({"name": name, "arguments": dict(arguments)})
    return [
        {"role": "system", "content": TEXTS["tool"].format(definition=_json(flat_of(definition)))},
        *_user(f"Call: {call}\nReply with the JSON object alone."),
    ]


def trajectory(
    task: str, sub_tasks: Sequence[str], functions: Sequence[Sequence[Definition]], parallel: bool
) -> Messages:
    """Without the top-down half: the whole conversation in one reply."""
    return _user(
        TEXTS["trajectory"].format(
            task=task,
            steps=f"Steps:\n{_steps(sub_tasks)}\n" if sub_tasks else "",
            functions=_definitions([d for part in functions for d in part]),
            switch=SWITCH[parallel],
            form=_json({"question": "what the user says", "turns": EXAMPLES["reply"]}),
        )
    )
