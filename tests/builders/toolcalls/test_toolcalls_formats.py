"""One conversation in the public formats of function calling gives one row; what cannot be read is a reason."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders._lib.language import language_of
from hubwright.builders._lib.tool_rows import convert
from hubwright.builders.toolcalls import Source, ToolCallsConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import RowRejected

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": words,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city."},
                    "days": {"type": "integer"},
                },
                "required": ["city"],
            },
        },
    }
    for name, words in (("get_weather", "Look up the weather."), ("get_news", "Look up the news."))
]
BARE = [tool["function"] for tool in TOOLS]
SYSTEM = "Answer like a pirate."


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "Weather and news of Rome?"},
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", city="Rome", days=2), call("get_news", city="Rome")]},
    {"role": "tool", "name": "get_weather", "content": '{"sky": "clear"}'},
    {"role": "tool", "name": "get_news", "content": '{"title": "Nothing new"}'},
    {"role": "assistant", "content": "Clear, arr, and nothing new."},
    {"role": "user", "content": "And in Oslo?"},
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", city="Oslo")]},
]  # fmt: skip
CALLS = [
    '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}',
    '{"name": "get_news", "arguments": {"city": "Rome"}}',
]
LAST = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'


def sharegpt(**columns: Any) -> dict[str, Any]:
    turns = [
        ("human", "Weather and news of Rome?"), ("function_call", f"[{', '.join(CALLS)}]"),
        ("observation", '{"sky": "clear"}'), ("observation", '{"title": "Nothing new"}'),
        ("gpt", "Clear, arr, and nothing new."), ("human", "And in Oslo?"), ("function_call", LAST),
    ]  # fmt: skip
    return {"conversations": [{"from": one, "value": value} for one, value in turns]} | columns


def hermes() -> dict[str, Any]:
    """As NousResearch's hermes-function-calling-v1 has it: functions and the form of calls in the system turn."""
    system = (
        f"{SYSTEM} You are a function calling AI model. You are provided with function signatures within <tools></tools> "
        "XML tags. You may call one or more functions to assist with the user query. Don't make assumptions about what "
        f"values to plug into functions. Here are the available tools:<tools> {json.dumps(TOOLS)} </tools>Use the "
        "following pydantic model json schema for each tool call you will make: {'title': 'FunctionCall', 'type': "
        "'object', 'properties': {'name': {'title': 'Name', 'type': 'string'}}} For each function call return a json "
        "object with function name and arguments within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n"
        "{'arguments': <args-dict>, 'name': <function-name>}\n</tool_call>"
    )
    turns = [
        ("system", system), ("human", "Weather and news of Rome?"),
        ("gpt", "<tool_call>\n{'name': 'get_weather', 'arguments': {'city': 'Rome', 'days': 2}}\n</tool_call>\n"
                f"<tool_call>\n{CALLS[1]}\n</tool_call>\n"),
        ("tool", '<tool_response>\n{"sky": "clear"}\n</tool_response>\n<tool_response>\n{"title": "Nothing new"}\n</tool_response>'),
        ("gpt", "Clear, arr, and nothing new."), ("human", "And in Oslo?"), ("gpt", f"<tool_call>\n{LAST}\n</tool_call>"),
    ]  # fmt: skip
    return {"conversations": [{"from": one, "value": value} for one, value in turns]}


def toolace() -> dict[str, Any]:
    system = (
        f"{SYSTEM}\n\nYou are an expert in composing functions. You are given a question and a set of possible functions. "
        "\nBased on the question, you will need to make one or more function/tool calls to achieve the purpose. \n"
        f"Here is a list of functions in JSON format that you can invoke:\n{json.dumps(BARE)}. \nShould you decide to "
        "return the function call(s). \nPut it in the format of [func1(params_name=params_value, "
        "params_name2=params_value2...), func2(params)]\n\nNO other text MUST be included. \n"
    )
    turns = [
        ("user", "Weather and news of Rome?"), ("assistant", '[get_weather(city="Rome", days=2), get_news(city="Rome")]'),
        ("tool", '[{"sky": "clear"}, {"title": "Nothing new"}]'), ("assistant", "Clear, arr, and nothing new."),
        ("user", "And in Oslo?"), ("assistant", '[get_weather(city="Oslo")]'),
    ]  # fmt: skip
    return {"system": system, "conversations": [{"from": one, "value": value} for one, value in turns]}


