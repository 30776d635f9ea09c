"""Parents that do not go together are refused in one line, before anything is written: configs, quantisation, layers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_parts import read
from merge_step_parts import SUM, inputs, run
from safetensors.torch import load_file, save_file
from tiny_model import save_tiny_model

from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers.maet.config import ExtractConfig, LocateConfig, TransferConfig
from hubwright.trainers.maet.extract import extract
from hubwright.trainers.maet.locate import locate
from hubwright.trainers.maet.masks import save_masks
from hubwright.trainers.maet.transfer_step import transfer_step
from hubwright.trainers.merge.complete import refuse_incomplete
from hubwright.trainers.merge.parents import compare_configs, parent


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for n, name in enumerate(("base", "a", "b")):
        save_tiny_model(tmp_path / name, seed=n)
    return tmp_path


def edit(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    said = json.loads(path.read_text())
    said = {key: value for key, value in (said | changes).items() if value is not ...}
    path.write_text(json.dumps(said))
    return folder


def weights(folder: Path, change: Any) -> Path:
    held = load_file(folder / "model.safetensors")
    change(held)
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "mistral"}, 'model_type is "llama" in t/base@.* and "mistral" in t/a@'),
        ({"num_attention_heads": 8}, "num_attention_heads is 4 in t/base@.* and 8 in t/a@"),
        ({"num_key_value_heads": 1}, "num_key_value_heads is 2 in .* and 1 in t/a@"),
        ({"head_dim": 16}, "head_dim is 8 in .* and 16 in t/a@"),
        ({"hidden_act": "gelu"}, 'activation is "silu" in .* and "gelu" in t/a@'),
        ({"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}},
         r'rope is .*10000.0.* in .*500000.0.* in t/a@.*: write accept: \[rope\] to take the value of t/base@'),
        ({"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
         r'rope is .*"default".* in t/base@.*"factor": 2.0.*: write accept: \[rope\]'),
        ({"sliding_window": 128}, r"sliding_window is null in .* and 128 in t/a@.*: write accept: \[sliding_window\]"),
        ({"max_position_embeddings": 64}, r"max_position_embeddings is 4096 .* and 64 in .*write accept: \[max_pos"),
        ({"rms_norm_eps": 1e-3}, r"norm_eps is 1e-06 .* and 0.001 in .*: write accept: \[norm_eps\]"),
        ({"num_hidden_layers": 3}, "t/a@.* has no weights of layer 2, and config.json counts 3 layers"),
    ],
)  # fmt: skip
def test_merge_parents_of_other_configs_are_refused(tmp_path: Path, models: Path, changes: Any, reason: str) -> None:
    edit(models / "a", **changes)
    for config, roles in (
        (SUM, {"base": "base", "model_a": "a"}),
        ({"method": "linear"}, {"model_z": "base", "model_a": "a"}),
    ):
        with pytest.raises(DataError, match=reason):
            run(models, tmp_path / "out", config, **roles)
    ability = {"abilities": {"x": {"beta": 0}}}
    context = StepContext("m", tmp_path / "w", tmp_path / "o", inputs(models, base="base", ability_x="a"))
    with pytest.raises(DataError, match=reason):
        transfer_step(TransferConfig(**ability), context)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("lost", ["model.norm.weight", "model.layers.1.input_layernorm.weight"])
def test_merge_weight_that_all_parents_lack_is_refused(tmp_path: Path, models: Path, lost: str) -> None:
    for name in ("base", "a"):
        weights(models / name, lambda held: held.pop(lost))
    reason = f"t/base@.* has no weights for {lost}, and they would be drawn at random at each load"
    with pytest.raises(DataError, match=reason):
        run(models, tmp_path / "out", SUM, base="base", model_a="a")


def test_refuse_incomplete_class_that_cannot_load_warns(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(models / "a", architectures=["NoSuchForCausalLM"])
    refuse_incomplete(parent(models / "a", "t/a"))
    assert "t/a is not checked for missing weights: " in caplog.text and "NoSuchForCausalLM" in caplog.text


@pytest.mark.slow
def test_refuse_incomplete_without_transformers_loaded_asks_a_process(models: Path) -> None:
    weights(models / "base", lambda held: held.pop("model.norm.weight"))
    code = """
