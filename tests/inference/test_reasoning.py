"""Thoughts and answers: what lm-eval's own cut gives, what the tags in use look like, who has to cut."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.inference.reasoning import TAGS, answer_of, opened_by, reasoning_tags, split_reasoning

PACKAGE = Path(__file__).parents[2]
THOUGHT = 'I might call {"name": "f", "arguments": {}} here.\nAnswer: 3'


@pytest.mark.parametrize("end", ["</think>", "</thinking>", "</thought>", "[/THINK]"])
@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("answer", ["Answer: 4", "\n\nLine one\n\nline two", '{"a": "<b>"}'])
def test_answer_of_thought_before_the_answer_equals_lm_evals_cut(end: str, opened: bool, answer: str) -> None:
    """The peer: `think_end_token` of lm-eval's hf and vllm models."""
    from lm_eval.models.utils import postprocess_generated_text

    start = end.replace("/", "", 1) if opened else ""  # the chat template may have written it already
    reply = f"{start}{THOUGHT}{end}{answer}"
    assert answer_of(reply) == postprocess_generated_text(reply, None, end)
    assert split_reasoning(reply).reasoning == THOUGHT and split_reasoning(reply).closed


@pytest.mark.parametrize(
    ("reply", "answer", "reasoning"),
    [
        ("no tag  \n", "no tag  \n", ""),
        ("", "", ""),
        ("<think>a</think>b<THINKING>c</Thinking>d", "bd", "a\n\nc"),  # between calls, in any case
        ("<think>\n\n</think>\n\nanswer", "answer", ""),  # Qwen3 without thinking
        ("<think><think>a</think>b</think>c", "c", "<think>a\n\nb"),  # the template's tag and the model's own
        ("```json\n{}\n```\nNo.</think>```json\n[]\n```", "```json\n[]\n```", "```json\n{}\n```\nNo."),
        (
            "```json\n{\n</think>\n```json\n[]\n```",
            "```json\n[]\n```",
            "```json\n{",
        ),  # a fence left open in the thought
        ('<think>they said "x"</think>"x"', '"x"', 'they said "x"'),
    ],
)
def test_split_reasoning_forms_in_use_are_told_apart(reply: str, answer: str, reasoning: str) -> None:
    found = split_reasoning(reply)
    assert (found.answer, found.reasoning, found.closed) == (answer, reasoning, True)


@pytest.mark.parametrize(
    "reply",
    [
        "Put it between `<think>` and `</think>`.",
        "The `<think>...</think>` block",
        "In DeepSeek's template:\n```\n<think>\nthought\n</think>\n```\nis the form.",
        "a < think > b, <thinker>c</thinker>",
        "The tag <think> opens it.",
        "<th\u0131nk>dotless</th\u0131nk>, <thin\u212a>of Kelvin",
    ],
)
def test_split_reasoning_tag_that_is_only_named_stays(reply: str) -> None:
    assert split_reasoning(reply).answer == reply


@pytest.mark.parametrize(
    "reply", ["<think>\nhm", "[THINK]a [THINK]", "Well.\n<think>hm", "<think>a</think>\n<think>b", " <thought>"]
)
def test_split_reasoning_unclosed_thought_is_no_answer(reply: str) -> None:
    found = split_reasoning(reply)
    assert found.answer == "" and not found.closed


PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "f(1)\n", "word ", "`", "\n```\n", " "])
)


@given(PIECES.map("".join))
def test_split_reasoning_any_order_of_tags_loses_nothing_and_adds_nothing(text: str) -> None:
    found = split_reasoning(text)
    kept = sum(one.count(word) for one in (found.answer, found.reasoning) for word in ("f(1)", "word"))
    assert kept == text.count("f(1)") + text.count("word")
    assert found.closed or not found.answer


