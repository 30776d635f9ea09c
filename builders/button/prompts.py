"""What the teacher is told, in our own words; what each prompt asks for follows BUTTON (arXiv 2410.12952).

Short enough for a model of 1.5 billion parameters with a window of 4,096 tokens. The worked examples are ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._lib.conversation_rows import SWITCH
from .template import flat_of

Definition = Mapping[str, Any]
Messages = list[dict[str, str]]

# Changes with any prompt, since answers to other prompts are other answers.
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]

OTHER = (
    ("planning a weekend trip by train", "looking after the neighbours' cat in summer"),
    ("getting a bicycle repaired nearby", "writing a speech for a wedding"),
    ("comparing two insurance policies", "baking a cake for a school party"),
)
GIVEN = "Find out which museum in Oslo shows The Scream."
AMOUNT = "Convert 250 US dollars to Swiss francs at the rate of 3 May 2024."
FLAT = "Find flats with two rooms in Graz for at most 900 euros a month."
TRAINS = "Find the trains from Lyon to Geneva on the morning of 3 May."
LIBRARY = "Look up when the city library in Porto is open on Saturday."
# Stating the values first makes a small teacher invent some; each is looked for in the task.
ATOMIC = (
    ("a day among works of art", {"values": ["The Scream", "Oslo"], "task": GIVEN}),
    ("paying in another country", {"values": ["250", "US dollars", "Swiss francs", "3 May 2024"], "task": AMOUNT}),
    (
        "a delivery to a friend",
        {
            "values": ["4 kg", "Lisbon", "Hamburg"],
            "task": "Find out what it costs to send a parcel of 4 kg from Lisbon to Hamburg.",
        },
    ),
    ("moving to another town", {"values": ["two rooms", "Graz", "900 euros"], "task": FLAT}),
)
# Naming the result first makes it take one up: without it, a small teacher's next task is often the given one again.
SEQUENTIAL = (
    (
        GIVEN,
        {
            "result": "a museum",
            "next": "Look up the opening hours of that museum on Sunday.",
            "whole": "When is the museum in Oslo that shows The Scream open on Sunday?",
        },
    ),
    (
        AMOUNT,
        {
            "result": "an amount in Swiss francs",
            "next": "Find hotels in Bern that cost less than that amount for a night.",
            "whole": "Which hotels in Bern cost less for a night than what 250 US dollars came to in Swiss francs on "
            "3 May 2024?",
        },
    ),
    (
        FLAT,
        {
            "result": "a list of flats",
            "next": "Ask for a viewing of the cheapest of these flats on 14 June.",
            "whole": "Ask for a viewing on 14 June of the cheapest flat with two rooms in Graz, for at most 900 euros "
            "a month.",
        },
    ),
)
PARALLEL = (
    (
        TRAINS,
        {
            "result": "a list of trains",
            "beside": "Find the buses from Lyon to Geneva on the morning of 3 May.",
            "next": "Reserve a seat on whichever of these arrives first.",
            "whole": "Reserve me a seat from Lyon to Geneva on the morning of 3 May, on the train or the bus, "
            "whichever arrives first.",
        },
    ),
    (
        LIBRARY,
        {
            "result": "opening hours",
            "beside": "Look up when the swimming pool in Porto is open on Saturday.",
            "next": "Enter a visit to each into the calendar at an hour when it is open.",
            "whole": "Put a visit to the city library and one to the swimming pool in Porto into my calendar for "
            "Saturday, each at an hour when it is open.",
        },
    ),
    (
        AMOUNT,
        {
            "result": "an amount in Swiss francs",
            "beside": "Find out what a night at the Hotel Alpina in Bern costs.",
            "next": "Book the Hotel Alpina for 12 July if a night costs less than that amount.",
            "whole": "Book me the Hotel Alpina in Bern for 12 July, provided that a night costs less than what 250 US "
            "dollars came to in Swiss francs on 3 May 2024.",
        },
    ),
)
# A small teacher finds everything settled unless it has seen what is not.
SETTLED = (
    (
        "Which hotels in Rome cost less for a night than the train from Rome to Milan on 3 May?",
        ("Find the trains from Rome to Milan on 3 May.", "Find out what the weather will be like in Milan on 3 May."),
        "No step looks for hotels, and nobody asked for the weather. <answer>no</answer>",
    ),
    (
        SEQUENTIAL[0][1]["whole"],
        (GIVEN, SEQUENTIAL[0][1]["next"]),
        "Step 1 finds the museum and step 2 its hours on Sunday, which is what was asked. <answer>yes</answer>",
    ),
    (
        "Borrow a book about chess from the city library for me.",
        ("Find a book about chess in the city library.", "Find a book about chess."),
        "Both steps find a book, step 2 does what step 1 did, and none borrows it. <answer>no</answer>",
    ),
)
SPOKEN = (
    (
        SEQUENTIAL[0][1]["whole"],
        "Hello! I would love to see The Scream while I am in Oslo. Could you tell me when the museum that shows it is "
        "open on Sunday?",
    ),
    (
        PARALLEL[0][1]["whole"],
        "I have to get from Lyon to Geneva on the morning of 3 May. Train or bus, I do not mind: please reserve me a "
        "seat on whichever arrives first.",
    ),
)
EXAMPLE = {
    "name": "find_museum_of_artwork",
    "description": "Find the museum in which a work of art is shown.",
    "parameters": {"artwork": {"type": "string", "description": "Title of the work"}},
    "required": ["artwork"],
    "responses": {"museum": {"type": "string", "description": "Name of the museum"}},
}
ACTED = (
    "<observation>The user wants to see The Scream in Oslo on Sunday.</observation>\n"
    "<thought>Plan: 1. find the museum that shows it, 2. look up when it is open. I begin with 1.</thought>\n"
    '<call>[{"name": "find_museum_of_artwork", "arguments": {"artwork": "The Scream"}}]</call>\n\n'
    "<observation>The museum is the Munch Museum.</observation>\n"
    "<thought>Step 1 has its result. Step 2 needs the name of the museum, which is there now.</thought>\n"
    '<call>[{"name": "opening_hours", "arguments": {"museum": "Munch Museum", "day": "Sunday"}}]</call>\n\n'
    "<observation>It is open from 10 to 18 on Sunday; no result is an error.</observation>\n"
    "<thought>Steps 1 and 2 have their results, no step is left.</thought>\n"
    "<final>The Scream is at the Munch Museum, which is open from 10 to 18 on Sunday.</final>"
)
REPLY = [
    {"thought": "why these calls", "calls": [{"name": "...", "arguments": {}, "result": {}}]},
    {"thought": "why it is done", "final": "the answer to the user"},
]


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shots(rules: str, examples: Sequence[tuple[str, str]], asked: str) -> Messages:
    """Examples as turns of the conversation: small models copy those that stand inside a prompt."""
    (first, reply), *others = examples
    turns = [*_user(f"{rules}\n\n{first}"), {"role": "assistant", "content": reply}]
    for question, answer in others:
        turns += [*_user(question), {"role": "assistant", "content": answer}]
    return [*turns, *_user(asked)]


def _steps(sub_tasks: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(sub_tasks, 1))


def _definitions(definitions: Sequence[Definition]) -> str:
    return "\n".join(_json(flat_of(definition)) for definition in definitions)


def scenario(conversation: str) -> Messages:
    """The situation behind a conversation, in a few words."""
    return _user(
        f"A conversation between a person and an assistant:\n\n{conversation}\n\nName the everyday situation behind "
        "it in at most ten words and in general terms: no numbers, no names, no products. An example of the form: "
        f"{OTHER[0][0]}. Reply with the phrase alone."
    )


def expansion(known: str) -> Messages:
    """Another situation."""
    rules = (
        "I name an everyday situation. You name another that people meet in daily life and that has little to do with "
        "mine: somebody else acts, or something else is done. Keep the form, at most ten words."
    )
    return _shots(rules, OTHER, known)


def atomic(known: str) -> Messages:
    """A task of one step."""
    rules = (
        "I name a situation. You invent one task that a person in it would hand to an assistant, and that is done in "
        "a single step. You reply with one JSON object:\n"
        "values: the names, places, dates or amounts that are needed, made up where I give none. Nothing private.\n"
        "task: the task with these values in it word for word, so that nobody has to ask back. It could happen like "
        "this in real life. It says what is wanted and not how: no app, website, tool or hint at the solution. At "
        "most 30 words, exact ones."
    )
    shots = [(f"Situation: {situation}", _json(reply)) for situation, reply in ATOMIC]
    return _shots(rules, shots, f"Situation: {known}")


def sequential(task: str) -> Messages:
    """A task that builds upon the given one, and both in one."""
    rules = (
        "I give a task, you make a request of two steps out of it. You reply with one JSON object:\n"
        "result: what the given task finds out, in a few words and without its value.\n"
        "next: another task, one that works on this result, so that it can only come after it.\n"
        "whole: one request, as a person would say it, that needs both. It keeps every detail of the given task and "
        "does not tell the result."
    )
    return _shots(rules, _given(SEQUENTIAL), f"Task: {task}")


def parallel_then_sequential(task: str) -> Messages:
    """A task beside the given one, one upon both, and all in one."""
    rules = (
        "I give a task, you make a request of three steps out of it. You reply with one JSON object:\n"
        "result: what the given task finds out, in a few words and without its value.\n"
        "beside: a task of the same kind about another thing, place or day, which does not need this result.\n"
        "next: a task that works on the results of both, such as choosing between them.\n"
        "whole: one request, as a person would say it, that needs all three. It keeps every detail and does not tell "
        "the results."
    )
    return _shots(rules, _given(PARALLEL), f"Task: {task}")


def _given(examples: Sequence[tuple[str, Mapping[str, str]]]) -> list[tuple[str, str]]:
    return [(f"Task: {task}", _json(reply)) for task, reply in examples]


def consistency(task: str, sub_tasks: Sequence[str]) -> Messages:
    """Do the sub-tasks make up the task?"""
    rules = (
        "Here are a request and the steps into which it was cut. Is the request settled when these steps have been "
        "done, with nothing left to do, and does every step belong to it? Say why in one or two sentences, and end "
        "with <answer>yes</answer> or <answer>no</answer>."
    )
    shots = [(_cut(whole, steps), verdict) for whole, steps, verdict in SETTLED]
    return _shots(rules, shots, _cut(task, sub_tasks))


def _cut(task: str, sub_tasks: Sequence[str]) -> str:
    return f"Request: {task}\nSteps:\n{_steps(sub_tasks)}"


_FUNCTION_RULES = (
    "- It is general: useful for many requests, so that no value of this request stands in its name or description.\n"
    "- It does one thing. Its name has small letters and underscores.\n"
    "- What an earlier function returns, a later one takes as a parameter.\n"
    "- Types are string, number, integer, boolean, object and array."
)


def functions(task: str, sub_tasks: Sequence[str], number: int, earlier: Sequence[Definition]) -> Messages:
    """The functions for sub-task `number`, counted from 0."""
    rules = (
        "An assistant settles requests by calling functions. I give a request with its steps, you define what one of "
        "the steps needs, as a JSON object with a list of functions.\n"
        "- Every step that looks something up or does something needs one function, which does all of it.\n"
        "- The list is empty where the step only compares, counts, sorts or decides, or where a function that is "
        "there already does it.\n"
        f"{_FUNCTION_RULES}"
    )
    task_and_reply = SEQUENTIAL[0][1]
    example = _step(task_and_reply["whole"], [GIVEN, task_and_reply["next"]], 0, [])
    shots = [(example, _json({"functions": [EXAMPLE]}))]
    return _shots(rules, shots, _step(task, sub_tasks, number, earlier))


def _step(task: str, sub_tasks: Sequence[str], number: int, earlier: Sequence[Definition]) -> str:
    known = f"Functions that are there already:\n{_definitions(earlier)}\n" if earlier else ""
    wanted = f"Define what step {number + 1} needs: {sub_tasks[number]}"
    return f"Request: {task}\nSteps:\n{_steps(sub_tasks)}\n{known}{wanted}"


def task_with_functions(known: str) -> Messages:
    """Without the bottom-up half: a task and its functions at once."""
    return _user(
        f"Situation: {known}\n\nInvent a request that an assistant can only settle by calling two or three functions, "
        "and define these. The request is complete, realistic and names no function. Of each function:\n"
        f"{_FUNCTION_RULES}\n\n"
        f"Reply with one JSON object in this form:\n{_json({'task': '...', 'functions': [EXAMPLE]})}"
    )


def user(task: str) -> Messages:
    """The user agent's first words."""
    rules = (
        "You play a person who asks an assistant for help; you never play the assistant. I say what this person "
        "wants, you write the message to the assistant and nothing else. It has every detail that I give. It does not "
        "tell in which order to work, and names no function or tool."
    )
    return _shots(rules, [(f"Wanted: {wanted}", said) for wanted, said in SPOKEN], f"Wanted: {task}")