def openai() -> dict[str, Any]:
    """Content null, arguments as JSON text, results by id, as the API gives and takes them."""
    messages = json.loads(json.dumps(MESSAGES))
    for number, message in enumerate(messages):
        for place, one in enumerate(message.get("tool_calls", ())):
            one["id"] = f"call_{number}_{place}"
            one["function"]["arguments"] = json.dumps(one["function"]["arguments"])
            message["content"] = None
    messages[3] = {
        "role": "tool",
        "tool_call_id": "call_2_0",
        "content": [{"type": "text", "text": '{"sky": "clear"}'}],
    }
    messages[4] = {"role": "tool", "tool_call_id": "call_2_1", "content": '{"title": "Nothing new"}'}
    return {"messages": messages, "tools": TOOLS}


def qwen() -> dict[str, Any]:
    """What TRL's own copy of Qwen3's chat template writes, cut into turns: an independent writer of this form."""
    import trl
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    rendered, _ = render_jinja_template([MESSAGES], tools=TOOLS, chat_template=template)
    turns = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", rendered[0], re.DOTALL)
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


FORMATS = {
    "sharegpt, system and tools as text": lambda: sharegpt(system=SYSTEM, tools=json.dumps(BARE)),
    "sharegpt, tools of OpenAI": lambda: sharegpt(system=SYSTEM, tools=TOOLS),
    "apigen-mt, conversations as text": lambda: {
        "system": SYSTEM, "tools": json.dumps(BARE), "conversations": json.dumps(sharegpt()["conversations"]),
    },
    "hermes": hermes,
    "hermes, tools in a column": lambda: hermes() | {"tools": json.dumps(TOOLS)},
    "toolace": toolace,
    "openai": openai,
    "qwen": qwen,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_convert_public_format_gives_the_same_row(name: str) -> None:
    row = convert(FORMATS[name](), "en")
    assert row["messages"] == MESSAGES
    assert row["tools"] == TOOLS
    assert (row["n_calls"], row["n_tools"], row["language"]) == (3, 2, "en")


def test_convert_xlam_queries_and_answers_become_turns() -> None:
    """Shape of Salesforce/xlam-function-calling-60k: all columns JSON text, types of Python, no schema."""
    parameters = {
        "city": {"description": "Name of the city.", "type": "str"},
        "days": {"description": "How many.", "type": "int, optional", "default": 1},
    }
    tools = [{"name": "get_weather", "description": "Look up the weather.", "parameters": parameters}]
    answers = [
        {"name": "get_weather", "arguments": {"city": "Rome"}},
        {"name": "get_weather", "arguments": {"city": "Oslo"}},
    ]
    changes: Counter[str] = Counter()
    record = {
        "id": 1,
        "query": "Weather in Rome and Oslo?",
        "answers": json.dumps(answers),
        "tools": json.dumps(tools),
    }
    row = convert(record, "en", changes)
    assert row["messages"] == [
        {"role": "user", "content": "Weather in Rome and Oslo?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call("get_weather", city="Rome"), call("get_weather", city="Oslo")],
        },
    ]
    schema = row["tools"][0]["function"]["parameters"]
    assert schema["properties"]["days"]["type"] == "integer" and schema["required"] == ["city"]
    assert changes["types of parameters mapped to JSON Schema"] == 1
    with pytest.raises(RowRejected, match="arguments_wrong_type"):
        convert(record | {"answers": [{"name": "get_weather", "arguments": {"city": 1}}]})
    with pytest.raises(RowRejected, match="no_call"):
        convert(record | {"answers": "[]"})


GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(BARE[0], indent=4) + "\n\n" + json.dumps(BARE[1], indent=4) + "\n",
    "chat": "USER: Weather of Rome?\n\n\nASSISTANT: <functioncall> {\"name\": \"get_weather\", \"arguments\": "
    "'{\"city\": \"Rome\", \"days\": 2}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"sky\": \"clear\"}\n\n\n"
    "ASSISTANT: Clear. <|endoftext|>\n\n\nUSER: Thanks\n\n\nASSISTANT: You're welcome! <|endoftext|>\n\n\n",
}  # fmt: skip


