"""datasets, transformers and the `hf` command, unmodified, in processes that know only HF_ENDPOINT and a token."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_data_sets_are_pushed_loaded_and_streamed(run_python, name, xet):
    out = run_python(
        f"""
from datasets import Dataset, DatasetDict, load_dataset
d = DatasetDict(train=Dataset.from_dict({{"x": list(range(1000)), "m": [[{{"role": "user", "content": "hi"}}]] * 1000}}),
                test=Dataset.from_dict({{"x": [1], "m": [[{{"role": "user", "content": "yo"}}]]}}))
info = d.push_to_hub("acme/{name}", num_shards={{"train": 3, "test": 1}})
from huggingface_hub import HfApi
HfApi().create_tag("acme/{name}", tag="v1", repo_type="dataset")
back = load_dataset("acme/{name}", revision="v1")
assert back["train"]["x"][:] == list(range(1000)), back
assert back["test"]["m"][0][0]["content"] == "yo"
rows = list(load_dataset("acme/{name}", split="train", streaming=True).take(5))
assert [r["x"] for r in rows] == [0, 1, 2, 3, 4]
Dataset.from_dict({{"x": [7], "m": [[{{"role": "user", "content": "z"}}]]}}).push_to_hub("acme/{name}", split="test")
again = load_dataset("acme/{name}", download_mode="force_redownload")
assert again["test"]["x"][:] == [7] and len(again["train"]) == 1000
print(sorted(f for f in HfApi().list_repo_files("acme/{name}", repo_type="dataset") if f.endswith("parquet")))
""",
        xet=xet,
    )
    assert out.count("train-") == 3 and out.count("test-") == 1


def test_models_are_pushed_and_loaded(run_python, name):
    out = run_python(f"""
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(config)
model.push_to_hub("acme/{name}", private=True)
back = AutoModelForCausalLM.from_pretrained("acme/{name}")
same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))
print("same" if same else "different")
""")
    assert out.strip().endswith("same")


def test_the_hf_command_uploads_and_downloads(run_python, name):
    out = run_python(f"""
import subprocess, sys, os
from pathlib import Path
def hf(*args):
    code = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
Path("up/sub").mkdir(parents=True)
Path("up/a.txt").write_text("a"); Path("up/sub/w.bin").write_bytes(os.urandom(5000))
assert "local" in hf("auth", "whoami")
hf("repos", "create", "acme/{name}", "--type", "dataset")
hf("upload", "acme/{name}", "up", ".", "--repo-type", "dataset")
hf("download", "acme/{name}", "--repo-type", "dataset", "--local-dir", "down")
assert Path("down/sub/w.bin").read_bytes() == Path("up/sub/w.bin").read_bytes()
print("done")
""")
    assert out.strip().endswith("done")


def test_the_file_system_interface_works(run_python, name):
    out = run_python(f"""
from huggingface_hub import HfApi, HfFileSystem
HfApi().create_repo("acme/{name}", repo_type="dataset")
fs = HfFileSystem()
with fs.open("datasets/acme/{name}/d/x.csv", "w") as f: f.write("a,b\\n1,2\\n")
print(sorted(p.rsplit("/", 1)[1] for p in fs.find("datasets/acme/{name}")), fs.read_text("datasets/acme/{name}@main/d/x.csv").split())
""")
    assert out.strip() == "['.gitattributes', 'x.csv'] ['a,b', '1,2']"
