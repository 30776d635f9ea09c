"""Tied embeddings and other vocabularies, against what transformers makes of the same models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from merge_parts import merged, put
from tiny_model import save_tiny_model

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.trainers.merge.checkpoint import open_checkpoint, same_tensors
from hubwright.trainers.merge.config import MergeConfig
from hubwright.trainers.merge.embeddings import align, settle_heads
from hubwright.trainers.merge.parents import parent
from hubwright.trainers.merge.step import merge

HELD = {"model.embed_tokens.weight": torch.arange(700 * 3.0).reshape(700, 3), "model.norm.weight": torch.ones(3)}
HEAD = {"lm_head.weight": HELD["model.embed_tokens.weight"].clone()}


def folder(path: Path, held: Any, **config: Any) -> Path:
    put(path, held, torch.float32)
    (path / "config.json").write_text(json.dumps(config))
    return path


def heads(*folders: Path) -> list[torch.Tensor | None]:
    """The output layer that each model is merged with, None for none; the first gives the config."""
    models = [(open_checkpoint(path, path.name), parent(path, path.name)) for path in folders]
    settle_heads(models)
    return [
        torch.from_numpy(model.rows("lm_head.weight", 0, 700)) if "lm_head.weight" in model.kinds else None
        for model, _ in models
    ]


OTHER = HEAD["lm_head.weight"] + torch.eye(700, 3)
NAMED = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def test_settle_heads_untied_first_model_gives_tied_ones_their_embeddings(tmp_path: Path) -> None:
    """What an output layer is in transformers: the stored one, or the embeddings if the config ties them."""
    tied = folder(tmp_path / "tied", HELD, tie_word_embeddings=True, **NAMED)
    copy = folder(tmp_path / "copy", HELD | HEAD, tie_word_embeddings=False, **NAMED)
    own = folder(tmp_path / "own", HELD | {"lm_head.weight": OTHER}, tie_word_embeddings=False, **NAMED)
    embeddings = HELD["model.embed_tokens.weight"]
    for first, wanted in ((copy, embeddings), (own, OTHER)):
        found = heads(first, tied)
        assert all(one is not None for one in found)
        assert torch.equal(found[0], wanted) and torch.equal(found[1], embeddings)


def test_settle_heads_tied_first_model_drops_equal_copies(tmp_path: Path) -> None:
    tied = folder(tmp_path / "tied", HELD, tie_word_embeddings=True, **NAMED)
    inside = folder(tmp_path / "inside", HELD, text_config=NAMED | {"tie_word_embeddings": True})
    copy = folder(tmp_path / "copy", HELD | HEAD, tie_word_embeddings=False, **NAMED)
    both = folder(tmp_path / "both", HELD | HEAD, tie_word_embeddings=True, **NAMED)
    for first in (tied, inside, both):
        assert heads(first, copy, both) == [None, None, None]


def test_settle_heads_a_head_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    tied = folder(tmp_path / "tied", HELD, tie_word_embeddings=True, **NAMED)
    own = folder(tmp_path / "own", HELD | {"lm_head.weight": OTHER}, tie_word_embeddings=False, **NAMED)
    with pytest.raises(
        DataError, match=r"own has an lm_head.weight of its own, and tied, whose config is taken, uses"
    ):
        heads(tied, own)


def test_settle_heads_a_tied_config_with_another_head_is_refused(tmp_path: Path) -> None:
    both = folder(tmp_path / "both", HELD | {"lm_head.weight": OTHER}, tie_word_embeddings=True, **NAMED)
    with pytest.raises(DataError, match=r"both stores an lm_head.weight that differs from its embeddings, .*: true:"):
        heads(both, both)


@pytest.mark.parametrize("said", [{"tie_word_embeddings": False}, {}])
def test_settle_heads_a_missing_head_of_an_untied_config_is_refused(tmp_path: Path, said: Any) -> None:
    """Llama's own default is untied, so a config without the key says the same."""
    lost = folder(tmp_path / "lost", HELD, **NAMED, **said)
    whole = folder(tmp_path / "whole", HELD | HEAD, **NAMED, **said)
    for models in ((lost, lost), (whole, lost)):
        with pytest.raises(DataError, match=r"lost has no lm_head.weight, and its config says .*: false.*download"):
            heads(*models)
    # gpt2's default is tied, and an encoder has no output layer.
    assert heads(folder(tmp_path / "gpt2", HELD, model_type="gpt2", architectures=["GPT2LMHeadModel"])) == [None]
    assert heads(folder(tmp_path / "encoder", HELD, model_type="llama", architectures=["LlamaModel"])) == [None]


