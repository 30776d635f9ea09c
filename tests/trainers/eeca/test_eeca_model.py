"""The model of two branches: its equations, what is published of it, and that it is loaded without hubwright."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from eeca_parts import FILES, landmarks, run
from trainer_parts import make_model
from vision_parts import drawing, make_tower, save_rows

from hubwright.hub_sync.errors import UsageError

CASES = {"plain": {}, "latents": {"latents": 3}, "high": {"high_resolution": 56},
         "both": {"latents": 3, "high_resolution": 56}}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "vision_tower": make_tower(folder / "tower"), "language_model": make_model(folder / "lm", dropout=0.0),
        "dataset": save_rows(folder / "data", landmarks(8)),
    }  # fmt: skip


def load(folder: Path, **options: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText

    model, info = AutoModelForImageTextToText.from_pretrained(
        folder, output_loading_info=True, trust_remote_code=True, **options
    )
    return model.eval(), info


def batch_of(processor: Any) -> Any:
    images = [drawing("red", "bar", 70), drawing("blue", "cross", 70)]
    return processor(images=images, text=["<image>a", "b<image>"], padding=True, return_tensors="pt")


@pytest.mark.parametrize("name", CASES)
def test_without_heads_it_loads_whole_with_the_same_logits_and_is_smaller_by_them(
    tmp_path: Path, inputs: dict[str, Path], name: str
) -> None:
    from safetensors import safe_open
    from transformers import AutoProcessor

    def size(folder: Path) -> int:
        with safe_open(folder / "model.safetensors", "pt") as file:
            return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118

    settings = CASES[name] | {"max_steps": 2, "learning_rate": 0.01}
    trainer, step = run(tmp_path, inputs, "bare", **settings)
    _, kept = run(tmp_path, inputs, "kept", keep_heads=True, **settings)
    heads = sum(parameter.numel() for parameter in trainer.model.heads.parameters())
    assert size(kept.output) - size(step.output) == heads > 0
    model, info = load(step.output)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert not hasattr(model, "heads")
    other, info = load(kept.output)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(step.output)
    batch = batch_of(processor)
    times = {"plain": 5, "high": 5}.get(name, 3)
    assert (
        int((batch["input_ids"] == processor.image_token_id).sum()) == 2 * times == 2 * model.config.image_seq_length
    )
    with torch.no_grad():
        mine = trainer.model.eval()(**batch).logits
        assert torch.equal(mine, model(**batch).logits) and torch.equal(mine, other(**batch).logits)
    files = {path.name for path in step.output.iterdir()}
    assert (set(FILES) <= files) == (name != "plain") and "eeca_classes.json" in files
    assert model.config.model_type == ("llava" if name == "plain" else "llava_branches")


def test_it_is_loaded_where_hubwright_is_not(tmp_path: Path, inputs: dict[str, Path]) -> None:
    trainer, step = run(tmp_path, inputs, **CASES["both"])
    batch = batch_of(trainer.processing_class)
    torch.save(dict(batch), tmp_path / "batch.pt")
    code = f"""
import sys
sys.modules["hubwright"] = None
import torch
from transformers import AutoModelForImageTextToText
model = AutoModelForImageTextToText.from_pretrained({str(step.output)!r}, trust_remote_code=True).eval()
with torch.no_grad():
    batch = torch.load({str(tmp_path / "batch.pt")!r})
    torch.save(model(**batch).logits, {str(tmp_path / "logits.pt")!r})
    batch = {{name: value[:1] for name, value in batch.items()}}
    made = model.generate(**batch, max_new_tokens=4, do_sample=False)
    assert made.shape[1] > batch["input_ids"].shape[1]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(**batch).logits, torch.load(tmp_path / "logits.pt"))


def test_a_closed_gate_is_the_low_branch_alone(tmp_path: Path, inputs: dict[str, Path]) -> None:
    trainer, _ = run(tmp_path, inputs, high_resolution=56, max_steps=1, hc_weight=0, ec_weight=0)
    model, pixels = trainer.model.model.eval(), torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        low, high = model.tower_states(pixels)
        assert low.shape[1] == 5 and high.shape[1] == 17
        projector = model.multi_modal_projector
        projector.gate.fill_(0.0)
        plain = projector.linear_2(projector.act(projector.linear_1(low)))
        assert torch.equal(projector(low, high), plain)
        projector.gate.fill_(0.5)
        fused = low + torch.tensor(0.5).tanh() * reference(projector.high, low, high)
        expected = projector.linear_2(projector.act(projector.linear_1(fused)))
        assert torch.allclose(projector(low, high), expected, atol=1e-5)


def reference(attention: Any, queries: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Cross-attention written out, head by head."""
    queries, values = attention.query_norm(queries), attention.value_norm(values)
    q, k, v = attention.q_proj(queries), attention.k_proj(values), attention.v_proj(values)
    size = q.shape[-1] // attention.heads
    heads = []
    for start in range(0, q.shape[-1], size):
        part = slice(start, start + size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        heads.append(scores.softmax(-1) @ v[..., part])
    return attention.o_proj(torch.cat(heads, dim=-1))


def test_queries_read_the_tokens_in_any_order(tmp_path: Path, inputs: dict[str, Path]) -> None:
    trainer, _ = run(tmp_path, inputs, latents=3, max_steps=1)
    resampler = trainer.model.model.multi_modal_projector.resampler.eval()
    states = torch.randn(2, 9, 32)
    with torch.no_grad():
        made = resampler(states)
        assert made.shape == (2, 3, 32)
        assert torch.allclose(made, resampler(states[:, torch.randperm(9)]), atol=1e-5)
        latents = resampler.latents.expand(2, -1, -1)
        read = latents + reference(resampler.attention, latents, states)
        assert torch.allclose(made, read + resampler.mlp(resampler.norm(read)), atol=1e-5)


def test_plain_is_the_model_of_vision_sft_to_the_bit(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Without branches and losses the step is `vision_sft`."""
    from safetensors.torch import load_file
    from trainer_parts import QUICK, context

    from hubwright.trainers import vision_sft

    settings = QUICK | {"chat_template": "chatml_tools", "trained": "all"}
    other = context(tmp_path, inputs, "other")
    vision_sft.train(vision_sft.VisionSFTConfig(**settings), other)
    _, step = run(tmp_path, inputs, "mine", trained="all", hc_weight=0, ec_weight=0)
    assert "eeca_classes.json" not in {path.name for path in step.output.iterdir()}
    theirs, mine = (load_file(folder.output / "model.safetensors") for folder in (other, step))
    assert theirs.keys() == mine.keys() and all(torch.equal(theirs[key], mine[key]) for key in theirs)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_towers_of_one_size_see_two(tmp_path: Path, inputs: dict[str, Path], kind: str) -> None:
    tower = make_tower(tmp_path / "tower", kind)
    trainer, step = run(tmp_path, inputs | {"vision_tower": tower}, high_resolution=56, max_steps=1)
    model, info = load(step.output)
    assert not info["missing_keys"]
    batch = batch_of(trainer.processing_class)
    assert batch["pixel_values"].shape[-1] == 56
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, trainer.model.eval()(**batch).logits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"high_resolution": 50}, "50 is no multiple of the 14 pixels of a patch: write 56"),
        ({"high_resolution": 28}, "28 is not above the 28 pixels"),
        ({"latents": 2, "branch_heads": 3}, "3 is no divisor of the 32 features"),
        ({"branch_heads": 2}, "neither latents nor high_resolution"),
    ],
)
def test_branches_that_cannot_be_are_refused(
    tmp_path: Path, inputs: dict[str, Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, inputs, **settings)
