"""One model, every way to run it: the same logits, whatever the cache, the cut, the padding, the packing, the kernel."""

from __future__ import annotations

import shutil

import pytest
import torch
from kv_shift_parts import CANON, SHAPE, VARIANTS, make
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

from hubwright.trainers.architectures.kv_shift.modeling_kv_shift import KVShiftConfig

every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(1, 97, (2, 13), generator=torch.Generator().manual_seed(7))


def logits(model, *args, **kwargs):
    with torch.no_grad():
        return model(*args, **kwargs).logits


def pieces(model, ids, sizes, cache):
    parts = ids.split(sizes, dim=1)
    return torch.cat([logits(model, part, past_key_values=cache, use_cache=True) for part in parts], dim=1)


@every_variant
@pytest.mark.parametrize("sizes", [[13], [1] * 13, [5, 1, 7], [2, 2, 9], [1, 12]], ids=str)
def test_a_cache_changes_nothing(options, sizes, ids):
    model = make(**options)
    whole = logits(model, ids, use_cache=False)
    torch.testing.assert_close(pieces(model, ids, sizes, DynamicCache(config=model.config)), whole, rtol=0, atol=1e-5)
    static = StaticCache(config=model.config, max_cache_len=16)
    torch.testing.assert_close(pieces(model, ids, sizes, static), whole, rtol=0, atol=1e-5)


@every_variant
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_documents_do_not_see_one_another(options, attention, ids):
    model = make(**options)
    model.set_attn_implementation(attention)
    a, b, c = ids[:1, :6], ids[1:, :1], ids[1:, 1:9]
    positions = torch.cat([torch.arange(x.shape[1]) for x in (a, b, c)])[None]
    packed = logits(model, torch.cat([a, b, c], 1), position_ids=positions, use_cache=False)
    alone = torch.cat([logits(model, x, use_cache=False) for x in (a, b, c)], 1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)


def test_without_the_restart_the_documents_would_be_mixed():
    """What the test above would miss if `position_ids` meant nothing."""
    leaking = make().model.layers[0].self_attn.kv_shift
    states = {"key": torch.randn(1, 13, 2, 8), "value": torch.randn(1, 13, 2, 8)}
    positions = torch.cat([torch.arange(6), torch.arange(7)])[None]
    with torch.no_grad():
        kept, mixed = leaking(states, positions[..., None] > torch.arange(1)), leaking(states)
    assert not torch.equal(kept["key"][:, 6], mixed["key"][:, 6])
    assert torch.equal(kept["key"][:, 7:], mixed["key"][:, 7:])


@every_variant
@pytest.mark.parametrize("with_positions", [False, True])
def test_left_padding_changes_nothing(options, with_positions, ids):
    model = make(**options)
    mask = torch.tensor([[0] * 4 + [1] * 9, [1] * 13])
    positions = (mask.cumsum(1) - 1).clamp(min=0) if with_positions else None
    padded = ids.clone()
    padded[0, :4] = 0
    both = logits(model, padded, attention_mask=mask, position_ids=positions, use_cache=False)
    alone = logits(model, ids[:1, 4:], use_cache=False)
    torch.testing.assert_close(both[:1, 4:], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1:], logits(model, ids[1:], use_cache=False), rtol=0, atol=1e-5)


GENERATION = {
    "dynamic": {},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "beam search": {"num_beams": 3},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "prefill in chunks": {"prefill_chunk_size": 4},
}