import sys
from pathlib import Path
from hubwright.hub_sync.errors import DataError
from hubwright.trainers.merge import complete, parents
complete.refuse_incomplete(parents.parent(Path(sys.argv[1]), "t/a"))
try:
    complete.refuse_incomplete(parents.parent(Path(sys.argv[2]), "t/base"))
except DataError as error:
    print(error)
print("torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(models / "a"), str(models / "base")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("t/base has no weights for model.norm.weight") and done.stdout.endswith("False\n")


def test_merge_accepted_field_takes_the_bases_value_and_is_on_the_card(tmp_path: Path, models: Path) -> None:
    edit(models / "a", rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}, max_position_embeddings=64)
    said = SUM | {"accept": ["rope", "max_position_embeddings"]}
    context = run(models, tmp_path / "out", said, base="base", model_a="a")
    config = json.loads((tmp_path / "out" / "made" / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == 10000.0 and config["max_position_embeddings"] == 4096
    body = next(one["body"] for one in context.report.sections if one["title"] == "Accepted differences")
    assert "500000.0" in body and "the value of t/base@" in body and len(body.splitlines()) == 2
    with pytest.raises(DataError, match="max_position_embeddings"):
        run(models, tmp_path / "other", SUM | {"accept": ["rope"]}, base="base", model_a="a")


@pytest.mark.parametrize(
    "same",
    [
        # The same model as transformers 4 and 5 write it.
        {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 10000, "rope_type": "default"}},
        {"rope_parameters": ..., "rms_norm_eps": ..., "hidden_act": ...},  # as transformers' defaults are
        {"head_dim": ...}, {"head_dim": None}, {"sliding_window": 4096, "use_sliding_window": False},
        {"transformers_version": "4.30.0", "_name_or_path": "x", "eos_token_id": 0, "torch_dtype": "float32"},
    ],
)  # fmt: skip
def test_compare_configs_other_spellings_are_equal(tmp_path: Path, models: Path, same: Any) -> None:
    edit(models / "a", **same)
    donor, other = (parent(models / name, name) for name in ("base", "a"))
    assert compare_configs(donor, [other], []) == compare_configs(other, [donor], []) == []


def test_compare_configs_damaged_fields_are_compared_as_they_are(tmp_path: Path, models: Path) -> None:
    edit(models / "a", rope_parameters="x", rope_scaling=[1], text_config=None, num_attention_heads="4")
    with pytest.raises(DataError, match='num_attention_heads is 4 in base and "4" in a'):
        compare_configs(parent(models / "base", "base"), [parent(models / "a", "a")], [])


def test_compare_configs_own_code_every_setting_is_compared(tmp_path: Path, models: Path) -> None:
    for name, gate in (("base", "none"), ("a", "sigmoid")):
        edit(models / name, auto_map={"AutoConfig": "x.Y"}, shift_gate=gate, shift_init=gate, use_cache=gate == "none")
    with pytest.raises(DataError, match='shift_gate is "none" in base and "sigmoid" in a: equal weights mean other'):
        compare_configs(parent(models / "base", "base"), [parent(models / "a", "a")], [])


NEOX = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "num_attention_heads": 4, "hidden_size": 64}


