"""Embeddings that parents hold in different ways: tied or stored twice, or of other vocabularies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...hub_sync.errors import DataError
from .checkpoint import Checkpoint, Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .numbers import Array

HEAD = "lm_head.weight"
# Tensors whose rows are tokens, by the end of their names.
_OF_TOKENS = (
    "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embed_out.weight", HEAD,
    "lm_head.bias",
)  # fmt: skip


def drop_tied_heads(models: list[tuple[Checkpoint, Path]]) -> None:
    """Where some models store the output layer that others tie to their embeddings, take it for tied in all.

    Args:
        models: the tensors, which are changed, and the folder of each.

    Raises DataError where an output layer that is stored differs from the embeddings and its config does not tie it.
    """
    with_head = [(model, folder) for model, folder in models if HEAD in model.kinds]
    if len(with_head) in (0, len(models)):
        return
    other = next(model for model, _ in models if HEAD not in model.kinds)
    for model, folder in with_head:
        if not (_says_tied(folder) or _same_rows(model, HEAD, "embed_tokens.weight")):
            raise DataError(
                f"{model.called} has an {HEAD} of its own, {other.called} uses its embeddings for it: merge models of "
                "one kind"
            )
    for model, _ in with_head:
        model.kinds.pop(HEAD, None)


def _says_tied(folder: Path) -> bool:
    path = folder / "config.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return bool(said.get("tie_word_embeddings", said.get("text_config", {}).get("tie_word_embeddings", False)))


def _same_rows(model: Checkpoint, name: str, end: str) -> bool:
    other = next((one for one in model.kinds if one.endswith(end)), None)
    if other is None or model.kinds[other] != model.kinds[name]:
        return False
    rows = model.kinds[name].shape[0]
    return all(
        bool((model.raw(name, n, min(n + 256, rows)) == model.raw(other, n, min(n + 256, rows))).all())
        for n in range(0, rows, 256)
    )


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
        import numpy as np

        if name not in self.order:
            return super().rows(name, start, stop)
        found = self.base.rows(name, start, stop)
        wanted = self.order[name][start:stop]
        if not len(wanted):
            return found
        # Runs of tokens that stand side by side in both are read at once.
        ends = np.flatnonzero(np.diff(wanted) != 1) + 1
        for first, end in zip([0, *ends.tolist()], [*ends.tolist(), len(wanted)], strict=True):
            if wanted[first] >= 0:
                found[first:end] = super().rows(name, int(wanted[first]), int(wanted[first]) + end - first)
        return found


def align(model: Checkpoint, base: Checkpoint, tokens: Mapping[str, int], wanted: Mapping[str, int]) -> Checkpoint:
    """The model with its rows of tokens in the base's order.

    Args:
        tokens, wanted: token -> id, of the model and of the base.
    """
    import numpy as np

    token_at = {number: token for token, number in wanted.items()}
    kinds, order = dict(model.kinds), {}
    for name, kind in model.kinds.items():
        if not name.endswith(_OF_TOKENS) or name not in base.kinds:
            continue
        shape = base.kinds[name].shape
        rows = [tokens.get(token_at.get(n, ""), -1) for n in range(shape[0])]
        order[name] = np.array([row if row < kind.shape[0] else -1 for row in rows], np.int64)
        kinds[name] = Kind((shape[0], *kind.shape[1:]), kind.dtype)
    return Aligned(model.called, kinds, model._places, model._files, model.adapter, base=base, order=order)


def vocabulary(folder: Path) -> dict[str, int] | None:
    """Token -> id of a fast tokenizer; None where the folder has none. Raises DataError for one that is damaged."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        vocab = said["model"]["vocab"]
        pairs = vocab.items() if isinstance(vocab, dict) else ((one[0], n) for n, one in enumerate(vocab))
        return dict(pairs) | {one["content"]: one["id"] for one in said.get("added_tokens", ())}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path.name} of a model to be merged cannot be read: {error!r:.80}") from error