@every_variant
@pytest.mark.parametrize("how", GENERATION.values(), ids=GENERATION.keys())
def test_generation_with_a_cache_is_generation_without(options, how, ids):
    model = make(**options)
    prompt = ids[:1] if "prompt_lookup_num_tokens" in how else ids
    common = {"max_new_tokens": 10, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
    plain = model.generate(prompt, use_cache=False, num_beams=how.get("num_beams", 1), **common)
    assert torch.equal(model.generate(prompt, **how, **common), plain)


@pytest.mark.parametrize("options", [{}, CANON], ids=["paper", "canon"])
def test_assisted_generation_rolls_the_rows_back(options, ids):
    """A draft model that is mostly wrong: nearly every step is rejected, and the cache is cropped."""
    model, draft = make(**options), make(seed=1, num_hidden_layers=1)
    common = {"max_new_tokens": 12, "do_sample": False, "attention_mask": torch.ones_like(ids[:1])}
    plain = model.generate(ids[:1], use_cache=False, **common)
    assert torch.equal(model.generate(ids[:1], assistant_model=draft, **common), plain)


def test_generation_of_a_padded_batch_is_that_of_its_rows(ids):
    model = make()
    mask = torch.tensor([[0] * 4 + [1] * 9, [1] * 13])
    common = {"max_new_tokens": 8, "do_sample": False}
    both = model.generate(ids * mask, attention_mask=mask, **common)
    alone = model.generate(ids[:1, 4:], attention_mask=mask[:1, 4:], **common)
    assert torch.equal(both[0, 13:], alone[0, 9:])


@pytest.mark.parametrize("options", [{}, CANON], ids=["paper", "canon"])
def test_a_reset_cache_is_a_new_one(options, ids):
    model = make(**options)
    cache = StaticCache(config=model.config, max_cache_len=16)
    first = pieces(model, ids, [4, 9], cache)
    cache.reset()
    assert torch.equal(pieces(model, ids, [4, 9], cache), first)


def test_the_cache_grows_by_one_token_of_keys_and_values(ids):
    model, llama = make(), LlamaForCausalLM(LlamaConfig(**SHAPE))
    sizes = []
    for one in (model, llama):
        cache = DynamicCache(config=one.config)
        logits(one, ids, past_key_values=cache, use_cache=True)
        tensors = [
            t
            for layer in cache.layers
            for t in (layer.keys, layer.values, *getattr(layer, "conv_states", {}).values())
        ]
        sizes.append(sum(t.numel() for t in tensors))
    assert sizes[0] - sizes[1] == sizes[1] // ids.shape[1]


def test_gradients_under_checkpointing_are_the_same(ids):
    found = []
    for checkpointing in (False, True):
        model = make(**CANON).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(ids, labels=ids, use_cache=False).loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_flex_attention_gives_the_same(ids):
    model = make(hidden_size=64, num_attention_heads=4, num_key_value_heads=2)
    whole = logits(model, ids, use_cache=False)
    model.set_attn_implementation("flex_attention")
    found = logits(model, ids, use_cache=False)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler of torch.compile on CPU needs g++")
def test_compiled_is_eager(ids):
    model = make().train()
    eager = model(ids, labels=ids, use_cache=False).loss
    eager.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True)(ids, labels=ids, use_cache=False).loss
    compiled.backward()
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_the_scalars_stay_float32_and_start_as_the_paper_says(tmp_path):
    model = make(num_hidden_layers=8)
    model.bfloat16().save_pretrained(tmp_path / "half")
    make(num_hidden_layers=8).save_pretrained(tmp_path / "full")
    again = type(model).from_pretrained(tmp_path / "full", dtype=torch.bfloat16)
    scalars = {name: p for name, p in again.named_parameters() if "kv_shift" in name}
    assert len(scalars) == 16 and {p.dtype for p in scalars.values()} == {torch.float32}
    assert {p.shape for p in scalars.values()} == {(2, 2)}  # key-value heads x (now, before)
    assert again.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    values = torch.stack(list(scalars.values()))
    torch.testing.assert_close(values.sum(-1), torch.ones(16, 2))
    assert values.min() >= 0 and 0.3 < values[..., 0].mean() < 0.7 and values[..., 0].unique().numel() == 32


def test_the_first_token_is_not_renormalised(ids):
    """K_0 = a1 k_0 and V_0 = b1 v_0 (the paper): there is a zero row before it."""
    shift = make().model.layers[0].self_attn.kv_shift
    states = {"key": torch.randn(1, 3, 2, 8), "value": torch.randn(1, 3, 2, 8)}
    with torch.no_grad():
        mixed = shift(states)
        now, before = shift.key[:, 0, None], shift.key[:, 1, None]
        torch.testing.assert_close(mixed["key"][:, 0], now * states["key"][:, 0])
        torch.testing.assert_close(mixed["key"][:, 2], now * states["key"][:, 2] + before * states["key"][:, 1])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"shift_targets": ["keys"]}, "shift_targets: 'keys' is unknown"),
        ({"shift_kernel_size": 1}, "shift_kernel_size 1 reaches no position before"),
        ({"shift_gate": "tanh"}, "shift_gate 'tanh' is unknown"),
        ({"shift_init": "zero"}, "shift_init 'zero' is unknown"),
        ({"shift_gate": "sigmoid", "shift_kernel_size": 3}, "shift_gate 'sigmoid' has two taps"),
        ({"shift_gate": "sigmoid", "shift_init": "identity"}, "shift_gate 'sigmoid' starts from 'uniform'"),
    ],
)
def test_a_setting_that_cannot_be_is_named(options, said):
    with pytest.raises(Exception, match="(?s)" + said):
        KVShiftConfig(**SHAPE | options)


def test_caches_and_backends_without_the_row_before_are_refused(ids):
    model = make()
    with pytest.raises(ValueError, match="keeps no rows for KV shifting"):
        logits(model, ids, past_key_values=DynamicCache(), use_cache=True)
    with pytest.raises(NotImplementedError, match="the key and value of the position before"):
        logits(model, ids, cache=object())
    model.config._attn_implementation_internal = "vllm"
    with pytest.raises(NotImplementedError, match="'vllm'"):
        logits(model, ids)
    assert not type(model).is_backend_compatible()