def assistant(sub_tasks: Sequence[str], functions: Sequence[Sequence[Definition]], parallel: bool) -> str:
    """The assistant agent's system message, with the breakdown that is not kept."""
    plan = ""
    if sub_tasks:
        named = [
            f"{text} ({'with ' + ', '.join(d['name'] for d in part) if part else 'no function: work it out yourself'})"
            for text, part in zip(sub_tasks, functions, strict=True)
        ]
        plan = f"The request breaks down into these steps, which the user does not know of:\n{_steps(named)}\n\n"
    # What never changes stands first: a server that keeps prompts reads it once.
    return (
        "You settle a user's request by calling functions. Every reply has three parts, each in its tag:\n"
        "observation: what the user asks, or what the last results say and whether one is an error;\n"
        "thought: in the first reply the plan, step by step, later which step comes next and why;\n"
        "call: a JSON list of calls; or instead of it, when every step is done, final: the answer to the user, with "
        "the values that the results gave.\n"
        f"Three replies to another request, with other functions:\n{ACTED}\n\n"
        "Values of arguments come from the user's words or from results, never from your own knowledge. Do not repeat "
        "a call, and do not write results yourself: they come in the next message.\n\n"
        f"{plan}"
        f"Functions:\n{_definitions([d for part in functions for d in part])}\n\n"
        f"{SWITCH[parallel]}"
    )


