"""Published and loaded back: with the package, and with nothing but transformers, from a pinned revision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kv_shift_parts import CANON, make
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen3Config

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers.architectures.kv_shift.retrofit import retrofit

IDS = [[5, 17, 3, 96, 17, 3, 8]]

CLEAN = """
import sys
sys.modules["hubwright"] = None  # whoever imports it fails, as where it is not installed
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
repo, revision, out = sys.argv[1:]
pinned = {"revision": revision, "code_revision": revision, "trust_remote_code": True}
model = AutoModelForCausalLM.from_pretrained(repo, **pinned).eval()
assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
assert type(AutoModel.from_pretrained(repo, **pinned)).__name__ == "KVShiftModel"
ids = torch.tensor(IDS)
with torch.no_grad():
    torch.save({"logits": model(ids).logits, "said": model.generate(ids, max_new_tokens=6, do_sample=False)}, out)
model.save_pretrained(out + "-again")
"""

PACKAGE = CLEAN.replace(
    'sys.modules["hubwright"] = None', "from hubwright.trainers.architectures import register; register()"
)
PACKAGE = PACKAGE.replace('"code_revision": revision, "trust_remote_code": True', '"trust_remote_code": False')
PACKAGE = PACKAGE.replace("transformers_modules.", "hubwright.trainers.architectures.")


def in_a_child(script: str, arguments: list[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"IDS = {IDS}\n{script}", *arguments],
        env=os.environ | {"HF_MODULES_CACHE": str(folder / "modules"), "HF_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def in_this_process(script: str, arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["-c", *arguments])
        exec(script, {"IDS": IDS})


@pytest.fixture(scope="module")
def published(hub, tmp_path_factory) -> tuple[str, str, dict]:
    """(repository, commit, logits and text) of a model on the hub; its `main` has moved on since."""
    from huggingface_hub import HfApi

    folder, api = tmp_path_factory.mktemp("model"), HfApi()
    model = make(**CANON)
    model.save_pretrained(folder)
    repo = f"kv{os.getpid()}/canon"
    api.create_repo(repo)
    commit = api.upload_folder(repo_id=repo, folder_path=folder).oid
    api.upload_file(
        repo_id=repo, path_or_fileobj=b"raise SystemExit('the wrong revision')", path_in_repo="modeling_kv_shift.py"
    )
    with torch.no_grad():
        said = model.generate(torch.tensor(IDS), max_new_tokens=6, do_sample=False)
        return repo, commit, {"logits": model(torch.tensor(IDS)).logits, "said": said}


@pytest.mark.parametrize("script", [CLEAN, PACKAGE], ids=["without hubwright", "with hubwright"])
def test_a_pinned_revision_loads_equal(published, script, tmp_path: Path):
    repo, commit, expected = published
    arguments = [repo, commit, str(tmp_path / "out")]
    if script is CLEAN:
        in_a_child(script, arguments, tmp_path)
    else:
        in_this_process(script, arguments)
    found = torch.load(tmp_path / "out", weights_only=True)
    assert torch.equal(found["logits"], expected["logits"]) and torch.equal(found["said"], expected["said"])
    again = tmp_path / "out-again"
    assert {p.suffix for p in again.iterdir()} == {".json", ".py", ".safetensors"}
    config = json.loads((again / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_kv_shift.KVShiftConfig",
        "AutoModel": "modeling_kv_shift.KVShiftModel",
        "AutoModelForCausalLM": "modeling_kv_shift.KVShiftForCausalLM",
    }


SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
TRAINED = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", TRAINED.values(), ids=TRAINED.keys())
def test_a_retrofitted_model_says_the_same_bit_by_bit(config, dtype, tmp_path: Path):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    ids = torch.tensor(IDS)
    before = model(ids).logits
    made = retrofit(model)
    assert torch.equal(made(ids).logits, before)
    assert (
        made.lm_head.weight.data_ptr() == made.model.embed_tokens.weight.data_ptr() or not config.tie_word_embeddings
    )
    made.train()(ids, labels=ids).loss.backward()
    gradients = torch.stack([p.grad for n, p in made.named_parameters() if "kv_shift" in n])
    assert gradients.dtype == torch.float32 and (gradients[..., 1] != 0).all()
    made.save_pretrained(tmp_path)
    again = type(made).from_pretrained(tmp_path, dtype=dtype).eval()
    assert torch.equal(again(ids).logits, before)


def test_what_cannot_be_retrofitted_is_refused():
    from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

    with pytest.raises(UsageError, match="gpt2 is no llama, mistral, qwen2, qwen3"):
        retrofit(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)))
    with pytest.raises(UsageError, match=r"window \(4096\)"):
        retrofit(MistralForCausalLM(MistralConfig(**SHAPE)))
    with pytest.raises(UsageError, match="'shift_init' is no option"):
        retrofit(LlamaForCausalLM(TRAINED["llama"]), shift_init="uniform")
    with pytest.raises(UsageError, match="retrofit: shift_kernel_size 1 reaches no position"):
        retrofit(LlamaForCausalLM(TRAINED["llama"]), shift_kernel_size=1)
    with pytest.raises(UsageError, match="starts from 'uniform'"):
        retrofit(LlamaForCausalLM(TRAINED["llama"]), shift_gate="sigmoid")
