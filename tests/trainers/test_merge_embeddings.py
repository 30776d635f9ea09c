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
from hubwright.trainers.merge.embeddings import align, drop_tied_heads
from hubwright.trainers.merge.step import merge

HELD = {"model.embed_tokens.weight": torch.arange(700 * 3.0).reshape(700, 3), "model.norm.weight": torch.ones(3)}
HEAD = {"lm_head.weight": HELD["model.embed_tokens.weight"].clone()}


def folder(path: Path, held: Any, **config: Any) -> Path:
    put(path, held, torch.float32)
    (path / "config.json").write_text(json.dumps(config))
    return path


def dropped(*folders: Path) -> list[set[str]]:
    models = [(open_checkpoint(path, path.name), path) for path in folders]
    drop_tied_heads(models)
    return [set(model.kinds) - set(HELD) for model, _ in models]


def test_a_tied_head_that_only_one_parent_stores_is_dropped(tmp_path: Path) -> None:
    without = folder(tmp_path / "without", HELD, tie_word_embeddings=True)
    copy = folder(tmp_path / "copy", HELD | HEAD)
    other = HEAD["lm_head.weight"].clone()
    other[699, 2] += 1
    said = folder(tmp_path / "said", HELD | {"lm_head.weight": other}, text_config={"tie_word_embeddings": True})
    own = folder(tmp_path / "own", HELD | {"lm_head.weight": other}, tie_word_embeddings=False)
    assert dropped(without, copy, said) == [set(), set(), set()]
    assert dropped(copy, own) == [{"lm_head.weight"}] * 2
    with pytest.raises(DataError, match=r"own has an lm_head.weight of its own, without uses its embeddings"):
        dropped(without, own)


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
