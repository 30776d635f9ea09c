"""Embeddings that parents hold in different ways: tied or stored twice, or of other vocabularies."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...hub_sync.errors import DataError
from .checkpoint import Checkpoint, Kind
from .numbers import Array
from .parents import Parent

HEAD = "lm_head.weight"
_INPUT = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_OTHER_HEADS = ("head.weight", "embed_out.weight", "output.weight", "output_layer.weight", "proj_out.weight")
# Tensors whose rows are tokens, by the end of their names.
_OF_TOKENS = (*_INPUT, "embed_out.weight", HEAD, "lm_head.bias")
# Buffers that older versions of transformers stored and newer ones compute.
_LEFT_OVER = re.compile(r"(?:^|\.)(?:rotary_emb\.inv_freq|attn\.masked_bias|attention\.masked_bias)$")


def settle_heads(models: Sequence[tuple[Checkpoint, Parent]]) -> None:
    """Give all models an output layer of their own, or none, as the first model's config says.

    If the first model ties it to its embeddings, stored copies are dropped; if not, a model that ties it gets its
    embeddings for it, as mergekit does.

    Args:
        models: the tensors, which are changed, and the config that they are read by; the first gives the merged
            model's config.

    Raises DataError for a model that says its output layer is not tied and stores none, one that says it is tied and
    stores another (transformers 4 takes the embeddings then, 5 the stored one), and one whose own output layer would
    be lost in the first model's config.
    """
    ties = [_ties(model, of) for model, of in models]
    first, tied, heads = models[0][0], ties[0], [head(model) for model, _ in models]
    for (model, _), own, name in zip(models, ties, heads, strict=True):
        if name and tied and not own and not _same_rows(model, name):
            raise DataError(
                f"{model.called} has an {name} of its own, and {first.called}, whose config is taken, uses its "
                "embeddings for it: give a model with an output layer of its own as base, or merge models of one kind"
            )
    stored = next(filter(None, heads), None)
    for (model, _), name in zip(models, heads, strict=True):
        if name and tied:
            del model.kinds[name]
        elif stored and not tied and not name:
            model.alias(stored, _embeddings(model))


def drop_left_overs(models: Sequence[tuple[Checkpoint, Parent]]) -> None:
    """Drop stored buffers that are computed at each load (`inv_freq` of rotary positions, constants of attention). A
    model with code of its own keeps those that all models store: it may read them."""
    own_code = bool(models[0][1].config.get("auto_map"))
    everywhere = set.intersection(*(set(model.kinds) for model, _ in models)) if own_code else set()
    for model, _ in models:
        for name, kind in list(model.kinds.items()):
            causal_mask = name.endswith(("attn.bias", "attention.bias")) and len(kind.shape) == 4
            if (causal_mask or _LEFT_OVER.search(name)) and name not in everywhere:
                del model.kinds[name]


def head(model: Checkpoint) -> str | None:
    """Name of the stored output layer, None if there is none."""
    return next((name for name in model.kinds if name == HEAD or name.endswith(f".{HEAD}")), None)


def _ties(model: Checkpoint, of: Parent) -> bool:
    """Whether a model's output layer is its embeddings."""
    name, stated = head(model), of.ties
    if name is None and stated is False and of.causal and not any(n.endswith(_OTHER_HEADS) for n in model.kinds):
        raise DataError(
            f"{model.called} has no {HEAD}, and its config says tie_word_embeddings: false, so the output layer would "
            "be drawn at random: download the model again, or set tie_word_embeddings: true if it is tied"
        )
    if name and stated and not _same_rows(model, name):
        raise DataError(
            f"{model.called} stores an {name} that differs from its embeddings, and its config says "
            "tie_word_embeddings: true: correct the config, since versions of transformers read it differently"
        )
    return name is None if stated is None else stated


def _embeddings(model: Checkpoint) -> str:
    names = [name for name in model.kinds if name.endswith(_INPUT)]
    if len(names) != 1:
        raise DataError(f"{model.called} has no {HEAD} and {len(names) or 'no'} embeddings that could stand for it")
    return names[0]


def _same_rows(model: Checkpoint, name: str) -> bool:
    """Whether the output layer is equal to the embeddings, adapter included."""
    kind = model.kinds[name]
    other = next((n for n in model.kinds if n.endswith(_INPUT) and model.kinds[n] == kind), None)
    if other is None or model.adapter.get(name) is not model.adapter.get(other):
        return False
    blocks = [(n, min(n + 256, kind.rows)) for n in range(0, kind.rows, 256)]
    return all(np.array_equal(model.raw(name, *block), model.raw(other, *block)) for block in blocks)


@dataclass
class Aligned(Checkpoint):
    """A model whose rows of tokens stand where the base has the same tokens.

    Attributes:
        base: gives the rows of tokens that the model does not have: there it changes nothing.
        order: tensor -> for each of the base's rows the model's row, int64, -1 where it has none.
    """

    base: Checkpoint = field(kw_only=True)
    order: dict[str, NDArray[np.int64]] = field(kw_only=True)

    def rows(self, name: str, start: int, stop: int) -> Array:
        """As of any checkpoint, in the base's order."""
        if name not in self.order:
            return super().rows(name, start, stop)
        block = self.base.rows(name, start, stop)
        order = self.order[name][start:stop]
        if not len(order):
            return block
        # Runs of tokens that stand side by side in both are read at once.
        ends = [0, *(np.flatnonzero(np.diff(order) != 1) + 1).tolist(), len(order)]
        for first, end in pairwise(ends):
            if order[first] >= 0:
                block[first:end] = super().rows(name, int(order[first]), int(order[first]) + end - first)
        return block


def padded(model: Checkpoint, base: Checkpoint) -> bool:
    """Whether a tensor whose rows are tokens has another number of rows than the base's."""
    return any(
        name.endswith(_OF_TOKENS) and name in base.kinds and base.kinds[name].rows != kind.rows
        for name, kind in model.kinds.items()
    )


def align(
    model: Checkpoint, base: Checkpoint, tokens: Mapping[str, int], base_tokens: Mapping[str, int]
) -> Checkpoint:
    """The model with its rows of tokens in the base's order.

    Args:
        tokens, base_tokens: token -> id, of the model and of the base.
    """
    token_at = {number: token for token, number in base_tokens.items()}
    kinds, order = dict(model.kinds), {}
    for name, kind in model.kinds.items():
        if not name.endswith(_OF_TOKENS) or name not in base.kinds:
            continue
        shape = base.kinds[name].shape
        rows = [tokens.get(token_at.get(n, ""), -1) for n in range(shape[0])]
        order[name] = np.array([row if row < kind.shape[0] else -1 for row in rows], np.int64)
        kinds[name] = Kind((shape[0], *kind.shape[1:]), kind.dtype)
    return Aligned(model.called, kinds, model._places, model._files, model.adapter, base=base, order=order)


def vocabulary(folder: Path, called: str) -> dict[str, int] | None:
    """Token -> id of a fast tokenizer; None where the folder has none. Raises DataError for one that is damaged."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        vocab = tokenizer["model"]["vocab"]
        pairs = vocab.items() if isinstance(vocab, dict) else ((one[0], n) for n, one in enumerate(vocab))
        ids = dict(pairs) | {one["content"]: one["id"] for one in tokenizer.get("added_tokens", ())}
        if bad := next((token for token, number in ids.items() if type(number) is not int or number < 0), None):
            raise ValueError(f"the id of {bad!r} is {ids[bad]!r}")
        return ids
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{called}: {path.name} cannot be read ({error!r:.80}): download the model again") from error