@pytest.mark.parametrize("form", ["two texts", "one text", "turns"])
def test_convert_glaive_text_becomes_turns(form: str) -> None:
    """Shapes of glaiveai/glaive-function-calling-v2, of its first version's `sample`, and of its ShareGPT form."""
    record: Any = GLAIVE
    if form == "one text":
        record = {"sample": GLAIVE["system"] + "\n" + GLAIVE["chat"]}
    if form == "turns":
        said = '<functioncall> {"name": "get_weather", "arguments": \'{"city": "Rome", "days": 2}\'}'
        turns = [
            ("system", GLAIVE["system"].removeprefix("SYSTEM: ")), ("human", "Weather of Rome?"), ("gpt", said),
            ("function_response", '{"sky": "clear"}'), ("gpt", "Clear."), ("human", "Thanks"), ("gpt", "You're welcome!"),
        ]  # fmt: skip
        record = {"conversations": [{"from": one, "value": value} for one, value in turns]}
    row = convert(record)
    assert row["tools"] == TOOLS
    assert row["messages"] == [
        {"role": "user", "content": "Weather of Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [call("get_weather", city="Rome", days=2)]},
        {"role": "tool", "name": "get_weather", "content": '{"sky": "clear"}'},
        {"role": "assistant", "content": "Clear."},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You're welcome!"},
    ]


def said(text: str, tools: Any = TOOLS) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "Weather of Rome?"}, {"role": "assistant", "content": text}],
        "tools": tools,
    }


@pytest.mark.parametrize("key", ["arguments", "parameters", "args", "input"])
def test_convert_names_of_arguments_are_read(key: str) -> None:
    expected = [call("get_weather", city="Rome")]
    for value in ({"city": "Rome"}, '{"city": "Rome"}'):
        one = {"name": "get_weather", key: value}
        assert convert(said(f"<tool_call>{json.dumps(one)}</tool_call>"))["messages"][1]["tool_calls"] == expected
        turns = [{"from": "human", "value": "?"}, {"from": "function_call", "value": json.dumps(one)}]
        assert convert({"conversations": turns, "tools": TOOLS})["messages"][1]["tool_calls"] == expected
        messages = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "tool_calls": [{"function": one}]},
        ]
        assert convert({"messages": messages, "tools": TOOLS})["messages"][1]["tool_calls"] == expected


def test_convert_words_and_thoughts_beside_a_call_are_kept_apart() -> None:
    row = convert(
        said(
            f"<think>\nget_news?\n<tool_call>{CALLS[1]}</tool_call>\n</think>\nI look.\n<tool_call>{LAST}</tool_call>"
        )
    )
    assert row["messages"][1] == {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": f"get_news?\n<tool_call>{CALLS[1]}</tool_call>",
        "tool_calls": [call("get_weather", city="Oslo")],
    }


def test_convert_other_words_of_a_system_turn_with_tools_stay() -> None:
    system = f"{SYSTEM}\n\nThese tools are there: <tools>{json.dumps(BARE)}</tools>\n\nBe brief."
    turns = [{"from": "system", "value": system}, *sharegpt()["conversations"]]
    row = convert({"conversations": turns})
    assert row["messages"][0] == {"role": "system", "content": f"{SYSTEM}\n\nBe brief."} and row["tools"] == TOOLS


