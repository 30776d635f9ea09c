"""Chat templates: ours, and the guard that refuses a template which would hide tools or mask nothing."""

import re
from pathlib import Path
from typing import Any

import yaml

from ...hub_sync.errors import UsageError

CHATML_TOOLS = Path(__file__).parent / "chatml_tools.jinja"
REMEDY = "set chat_template: chatml_tools"
PROBE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "probe.yaml").read_text(encoding="utf-8"))


def install_chatml_tools(tokenizer: Any) -> None:
    """Give the tokenizer our template, and make it stop at its end-of-turn token. Raises UsageError where the
    vocabulary lacks ChatML's two tokens: they would be spelt out in pieces."""
    end = "<|im_end|>"
    for token in ("<|im_start|>", end):
        if token not in tokenizer.get_vocab():
            raise UsageError(
                f"chat_template: chatml_tools needs the token {token}, which the model's vocabulary lacks: "
                "use a ChatML model, or chat_template: keep"
            )
    tokenizer.chat_template = CHATML_TOOLS.read_text(encoding="utf-8")
    if tokenizer.eos_token != end:
        tokenizer.eos_token = end


def choose(tokenizer: Any, model: str, *, tools: bool) -> Any:
    """Let one template stand in the tokenizer where it has several by name. Returns what it had, to be put back.

    Args:
        tools: rows may have tools: as in transformers, `tool_use` comes before `default` then.

    Raises UsageError where neither is there.
    """
    had = tokenizer.chat_template
    if isinstance(had, dict):
        name = next((n for n in (["tool_use"] * tools + ["default"]) if n in had), None)
        if name is None:
            raise UsageError(
                f"model {model} has the chat templates {', '.join(sorted(had))} and no `default` among them: {REMEDY}"
            )
        tokenizer.chat_template = had[name]
    return had


def check_template(tokenizer: Any, *, tools: bool, assistant_mask: bool, model: str) -> str | None:
    """Refuse a template that cannot do what the data needs, before anything is trained. Returns TRL's marked variant
    to tokenize with if the tokenizer's own does not mark assistant turns and they are to be told apart.

    Args:
        tokenizer: the model's tokenizer, its template already chosen.
        tools: rows have tools: signatures, calls and results must show up in the rendered text.
        assistant_mask: only assistant turns are supervised: the template must mark them.
        model: the model's name, for the message.

    Raises UsageError in one line that names the shortcoming and the remedy.
    """
    if not tokenizer.chat_template:
        raise UsageError(f"model {model} has no chat template: {REMEDY}")
    if tools:
        turns = [PROBE["question"], PROBE["call"], PROBE["result"]]
        needles = {"hubwright_probe": "tool signatures", "argued": "tool calls", "resulted": "tool results"}
        for count, (needle, what) in enumerate(needles.items(), 1):
            try:
                text = tokenizer.apply_chat_template(turns[:count], tools=[PROBE["tool"]], tokenize=False)
            except Exception as error:
                raise UsageError(
                    f"the chat template of {model} fails on {what} ({type(error).__name__}): {REMEDY}"
                ) from error
            if needle not in text:
                raise UsageError(
                    f"the chat template of {model} leaves out {what}, so the model would be trained "
                    f"without seeing them: {REMEDY}"
                )
    if assistant_mask and not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template):
        # TRL has its own marked variants of some widely used templates.
        from trl.chat_template_utils import get_training_chat_template

        try:
            return get_training_chat_template(tokenizer)
        except ValueError as error:
            raise UsageError(
                f"the chat template of {model} does not mark assistant turns with {{% generation %}}, so "
                f"assistant_only_loss cannot tell them apart: {REMEDY}"
            ) from error
    return None