@pytest.mark.parametrize(
    "answer",
    [
        '<tool_call>{"name": "save", "arguments": {"text": "Wrap reasoning in <think></think> tags"}}</tool_call>',
        '<tool_call>\n{"name": "save", "arguments": {"text": "Close with </think> always"}}\n</tool_call>',
        '{"text": "begin with <think> and end with </think>, please"}',
        '```python\nx = text.split("</think>\\n")[-1]\n```',
        'x = text.split("</think>\\n")[-1]',
        're.sub(r"(?s)<think>.*?</think>", "", text)',
        "re.sub('<think>.*?</think>', '', text)",
        "Models end a thought with </think>",
        "Reasoning models write (<think>) and then **<think>** or `<think>`.",
        "| tag | use |\n|---|---|\n| <think> | begins |\n| </think> | ends |",
        "~~~\n<think>\na\n</think>\n~~~\nThat is how.",
        "````\n```\n<think>\n```\n````\nThat is how.",
        "Wrap it in <think>...</think> and go on.",
    ],
)
def test_answer_of_a_text_that_names_tags_is_unchanged(answer: str) -> None:
    assert answer_of(answer) == answer
    assert answer_of(f"<think>hm</think>\n{answer}") == answer
    assert answer_of(f"hm, the <think> tag\n</think>\n\n{answer}") == answer


@pytest.mark.parametrize("end", ["\n</think>\n\n", "</think>\n", " </think>\n", "</think>", "\n</think> "])
def test_answer_of_a_thought_that_the_template_opened_is_what_follows(end: str) -> None:
    assert answer_of(f"First, 2 + 2.\nSo it is 4.{end}Four.") == "Four."


@given(PIECES.map("".join))
def test_answer_of_an_answer_is_itself(text: str) -> None:
    once = answer_of(text.replace("`", ""))
    assert answer_of(once) == once


def test_reasoning_tags_further_ones_are_cut_too_and_wrong_ones_refused() -> None:
    tags = reasoning_tags(["<reflect>", "◁think▷", "<|begin|> <|end|>"])
    assert tags[: len(TAGS)] == TAGS
    for reply in ("<reflect>a</reflect>b", "◁think▷a◁/think▷b", "<|begin|>a<|end|>b", "<think>a</think>b"):
        assert answer_of(reply, tags) == "b"
    assert answer_of("<reflect>a</reflect>b") == "<reflect>a</reflect>b"
    for wrong in ("think", "", "a b c", "<>", "<think"):
        with pytest.raises(ValueError, match="is not an opening tag"):
            reasoning_tags([wrong])


def test_opened_by_prompt_that_ends_in_an_open_thought() -> None:
    assert opened_by("<|im_start|>assistant\n<think>\n") == "<think>"
    assert opened_by("<think>\n\n</think>\n\n") == opened_by("") == opened_by([{"role": "user"}]) == ""
    assert answer_of(opened_by("...<think>\n") + "a draft that is cut") == ""


# Who reads a model's text: the functions that have to cut, by file. The chat client cuts for all that ask through it.
READERS = {
    "inference/replies.py": "split_reasoning",
    "evals/_lib/scored.py": "answer_of",
    "evals/_lib/interactive/model.py": "split_reasoning",
    "evals/_lib/tool_calls.py": "answer_of",
    "evals/bfcl/scorer.py": "answer_of",
    "evals/feedback_drills/scorer.py": "answer_of",
    "evals/_lib/judging/prompts.py": "answer_of",
    "evals/fbbench/answers.py": "answer_of",
    "evals/fbbench/verdicts.py": "answer_of",
    "evals/judge/step.py": "answer_of",
}


def names_in(path: Path) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}


def test_model_text_every_reader_cuts_thoughts() -> None:
    for file, function in READERS.items():
        assert function in names_in(PACKAGE / file), file


def test_model_text_no_task_or_parser_reads_it_past_the_cut() -> None:
    """lm-eval's tasks of ours that generate are `AnswerTask`s (CMMLU's are a choice); nothing but BFCL's scorer reads a
    reply's Python calls."""
    for path in sorted([*PACKAGE.glob("evals/**/*.py"), *PACKAGE.glob("builders/**/*.py")]):
        text, file = path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix()
        bases = [ast.unparse(b) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) for b in n.bases]
        assert "ConfigurableTask" not in bases or file in ("evals/_lib/scored.py", "evals/kv_shifting/task.py"), file
        if "python_calls(" in text:  # steps and worlds read gold's texts
            known = ("evals/bfcl/reader.py", "evals/bfcl/steps.py", "evals/bfcl/worlds.py")
            assert file in (*known, "builders/_lib/calls_in_text.py"), file  # the last behind its own cut
        if "bfcl_calls(" in text:
            assert file in ("evals/bfcl/reader.py", "evals/bfcl/scorer.py"), file
