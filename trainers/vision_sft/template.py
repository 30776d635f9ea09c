"""Chat templates that show images: a language model's own, with a prelude that writes content parts as text.

    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}

becomes `<image>What is it?` before the template proper sees the turn.
"""

from dataclasses import dataclass
from typing import Any

from ...inference.conversations import Turn

MARK = "\ue000image\ue000"
"""What stands in texts for an image while rows are read: private-use characters, which no text holds by chance."""
_PRELUDE = (
    "{#- Content parts as text, images as their token. -#}"
    "{%- set parts = namespace(turns=[], text='') -%}"
    "{%- for turn in messages -%}"
    "{%- if turn['content'] is defined and turn['content'] is not string and turn['content'] is iterable "
    "and turn['content'] is not mapping -%}"
    "{%- set parts.text = '' -%}"
    "{%- for part in turn['content'] -%}"
    "{%- set parts.text = parts.text + (part if part is string else IMAGE if part['type'] == 'image' "
    "else part['text']) -%}"
    "{%- endfor -%}"
    "{%- set parts.turns = parts.turns + [dict(turn, content=parts.text)] -%}"
    "{%- else -%}"
    "{%- set parts.turns = parts.turns + [turn] -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- set messages = parts.turns -%}"
)


def prelude(image_token: str) -> str:
    """What stands before a chat template of text."""
    literal = image_token.replace("\\", "\\\\").replace("'", "\\'")
    return _PRELUDE.replace("IMAGE", f"'{literal}'")


def with_images(template: Any, image_token: str) -> Any:
    """A chat template, or several by name, that shows images as their token."""
    if isinstance(template, dict):
        return {name: with_images(text, image_token) for name, text in template.items()}
    return prelude(image_token) + template if template else template


def without_images(template: Any, image_token: str) -> Any:
    """The template that `with_images` was given."""
    return template.removeprefix(prelude(image_token)) if isinstance(template, str) else template


def with_parts(turns: list[Turn]) -> list[Turn]:
    """Turns with their texts as content parts, each mark a part of type image."""
    return [turn | {"content": _parts(turn["content"])} for turn in turns]


def _parts(text: str) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = []
    for number, piece in enumerate(text.split(MARK)):
        if number:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts or [{"type": "text", "text": ""}]


@dataclass(frozen=True)
class PartsRenderer:
    """A tokenizer whose chat template gets turns in parts."""

    tokenizer: Any

    def apply_chat_template(self, turns: list[Turn], **options: Any) -> Any:
        """What the tokenizer's method gives."""
        return self.tokenizer.apply_chat_template(with_parts(turns), **options)
