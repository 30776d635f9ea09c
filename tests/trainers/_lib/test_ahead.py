"""What is read ahead of a training without torch and TRL is what they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_tiny_model

from hubwright.trainers._lib import ahead
from hubwright.trainers._lib.templates import PROBE, install_chatml_tools


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def changed(folder: Path, **settings: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("place", ["file", "settings", "several files", "several in settings", "none"])
def test_tokenizer_without_torch_renders_as_the_real_one(folder: Path, place: str) -> None:
    from transformers import AutoTokenizer

    template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{{ tools }}"
    )
    path = folder / "chat_template.jinja"
    path.unlink()
    if place in ("file", "several files"):
        path.write_text(template)
    if place == "several files":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    if place == "settings":
        changed(folder, chat_template=template)
    if place == "several in settings":
        named = [{"name": "default", "template": template}, {"name": "tool_use", "template": "tools"}]
        changed(folder, chat_template=named)
    ours, theirs = ahead._read_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert type(ours).__name__ == "TokenizersBackend" or type(ours) is type(theirs)
    assert ours.chat_template == theirs.chat_template and ours.get_vocab() == theirs.get_vocab()
    for one in (ours, theirs):
        install_chatml_tools(one)
    assert ours.eos_token == theirs.eos_token
    turns = [PROBE["question"], PROBE["call"], PROBE["result"]]
    rendered = [one.apply_chat_template(turns, tools=[PROBE["tool"]], tokenize=False) for one in (ours, theirs)]
    assert rendered[0] == rendered[1]


def test_tokenizer_of_a_class_that_transformers_lacks_is_left_to_it(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    read: list[Path] = []
    for settings in ({"tokenizer_class": "NobodysTokenizer"}, {"auto_map": {"AutoTokenizer": ["x.Y", None]}}):
        changed(folder, **settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PreTrainedTokenizerFast, "from_pretrained", lambda path: read.append(path))
            patch.setattr("transformers.AutoTokenizer.from_pretrained", lambda path: "auto")
            assert ahead._read_tokenizer(folder) == "auto"
    (folder / "tokenizer_config.json").write_text("[")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.AutoTokenizer.from_pretrained", lambda path: "auto")
        assert ahead._read_tokenizer(folder) == "auto" and not read


def test_templates_of_trl_are_those_that_it_marks(folder: Path) -> None:
    from trl.chat_template_utils import get_training_chat_template

    tokenizer = ahead._read_tokenizer(folder)
    templates = list(ahead._templates_of_trl())
    assert len(templates) > 20
    for template in templates:
        tokenizer.chat_template = template
        assert get_training_chat_template(tokenizer)