def test_settle_heads_parts_that_contradict_each_other_are_read_by_what_is_stored(tmp_path: Path) -> None:
    said = {"tie_word_embeddings": False, "text_config": NAMED | {"tie_word_embeddings": True}, "architectures": ["X"]}
    without, with_ = folder(tmp_path / "without", HELD, **said), folder(tmp_path / "with", HELD | HEAD, **said)
    assert heads(without, with_) == [None, None]
    assert all(one is not None for one in heads(with_, without))


def test_rows_are_put_where_the_base_has_their_tokens(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tokens = [f"t{n}" for n in range(500)]
    wanted = {token: n for n, token in enumerate(tokens)}
    # The model has 300 of them elsewhere, in runs and alone, 50 others, and rows that belong to no token.
    kept = sorted(random.choice(500, 300, replace=False))
    listed = [tokens[n] for n in kept[:100]] + [f"new{n}" for n in range(50)] + [tokens[n] for n in kept[:99:-1]]
    own = {token: n for n, token in enumerate(listed)}
    base_rows, own_rows = torch.randn(512, 4), torch.randn(360, 4)
    base = open_checkpoint(put(tmp_path / "base", {"wte.weight": base_rows, "w": torch.ones(360)}, torch.float32), "b")
    model = open_checkpoint(put(tmp_path / "own", {"wte.weight": own_rows, "w": torch.ones(360)}, torch.float32), "m")
    with pytest.raises(DataError, match=r"wte.weight: \[512, 4\] in b, \[360, 4\] in m"):
        same_tensors(base, {"m": model})
    found = align(model, base, own, wanted)
    same_tensors(base, {"m": found})
    rows = found.rows("wte.weight", 0, 512)
    for n in range(512):
        token = tokens[n] if n < 500 else None
        expected = own_rows[own[token]] if token in own else base_rows[n]
        assert np.array_equal(rows[n], expected.numpy()), n
    parts = [found.rows("wte.weight", n, min(n + 37, 512)) for n in range(0, 512, 37)]
    assert np.array_equal(np.concatenate(parts), rows) and found.rows("w", 0, 360).sum() == 360


def test_a_model_of_another_vocabulary_is_merged_on_request(tmp_path: Path) -> None:
    """A model whose vocabulary is permuted says the same, aligned, as the one before it was."""
    base, one = save_tiny_model(tmp_path / "base", seed=0), save_tiny_model(tmp_path / "one", seed=1)
    other = save_tiny_model(tmp_path / "other", seed=1)
    said = json.loads((other / "tokenizer.json").read_text())
    vocab = said["model"]["vocab"]
    fixed = {token["id"] for token in said["added_tokens"]}
    free = [token for token, n in vocab.items() if n not in fixed]
    moved = dict(zip(free, [vocab[token] for token in free[5:] + free[:5]], strict=True))
    said["model"]["vocab"] = vocab | moved
    (other / "tokenizer.json").write_text(json.dumps(said))
    held = {name: torch.from_numpy(rows) for name, rows in _whole(other).items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = held[name].clone()
        for token, number in moved.items():
            held[name][number] = rows[vocab[token]]
    from safetensors.torch import save_file

    save_file(held, other / "model.safetensors")
    wanted = merged(tmp_path / "wanted", base, {"a": one}, method="slerp", t=0.3)

    def run(out: Path, how: str) -> Any:
        inputs = {
            role: Input(ArtifactRef("model", f"me/{path.name}", "a" * 40), path)
            for role, path in (("base", base), ("model_a", other))
        }
        config = MergeConfig(method="slerp", t=0.3, vocabulary=how, dtype="float32")
        merge(config, StepContext("merge", out / "work", out / "made", inputs))
        return _whole(out / "made")

    with pytest.raises(DataError, match="set vocabulary: align"):
        run(tmp_path / "refused", "same")
    found = run(tmp_path / "aligned", "align")
    assert all(np.array_equal(found[name], one.numpy()) for name, one in wanted.items())
    as_it_is = run(tmp_path / "base_made", "base")
    assert not np.array_equal(as_it_is["model.embed_tokens.weight"], found["model.embed_tokens.weight"])


def _whole(path: Path) -> dict[str, Any]:
    held = open_checkpoint(path, path.name)
    return {name: held.rows(name, 0, kind.shape[0]) for name, kind in held.kinds.items()}