def test_convert_function_with_a_name_of_words_is_called_in_pythons_form() -> None:
    tools = [{"name": "Get Weather (v2)", "parameters": {"type": "dict", "properties": {"at": {"type": "tuple"}}}}]
    row = convert(said("[Get Weather (v2)(at=(1.5, 2))]", tools))
    assert row["messages"][1]["tool_calls"] == [call("Get Weather (v2)", at=[1.5, 2])]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (said("<tool_call>get_weather Rome</tool_call>"), "call_not_json"),
        (said(f"<tool_call>{LAST}"), "call_not_closed"),
        (said(f"{LAST}</tool_call>"), "call_not_closed"),
        (said("<functioncall> {city: Rome}"), "call_not_json"),
        (said('<tool_call>{"name": "get_weather", "city": "Rome"}</tool_call>'), "call_without_arguments"),
        (
            said('<tool_call>{"name": "get_weather", "arguments": {}, "parameters": {}}</tool_call>'),
            "call_with_two_sets",
        ),
        (said('[get_weather("Rome")]'), "arguments_without_names"),
        (said('[get_stocks(city="Rome")]'), "unknown_function"),
        (said("[get_weather(city=)]"), "call_not_readable"),
        (said("<think>never closed"), "thought_not_closed"),
        (said("Rome", [{"name": "f", "parameters": {"a": {"type": "np.ndarray"}}}]), "tool_type_unknown"),
        (said("Rome", [{"name": "f", "parameters": {"$ref": "http://x/y"}}]), "tool_schema_reference_outside"),
        (sharegpt(system=f"Call these: {json.dumps(BARE)}"), "system_text_lists_tools_in_an_unknown_form"),
        (sharegpt(system=5, tools=TOOLS), "the_column_system_is_not_text"),
        ({"query": "Rome?", "answers": "get_weather", "tools": []}, "call_not_json"),
        ({"query": "Rome?"}, "no_conversation"),
        ({"chat": "Hello USER: Rome? ASSISTANT: <functioncall>"}, "no_conversation"),
        ({"chat": "Hello\nUSER: Rome?\nASSISTANT: ."}, "text_before_the_first_speaker"),
    ],
)
def test_convert_what_cannot_be_read_is_a_reason(record: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=f"^{reason}"):
        convert(record)


@pytest.mark.parametrize("text", ["Rome (the city).", "[1]", "[see (1)]", "{}", '{"name": "Ann", "age": 3}', "`f(x)`"])
def test_convert_words_that_are_no_call_stay_words(text: str) -> None:
    assert convert(said(text, []))["messages"][1] == {"role": "assistant", "content": text}


def test_build_counts_every_record_once_and_says_what_was_changed(tmp_path: Path) -> None:
    records = [FORMATS[name]() for name in FORMATS] + [
        GLAIVE,
        said("<tool_call>"),
        said(f"<tool_call>{LAST}</tool_call>"),
        5,
    ]
    (tmp_path / "rows.json").write_text(json.dumps(records))
    context = StepContext("calls", tmp_path / "work", tmp_path / "out")
    config = ToolCallsConfig(sources=(Source(source=str(tmp_path / "rows.json")),), license="mit", test_fraction=0)
    rows = build(config, context)["train"]
    counts = context.report.counts
    assert counts["records_read"] == 12 == counts["records_rejected"] + counts["duplicates"] + counts["train_rows"]
    assert counts["rejected: call_not_closed"] == counts["rejected: no_conversation"] == 1 and len(rows) == 3
    tables = {table["title"]: table["rows"] for table in context.report.tables}
    assert tables["Records that were rejected"] == [
        ["rows.json", "call_not_closed", 1],
        ["rows.json", "no_conversation", 1],
    ]
    assert dict(tables["What was changed to read the records"])["tools read out of the system turn"] == 5
    assert context.report.card["language"] == []  # Latin letters tell none


# The first sentences of the Universal Declaration of Human Rights, as the United Nations publish them.
DECLARATION = {
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "ar": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "und": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "und-en": "All human beings are born free and equal in dignity and rights.",
    "und-uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "und-bg": "Всички хора се раждат свободни и равни по достойнство и права.",
    "und-fa": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.",
}


@pytest.mark.parametrize("code", DECLARATION)
def test_language_of_script_tells_or_nothing_does(code: str) -> None:
    assert language_of(DECLARATION[code]) == code.partition("-")[0]
    assert language_of(f"{DECLARATION[code]} {DECLARATION[code]} get_weather(city) JSON") == code.partition("-")[0]


def test_language_of_latin_letters_is_the_settings() -> None:
    assert language_of(DECLARATION["und"], "fr") == "fr" and language_of(DECLARATION["ko"], "fr") == "ko"
    assert language_of("") == language_of("42!") == "und"
