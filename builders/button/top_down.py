"""The top-down half: three agents play a composed task out, after BUTTON (arXiv 2410.12952).

The user agent opens. The assistant agent knows sub-tasks and functions, and replies with observation, thought, and
calls or a final answer; of several candidate replies the decision of most is taken. A tool agent for each called
function knows its definition and the call. What the assistant agent knew beforehand is not in the row.
"""

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from ...hub_sync.errors import RowRejected
from .._lib.conversation_rows import call
from .._lib.teacher import PhaseClient, Row, phase, together
from . import parse, prompts
from .parse import Action, Definitions


@phase
async def trajectory(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """task, sub_tasks, functions, parallel -> messages, up to `max_rounds` turns of the assistant."""
    tools = _tools(row)
    opening = prompts.user(row["task"])
    question = await client.ask(opening, lambda text: parse.spoken(text, list(tools)), label="user")
    system = prompts.assistant(row["sub_tasks"], row["functions"], row["parallel"])
    history = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    messages: list[dict[str, Any]] = history[1:]
    results: dict[str, dict[str, Any]] = {}
    for turn in range(config["max_rounds"]):
        action = await decide(history, tools, row["parallel"], config, client, turn)
        if action.final:
            if not results:
                raise RowRejected("an answer without any call")
            return {"messages": [*messages, {"role": "assistant", "content": action.final}]}
        answers = await _run(action, tools, results, client)
        _append(messages, action, answers)
        answered = [one | {"results": answer} for one, answer in zip(action.calls, answers, strict=True)]
        history = [*history, {"role": "assistant", "content": action.text}, *prompts.results(answered)]
    raise RowRejected("no final answer in time")


async def decide(
    history: list[dict[str, str]],
    tools: Definitions,
    parallel: bool,
    config: Mapping[str, Any],
    client: PhaseClient,
    turn: int,
) -> Action:
    """The first candidate of the decision that most candidates make.

    They are asked for one after the other, and no more of them once the others could not change the outcome.

    Raises RowRejected if no candidate is usable, or fewer than `min_agreement` of all make the same decision.
    """

    def read(text: str) -> Action:
        return parse.action(text, tools, parallel)

    number, enough = config["candidates"], config["min_agreement"] * config["candidates"]
    first: dict[str, Action] = {}
    votes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for attempt in range(number):
        try:
            one = await client.ask(history, read, label=f"{turn}.{attempt}", form="act")
        except RowRejected as reason:
            reasons[reason.reason] += 1
        else:
            votes[first.setdefault(one.decision(), one).decision()] += 1
        left = number - attempt - 1
        most, second = ([count for _, count in votes.most_common(2)] + [0, 0])[:2]
        # Of decisions with as many votes that which came first is taken, so one not seen yet has to beat the leader.
        settled = most > second + left or (not second and most >= left)
        if most + left < enough or (settled and most >= enough):
            break
    if not votes:
        raise RowRejected(reasons.most_common(1)[0][0])
    decision, most = votes.most_common(1)[0]
    if most < enough:
        raise RowRejected("candidates disagree")
    return first[decision]


async def _run(
    action: Action, tools: Definitions, results: dict[str, dict[str, Any]], client: PhaseClient
) -> list[dict[str, Any]]:
    """What the tool agents return. A call that was made before returns what it did then."""
    keys = [json.dumps(one, sort_keys=True) for one in action.calls]
    fresh = {key: one for key, one in zip(keys, action.calls, strict=True) if key not in results}
    outcomes = await together(
        *(
            client.ask(
                prompts.tool(tools[one["name"]], one["name"], one["arguments"]),
                partial(_result, definition=tools[one["name"]]),
                label=key,
                form="json",
            )
            for key, one in fresh.items()
        )
    )
    for key, answer in zip(fresh, outcomes, strict=True):
        if isinstance(answer, RowRejected):
            raise answer
        results[key] = answer
    return [results[key] for key in keys]


def _result(text: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    return parse.result(parse.json_object(text), definition)


def _append(messages: list[dict[str, Any]], action: Action, answers: list[Any]) -> None:
    """One turn of calls and its results, in OpenAI's form."""
    n_calls = sum(len(message.get("tool_calls", ())) for message in messages)
    calls = [call(n_calls + n, one["name"], one["arguments"]) for n, one in enumerate(action.calls)]
    messages.append({"role": "assistant", "content": action.thought, "tool_calls": calls})
    for one, answer in zip(calls, answers, strict=True):
        content = json.dumps(answer, ensure_ascii=False)
        messages.append({"role": "tool", "tool_call_id": one["id"], "content": content})


@phase
async def direct_trajectory(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """The ablation: task, functions -> messages, the whole conversation in one prompt."""
    tools = _tools(row)

    def read(text: str) -> Row:
        reply = parse.json_object(text)
        messages: list[dict[str, Any]] = [{"role": "user", "content": parse.text_of(reply, "question")}]
        turns = reply.get("turns")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise ValueError("no list of turns")
        for turn in turns:
            if "final" in turn:
                if len(messages) == 1:
                    raise ValueError("an answer without any call")
                return {"messages": [*messages, {"role": "assistant", "content": parse.text_of(turn, "final")}]}
            thought = parse.text_of(turn, "thought")
            calls = parse.calls(turn.get("calls"), tools, row["parallel"])
            answers = [parse.result(one.get("result"), tools[one["name"]]) for one in turn["calls"]]
            _append(messages, Action(thought, calls), answers)
        raise ValueError("no final answer")

    prompt = prompts.trajectory(row["task"], row["sub_tasks"], row["functions"], row["parallel"])
    return await client.ask(prompt, read, form="json")


def _tools(row: Row) -> dict[str, dict[str, Any]]:
    return {definition["name"]: definition for part in row["functions"] for definition in part}
