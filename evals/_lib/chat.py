"""Bases of tasks whose prompts are conversations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .scored import AnswerTask, ScoredTask


def chat_prompt(
    messages: Sequence[Mapping[str, str]], system_instruction: str | None, chat_template: Callable[..., Any] | None
) -> Any:
    """A conversation as the model is to continue it: through its chat template, or as plain labelled turns.

    `messages` have `role` and text `content` only. A system instruction goes before a system turn that is there.
    """
    turns = [dict(turn) for turn in messages]
    if system_instruction:
        if turns and turns[0]["role"] == "system":
            turns[0]["content"] = f"{system_instruction}\n\n{turns[0]['content']}"
        else:
            turns.insert(0, {"role": "system", "content": system_instruction})
    if chat_template is not None:
        return chat_template(turns, add_generation_prompt=True)
    return "\n\n".join([*(f"{t['role'].capitalize()}: {t['content']}" for t in turns), "Assistant:"])


class ChatTask(AnswerTask):
    """A task whose prompts are whole conversations."""

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The turns that the model continues. Set by the subclass."""
        raise NotImplementedError

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **settings: Any) -> Any:
        """The conversation through the chat template, or as plain labelled turns without one."""
        template = settings.get("chat_template") if settings.get("apply_chat_template") else None
        return chat_prompt(self.conversation(doc), settings.get("system_instruction"), template)

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        """The last turn; lm-eval shows it, the model is given the whole conversation."""
        return self.conversation(doc)[-1]["content"]


class RuleScoredTask(ChatTask, ScoredTask):
    """A scored task whose prompts are whole conversations."""
