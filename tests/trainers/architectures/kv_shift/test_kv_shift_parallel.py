"""Tensor parallelism over two processes, and adapters: who else touches the scalars."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kv_shift_parts import make

IDS = [[5, 17, 3, 96, 17, 3, 8]]

SCRIPT = """
import sys
import torch
from hubwright.trainers.architectures import register
register()
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
ids = torch.tensor(IDS)
whole = AutoModelForCausalLM.from_pretrained(sys.argv[1])
cut = AutoModelForCausalLM.from_pretrained(sys.argv[1], tp_plan="auto")
local = cut.model.layers[0].self_attn.kv_shift.key.to_local()
assert 2 * local.shape[0] == whole.model.layers[0].self_attn.kv_shift.key.shape[0], local.shape
with torch.no_grad():
    torch.testing.assert_close(cut(ids).logits, whole(ids).logits, rtol=0, atol=1e-5)
assert torch.equal(*(m.generate(ids, max_new_tokens=5, do_sample=False) for m in (cut, whole)))
for model in (cut, whole):
    model.train()(ids, labels=ids).loss.backward()
theirs = {name: p.grad for name, p in whole.named_parameters() if "kv_shift" in name}
for name, p in cut.named_parameters():
    if "kv_shift" in name:
        torch.testing.assert_close(p.grad.full_tensor(), theirs[name], rtol=1e-4, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"shift_per_channel": True}], ids=["per head", "per channel"])
def test_heads_and_their_scalars_are_cut_alike(options, tmp_path: Path):
    make(**options).save_pretrained(tmp_path / "model")
    script = tmp_path / "run.py"
    script.write_text(f"IDS = {IDS}\n{SCRIPT}")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node=2",
            "--standalone",
            str(script),
            str(tmp_path / "model"),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0 and done.stdout.count("equal") == 2, done.stderr[-3000:]


def test_an_adapter_trains_the_scalars_where_asked(tmp_path: Path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model = get_peft_model(
        make(),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], modules_to_save=["self_attn.kv_shift"]),
    )
    trained = {n for n, p in model.named_parameters() if p.requires_grad and "kv_shift" in n}
    assert len(trained) == 4
    ids = torch.tensor(IDS)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    model.eval().save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(make(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
        assert not torch.equal(again(input_ids=ids).logits, make()(ids).logits)