@pytest.mark.parametrize(
    ("ours", "theirs", "field"),
    [
        ({"rotary_pct": 0.25}, {"rotary_pct": 1.0}, "rope"),
        ({"rotary_emb_base": 10000}, {"rotary_emb_base": 1000000}, "rope"),
        ({"use_parallel_residual": True}, {"use_parallel_residual": False}, "use_parallel_residual"),
        ({"use_parallel_residual": False}, {}, "use_parallel_residual"),
    ],
)
def test_compare_configs_older_names_and_switches_are_compared(
    tmp_path: Path, ours: Any, theirs: Any, field: str
) -> None:
    """GPT-NeoX as Pythia is published: equal weights give other logits."""
    for name, more in (("a", ours), ("b", theirs)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(NEOX | more))
    one, other = (parent(tmp_path / name, name) for name in "ab")
    for donor, second in ((one, other), (other, one)):
        with pytest.raises(DataError, match=f"^{field} is"):
            compare_configs(donor, [second], [])
    assert compare_configs(one, [one], []) == []


def test_compare_configs_switch_that_is_left_out_is_transformers_own(tmp_path: Path) -> None:
    for name, more in (("a", {"use_parallel_residual": True}), ("b", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(NEOX | more))
    assert compare_configs(parent(tmp_path / "a", "a"), [parent(tmp_path / "b", "b")], []) == []


def test_compare_configs_completed_twice_says_the_same(tmp_path: Path, models: Path) -> None:
    """transformers changes nested values of a config in place (Phi-3's `su` becomes `longrope`)."""
    scaling = {"type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    for name, kind in (("base", "su"), ("a", "longrope")):
        edit(
            models / name,
            model_type="phi3",
            rope_scaling=scaling | {"type": kind},
            original_max_position_embeddings=64,
        )
    donor, other = (parent(models / name, name) for name in ("base", "a"))

    def outcome() -> str:
        try:
            return str(compare_configs(donor, [other], []))
        except DataError as error:
            return str(error)

    assert outcome() == outcome()


def quantised(folder: Path, how: str) -> str:
    """Quantise a model as tools store it; returns what the refusal names."""
    name = "model.layers.0.mlp.up_proj.weight"
    if how in ("fp8 config", "bitsandbytes config", "gptq config"):
        method = how.split()[0]
        edit(folder, quantization_config={"quant_method": method})
        return rf"config.json has quantization_config \({method}\)"
    if how == "fp8":
        weights(folder, lambda held: held.update({name: held[name].to(torch.float8_e4m3fn)}))
        return f"{name} is F8_E4M3"
    if how == "bitsandbytes":
        weights(folder, lambda held: held.update({name: torch.zeros(1024, 1, dtype=torch.uint8)}))
        return f"{name} is U8"
    part = name.replace("weight", "qweight")
    weights(folder, lambda held: (held.pop(name), held.update({part: torch.zeros(4, 64, dtype=torch.int32)})))
    return f"{part} is I32"


HOW = ["fp8 config", "bitsandbytes config", "gptq config", "fp8", "bitsandbytes", "gptq"]


@pytest.mark.parametrize("how", HOW)
def test_merge_quantised_parents_are_refused(tmp_path: Path, models: Path, how: str) -> None:
    for name in ("a", "b"):
        why = quantised(models / name, how)
    reason = rf"t/a@.* is quantised: {why}: take the unquantised model"
    with pytest.raises(DataError, match=reason):
        run(models, tmp_path / "out", SUM, base="base", model_a="a")
    with pytest.raises(DataError, match=reason):
        run(models, tmp_path / "out", {"method": "linear"}, model_a="a", model_b="b")
    context = StepContext("m", tmp_path / "w", tmp_path / "o", inputs(models, base="a", language_x="b"))
    with pytest.raises(DataError, match=reason):
        transfer_step(TransferConfig(), context)


@pytest.mark.parametrize("how", HOW)
def test_maet_locate_and_extract_quantised_model_is_refused(tmp_path: Path, models: Path, how: str) -> None:
    why = quantised(models / "a", how)
    save_masks(models / "masks", {})
    context = StepContext(
        "m", tmp_path / "w", tmp_path / "o", inputs(models, model="a", dataset="none", masks="masks")
    )
    with pytest.raises(DataError, match=f"t/a@.* is quantised: {why}"):
        locate(LocateConfig(max_steps=1), context)
    with pytest.raises(DataError, match=f"t/a@.* is quantised: {why}"):
        extract(ExtractConfig(max_steps=1), context)


def test_merge_integers_that_differ_are_taken_for_codes(tmp_path: Path, models: Path) -> None:
    """Positions, equal in all, are copied; a table of integers that training has changed is not a constant."""
    for name in ("base", "a"):
        weights(models / name, lambda held: held.update({"positions": torch.arange(6).reshape(2, 3)}))
    run(models, tmp_path / "out", SUM, base="base", model_a="a")
    assert torch.equal(read(tmp_path / "out" / "made")["positions"], torch.arange(6).reshape(2, 3))
    weights(models / "a", lambda held: held["positions"].__setitem__((1, 2), 9))
    with pytest.raises(DataError, match=r"t/a@.* is quantised: positions is I64 and differs from that of t/base@"):
        run(models, tmp_path / "other", SUM, base="base", model_a="a")


def test_merge_left_over_buffers_are_dropped(tmp_path: Path, models: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    wanted = run(models, tmp_path / "plain", SUM, base="base", model_a="a").output
    for had in ({"a"}, {"a", "base"}):
        for one in had:
            weights(models / one, lambda held: held.update({name: torch.ones(4)}))
        out = tmp_path / "-".join(sorted(had))
        run(models, out, SUM, base="base", model_a="a")
        assert (out / "made" / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()


def test_merge_padded_rows_of_one_tokenizer_are_aligned(tmp_path: Path, models: Path) -> None:
    """As mergekit with `tokenizer_source: base`: rows that belong to no token are left out."""
    wanted = run(models, tmp_path / "plain", SUM, base="base", model_a="a").output

    def pad(held: dict[str, torch.Tensor]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            held[name] = torch.cat([held[name], torch.full((61, 32), 7.0, dtype=held[name].dtype)])

    edit(weights(models / "a", pad), vocab_size=320)
    with pytest.raises(DataError, match=r"t/base@.* and t/a@.* have other numbers of rows: set vocabulary: align"):
        run(models, tmp_path / "same", SUM, base="base", model_a="a")
    run(models, tmp_path / "out", SUM | {"vocabulary": "align"}, base="base", model_a="a")
    assert (tmp_path / "out/made/model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()
    # The other way round the base's own padding stays, where the model changes nothing.
    run(models, tmp_path / "back", SUM | {"vocabulary": "align"}, base="a", model_a="base")
    found = read(tmp_path / "back" / "made")["lm_head.weight"]
    assert found.shape == (320, 32) and found[259:].eq(7).all()
    (models / "a" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"t/a@.* has no tokenizer.json, so tokens cannot be aligned"):
        run(models, tmp_path / "none", SUM | {"vocabulary": "align"}, base="base", model_a="a")


def test_merge_untied_head_beside_a_tied_parent_is_loaded_as_it_was_merged(tmp_path: Path, models: Path) -> None:
    """Published and loaded by transformers: the output layer is the mean of both, at each load."""
    from transformers import AutoModelForCausalLM

    weights(models / "a", lambda h: h.update({"lm_head.weight": h["model.embed_tokens.weight"].clone()}))
    edit(weights(models / "b", lambda held: held.pop("lm_head.weight")), tie_word_embeddings=True)
    tensors = [load_file(models / name / "model.safetensors") for name in "ab"]
    run(models, tmp_path / "out", {"method": "linear", "dtype": "float32"}, model_a="a", model_b="b")
    wanted = (tensors[0]["lm_head.weight"].float() + tensors[1]["model.embed_tokens.weight"].float()) / 2
    for _ in range(2):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "made")
        assert torch.equal(model.lm_head.weight, wanted) and not model.config.tie_word_embeddings
    # Also in MAET: base + language's change.
    context = StepContext("m", tmp_path / "w", tmp_path / "o", inputs(models, base="a", language_x="b"))
    transfer_step(TransferConfig(dtype="float32"), context)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "o").lm_head.weight
    assert torch.allclose(found, tensors[1]["model.embed_tokens.weight"].float(), atol=1e-7)


def test_merge_missing_head_is_refused(tmp_path: Path, models: Path) -> None:
    for name in ("base", "a"):
        weights(models / name, lambda held: held.pop("lm_head.weight"))
    with pytest.raises(
        DataError, match=r"t/base@.* has no lm_head.weight, and its config says tie_word_embeddings: f"
    ):
        run(models, tmp_path / "out", SUM, base="base", model_a="a")


def test_merge_model_without_or_with_a_broken_config_is_refused(tmp_path: Path, models: Path) -> None:
    for text, reason in (("{", "config.json is not valid JSON"), ("[]", "config.json is not a JSON object")):
        (models / "a" / "config.json").write_text(text)
        with pytest.raises(DataError, match=f"t/a@.*: {reason}.*: download the model again"):
            run(models, tmp_path / "out", SUM, base="base", model_a="a")
    (models / "base" / "config.json").unlink()
    with pytest.raises(DataError, match=r"t/base@.* has no config.json, so the merged model could not be loaded"):
        run(models, tmp_path / "out", SUM, base="base", model_a="a")


def test_merge_linear_weights_of_sum_zero_are_refused(tmp_path: Path, models: Path) -> None:
    said = {"method": "linear", "models": {"a": {"weight": 1}, "b": {"weight": -1}}}
    with pytest.raises(UsageError, match="step m: the weights 1, -1 have the sum 0, by which linear divides"):
        run(models, tmp_path / "out", said, model_a="a", model_b="b")


def test_merge_damaged_adapters_and_tokenizers_are_one_line(tmp_path: Path, models: Path) -> None:
    adapter = models / "lora"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    for text in ("{", "[]", "{}", '{"r": 0, "lora_alpha": 1}', '{"r": null, "lora_alpha": 1}'):
        (adapter / "adapter_config.json").write_text(text)
        with pytest.raises(
            DataError, match=r"t/lora@.*: adapter_config.json cannot be read .*: save the adapter again"
        ):
            run(models, tmp_path / "out", SUM, base="base", model_a="lora")
    path = models / "a" / "tokenizer.json"
    whole = json.loads(path.read_text())
    for text in ("[]", "{}", json.dumps(whole | {"model": {"vocab": {"a": -1}}}), '{"model": {"vocab": [1]}}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"t/a@.*: tokenizer.json cannot be read .*: download the model again"):
            run(models, tmp_path / "out", SUM | {"vocabulary": "align"}, base="base", model_a="a")


def test_merge_adapter_without_its_base_is_refused(tmp_path: Path, models: Path) -> None:
    (models / "lora").mkdir()
    (models / "lora" / "adapter_config.json").write_text("{}")
    for roles in ({"model_x": "lora", "model_a": "a"}, {"model_a": "a", "model_x": "lora"}):
        with pytest.raises(
            UsageError, match=r"t/lora@.* is an adapter: give the model that it belongs to as input `b"
        ):
            run(models, tmp_path / "out", {"method": "linear"}, **roles)


def test_merge_config_with_a_byte_order_mark_is_read(tmp_path: Path, models: Path) -> None:
    path = models / "base" / "config.json"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    run(models, tmp_path / "out", SUM | {"dtype": "float32"}, base="base", model_a="a")
    assert json.loads((tmp_path / "out" / "made" / "config.json").read_text())["dtype"] == "float32"


def test_merge_causal_masks_of_gpt2_are_dropped(tmp_path: Path, models: Path) -> None:
    mask = {"h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    weights(models / "a", lambda held: held.update(mask))
    run(models, tmp_path / "out", SUM, base="base", model_a="a")
    assert not set(mask) & set(read(tmp_path / "out" / "made"))
