"""Our template: tools, calls, results, prefixes and marks; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from trainer_parts import PLAIN_CHATML, TOOLS, make_tokenizer, tool_conversation

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers._lib.templates import CHATML_TOOLS, check_template, install_chatml_tools


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(CHATML_TOOLS.read_text())


def render(tokenizer: Any, messages: list[dict], **options: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_earlier_turns_render_the_same_whatever_follows(tokenizer: Any) -> None:
    row = tool_conversation(1)
    whole = render(tokenizer, row["messages"], tools=row["tools"])
    for end in (1, 2, 4, 5, 6, 7):
        assert whole.startswith(render(tokenizer, row["messages"][:end], tools=row["tools"]))
    ready = render(tokenizer, row["messages"][:4], tools=row["tools"], add_generation_prompt=True)
    assert whole.startswith(ready) and ready.endswith("<|im_start|>assistant\n")


def test_system_message_and_no_tools(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert render(tokenizer, messages) == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n")
    with_tools = render(tokenizer, messages, tools=TOOLS)
    assert with_tools.startswith("<|im_start|>system\nBe brief.\n\nYou may call functions")
    assert with_tools.count("<|im_start|>system") == 1
    assert render(tokenizer, messages[1:]) == "<|im_start|>user\nHi<|im_end|>\n"


def test_content_none_and_arguments_as_text(tokenizer: Any) -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    text = render(tokenizer, [{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert text == '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>\n'


def test_trl_and_transformers_accept_it(tokenizer: Any) -> None:
    from trl.chat_template_utils import is_chat_template_prefix_preserving, is_chat_template_stop_token_trained

    assert is_chat_template_prefix_preserving(tokenizer)
    assert is_chat_template_stop_token_trained(tokenizer)
    check_template(tokenizer, tools=True, assistant_mask=True, model="org/model")


def test_templates_without_tools_or_marks_are_refused() -> None:
    plain = make_tokenizer(PLAIN_CHATML)
    check_template(plain, tools=False, assistant_mask=False, model="m")
    with pytest.raises(UsageError, match="leaves out tool signatures"):
        check_template(plain, tools=True, assistant_mask=False, model="m")
    with pytest.raises(UsageError, match="does not mark assistant turns"):
        check_template(plain, tools=False, assistant_mask=True, model="m")
    plain.chat_template = "{{ raise_exception('no tools here') }}"
    with pytest.raises(UsageError, match="fails on tool signatures"):
        check_template(plain, tools=True, assistant_mask=False, model="m")
    plain.chat_template = None
    with pytest.raises(UsageError, match="has no chat template"):
        check_template(plain, tools=False, assistant_mask=False, model="m")


def test_vocabulary_without_chatml_is_refused() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))
    with pytest.raises(UsageError, match="needs the token <|im_start|>".replace("|", r"\|")):
        install_chatml_tools(bare)
