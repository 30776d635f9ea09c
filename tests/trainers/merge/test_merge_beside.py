"""A merged model has every file that its config and its tokenizer name, and loads where hubwright is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from kv_shift_parts import CANON, make
from merge_step_parts import SUM, run
from tiny_model import save_tiny_model

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.merge.beside import beside

CLEAN = """
import sys
sys.modules["hubwright"] = None  # whoever imports it fails, as where it is not installed
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
with torch.no_grad():
    torch.save(model(torch.tensor([[5, 17, 3, 96, 17, 3, 8]])).logits, sys.argv[2])
"""


def test_merge_kv_shift_models_load_without_hubwright(tmp_path: Path) -> None:
    """The mean of two models' weights, loaded by transformers with the code beside them, says what that mean says."""
    held = []
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        model = make(**CANON)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / name)
        held.append(model)
    run(tmp_path, tmp_path / "out", {"method": "linear", "dtype": "float32"}, model_a="a", model_b="b")
    merged = tmp_path / "out" / "made"
    assert {"configuration_kv_shift.py", "modeling_kv_shift.py", "mixing_kv_shift.py"} <= {
        path.name for path in merged.iterdir()
    }
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, str(merged), str(tmp_path / "logits")],
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = (model.eval() for model in held)
    with torch.no_grad():
        for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
            ours.copy_((ours + theirs) / 2)
        wanted = first(torch.tensor([[5, 17, 3, 96, 17, 3, 8]])).logits
    assert torch.allclose(torch.load(tmp_path / "logits", weights_only=True), wanted, atol=1e-6)


def test_merge_files_of_tokenizer_and_processor_are_copied(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = save_tiny_model(tmp_path / "base")
    save_tiny_model(tmp_path / "a", seed=1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "T{{ messages[0].content }}"}
    tokenizer.save_pretrained(base)
    assert (base / "additional_chat_templates" / "tool_use.jinja").is_file()
    needed = {"generation_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "merges.txt",
              "processor_config.json", "vocab.json", "spiece.model", "qwen.tiktoken", "tekken.json"}  # fmt: skip
    others = {"README.md", "provenance.json", "trainer_state.json", "training_args.bin", "adapter_config.json",
              "maet_report.json", "stray.py", ".gitattributes"}  # fmt: skip
    for name in needed | others:
        if not (base / name).exists():
            (base / name).write_text("{}")
    (base / "adapter_config.json").unlink()
    run(tmp_path, tmp_path / "out", SUM, base="base", model_a="a")
    made = tmp_path / "out" / "made"
    there = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert needed <= there and not others & there
    again = AutoTokenizer.from_pretrained(made)
    assert again.chat_template == tokenizer.chat_template


def code(folder: Path, config: Any, **files: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_beside_code_that_code_imports_is_found(tmp_path: Path) -> None:
    folder = code(
        tmp_path / "m", {"auto_map": {"AutoModel": "modeling.M", "AutoConfig": "other/repo--conf.C"}},
        modeling_py="from .layers import L\nfrom . import extra\ntry:\n    from .parts.deep import D\nexcept E: pass\n",
        layers_py="import torch\nfrom .conf import C\n", conf_py="", extra_py="", stray_py="",
        parts__deep_py="from ..late import X\nFILES = {'vocab_file': 'words.bpe'}\n", late_py="",
    )  # fmt: skip
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "words.bpe").write_text("")
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["tok.T", None]}}))
    (folder / "tok.py").write_text("")
    assert beside(folder, "me") == [
        "conf.py", "config.json", "extra.py", "late.py", "layers.py", "modeling.py", "parts/__init__.py",
        "parts/deep.py", "tok.py", "tokenizer_config.json", "words.bpe",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "files", "reason"),
    [
        ({"auto_map": {"AutoModel": "gone.M"}}, {}, "me: config.json names gone.py, which is missing: download"),
        ({"auto_map": {"AutoModel": "a.M"}}, {"a_py": "from .b import C"}, "me: a.py names b.py, which is missing"),
        ({"auto_map": {"AutoModel": "a.M"}}, {"a_py": "def"}, "me: a.py is not valid Python"),
        ({"auto_map": {"AutoModel": "../../etc/a.M"}}, {}, "names '../../etc/a.M', which is not a module"),
    ],
)
def test_beside_code_that_is_missing_is_refused(tmp_path: Path, config: Any, files: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        beside(code(tmp_path / "m", config, **files), "me")