def results(answered: Sequence[Mapping[str, Any]]) -> Messages:
    """What the called functions returned, as the assistant agent sees it."""
    return _user(f"Results:\n{_json(list(answered))}")


def tool(definition: Definition, name: str, arguments: Mapping[str, Any]) -> Messages:
    """A tool agent: the definition and the call."""
    return [
        {
            "role": "system",
            "content": "You are the computer behind a function. It always works. You reply with what it returns: one "
            "JSON object with exactly the fields that its definition lists under responses, filled with specific, "
            f"realistic values.\nDefinition: {_json(flat_of(definition))}",
        },
        *_user(f"Call: {_json({'name': name, 'arguments': dict(arguments)})}\nReply with the JSON object alone."),
    ]


def trajectory(
    task: str, sub_tasks: Sequence[str], functions: Sequence[Sequence[Definition]], parallel: bool
) -> Messages:
    """Without the top-down half: the whole conversation in one reply."""
    steps = f"Steps:\n{_steps(sub_tasks)}\n" if sub_tasks else ""
    return _user(
        f"Write a conversation in which an assistant settles a request by calling functions.\nRequest: {task}\n{steps}"
        f"Functions:\n{_definitions([d for part in functions for d in part])}\n\n"
        f"{SWITCH[parallel]} A result has the fields that the definition lists under responses. The last turn has the "
        "final answer instead of calls.\nReply with one JSON object in this form:\n"
        f"{_json({'question': 'what the user says', 'turns': REPLY})}"
    )
