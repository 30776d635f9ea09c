"""From rows to what the model reads: documents to pieces, pieces to packed rows, rows to batches.

Nothing leaks. A piece is (part of) one document; in a packed row the positions begin at 0 with every piece, which is
how transformers knows that attention must not cross, and the last token of a piece has no label. Labels are aligned:
label i is what the logits at position i predict. The first token of a document is predicted by nothing.

A document longer than a row is read in windows. Each begins with the last token of the one before, so that every token
but the document's first is predicted exactly once; but what the window before said is not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from datasets import Features, List, Value

from ...hub_sync.errors import DataError, UsageError
from .tokenizer import UNKNOWN

UNSCORED = -100
# Documents that are packed together, best fit first: datasets' batch, within which TRL's packer works.
BLOCK = 1000


@dataclass
class Reader:
    """Turns rows into pieces: what `datasets.map` calls, on a batch of rows.

    Attributes:
        tokenizer: a fast tokenizer.
        length: tokens per piece, at most.
        scored: rows have `targets`.
        bos: documents begin with the bos token.
        source_name: the data set's name, for messages.
    """

    tokenizer: Any
    length: int
    scored: bool
    bos: bool
    source_name: str
    _ids: dict[str, int] = field(default_factory=dict)
    _controls: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        core = self.tokenizer.backend_tokenizer
        core.no_truncation()
        core.no_padding()
        special = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        special |= set(self.tokenizer.all_special_tokens)
        self._controls = set(self.tokenizer.convert_tokens_to_ids(sorted(special))) - {self.tokenizer.unk_token_id}
        if not self.scored and self.tokenizer.eos_token_id is None:
            raise UsageError("the tokenizer has no eos token to end documents with: use another, or train one")
        if self.bos and self.tokenizer.bos_token_id is None:
            raise UsageError("add_bos: the tokenizer has no bos token: set add_bos: false")
        if self.bos and self.scored:
            raise UsageError("add_bos: rows with `targets` are read word by word as they are: set add_bos: false")

    @property
    def _core(self) -> Any:
        """The tokenizer that reads what a text spells as text: `</s>` in it ends no document."""
        core = self.tokenizer.backend_tokenizer
        core.encode_special_tokens = True  # every call of the tokenizer itself sets it back
        return core

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Columns of pieces: `input_ids`, and `first` (of its document) or, where targets are given, `labels`."""
        return self._read_scored(batch) if self.scored else self._read_documents(batch["text"])

    def _read_documents(self, texts: list[str | None]) -> dict[str, list[Any]]:
        encoded = self._core.encode_batch_fast([text or "" for text in texts], add_special_tokens=False)
        head = [self.tokenizer.bos_token_id] if self.bos else []
        ids: list[list[int]] = []
        first: list[bool] = []
        for document in filter(lambda one: one.ids, encoded):
            tokens = [*head, *self._as_text(document.ids), self.tokenizer.eos_token_id]
            starts = range(0, len(tokens) - 1, self.length - 1)
            ids.extend(tokens[start : start + self.length] for start in starts)
            first.extend(start == 0 for start in starts)
        return {"input_ids": ids, "first": first}

    def _read_scored(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [text or "" for text in batch["text"]]
        encoded = self._core.encode_batch(texts, add_special_tokens=False)
        ids, labels = [], []
        for text, targets, row in zip(texts, (one or [] for one in batch["targets"]), encoded, strict=True):
            words, where = text.split(" "), f"{self.source_name}: the row {text[:40]!r}"
            if len(words) != len(targets):
                raise DataError(
                    f"{where} has {len(words)} words and {len(targets)} targets: give one target for each word, '' "
                    "where nothing is scored"
                )
            self._check_words(words, row.offsets, where)
            if len(words) > self.length:
                raise DataError(f"{where} has {len(words)} words, max_length is {self.length}: raise it")
            scores = [self._id_of(target) if target else UNSCORED for target in targets]
            if any(score != UNSCORED for score in scores):
                ids.append(self._as_text(row.ids))
                labels.append(scores)
        return {"input_ids": ids, "labels": labels}

    def _as_text(self, ids: list[int]) -> list[int]:
        """Ids without control tokens, which vocabularies of whole words have no other spelling for: unknown words.
        Raises DataError for a tokenizer without a token for unknown words."""
        if self._controls.isdisjoint(ids):
            return ids
        unknown = self.tokenizer.unk_token_id
        if unknown is None:
            spelt = self.tokenizer.convert_ids_to_tokens(next(i for i in ids if i in self._controls))
            raise DataError(
                f"{self.source_name}: a text spells the control token {spelt!r}, and the tokenizer has no other way "
                "to write it: take it out of the text, or use another tokenizer"
            )
        return [unknown if i in self._controls else i for i in ids]

    def _check_words(self, words: list[str], offsets: Sequence[tuple[int, int]], where: str) -> None:
        """Refuse a tokenizer that cuts words: a target belongs to a word, so to one token."""
        ends = list(accumulate((1 + len(word) for word in words), initial=-1))[1:]
        if not all(words) or [stop for _, stop in offsets] != ends:
            raise DataError(
                f"{where} is {len(words)} words and {len(offsets)} tokens, and targets need one token for each word: "
                "set tokenizer kind: words, and separate words by single spaces"
            )

    def _id_of(self, target: str) -> int:
        """The token of a target as it stands within a text. Raises DataError where it is not one known token."""
        if target not in self._ids:
            ids = self._core.encode(" " + target, add_special_tokens=False).ids
            unknown = ids == [self.tokenizer.unk_token_id] and target != UNKNOWN
            if len(ids) != 1 or unknown or ids[0] in self._controls:
                raise DataError(
                    f"{self.source_name}: the target {target!r} is not one token of the vocabulary: the train split "
                    "must show it, with tokenizer kind: words"
                )
            self._ids[target] = ids[0]
        return self._ids[target]


def check_columns(rows: Any, source_name: str) -> bool:
    """True where rows have `targets`. Raises DataError where there is no `text`, or columns have other types."""
    features = rows.features
    if "text" not in features:
        raise DataError(f"{source_name} has no column `text`: its columns are {', '.join(sorted(features))}")
    for name, form in {"text": "a string", "targets": "a list of strings"}.items():
        kind = features.get(name) if name == "text" else getattr(features.get(name), "feature", None)
        if name in features and getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise DataError(f"{source_name}: column `{name}` is {features[name]}, not {form}")
    return "targets" in features


def tokenise(rows: Any, read: Reader, key: str | None = None) -> Any:
    """Pieces from rows of text, in their order.

    Args:
        rows: `datasets.Dataset`, or IterableDataset, which is then read as it is asked for.
        key: a hash of all that shapes the result, under which a Dataset caches it.

    Returns rows with `input_ids` (int32) and `first` (bool), or `labels` (int32) where targets are given.
    """
    columns: dict[str, Any] = {"input_ids": List(Value("int32"))}
    columns |= {"labels": List(Value("int32"))} if read.scored else {"first": Value("bool")}
    cached = {} if key is None else {"new_fingerprint": key, "desc": "Tokenising"}
    return rows.map(
        read, batched=True, batch_size=BLOCK, remove_columns=rows.column_names, features=Features(columns), **cached
    )


def pack(pieces: Any, read: Reader, packing: bool) -> Any:
    """Rows from pieces: with `packing` several to a row, best fit first within blocks of 1,000; else one to a row.

    Returns rows with `input_ids` (int32), `seq_lengths` (of the pieces) and `labels` (int32) where targets are given.
    """
    if not read.scored:
        pieces = pieces.remove_columns("first")
    if packing:
        from trl import pack_dataset

        return pack_dataset(pieces, read.length, "bfd", {"batch_size": BLOCK})
    return pieces.map(_lengths, batched=True, batch_size=BLOCK)


def _lengths(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
    return {"seq_lengths": [[len(ids)] for ids in batch["input_ids"]]}


def count(documents: int, pieces: Any, rows: Any, read: Reader, split: str) -> dict[str, int]:
    """Rows read, kept and cut of a split, and its tokens, from the cached columns."""
    import pyarrow.compute as pc

    counts = {f"{split}_documents": documents}
    if read.scored:
        counts[f"{split}_documents_without_scored_word"] = documents - len(pieces)
        labels = pc.list_flatten(pieces.data.column("labels"))
        scored = pc.sum(pc.not_equal(labels, UNSCORED)).as_py() or 0
    else:
        whole = pc.sum(pieces.data.column("first")).as_py() or 0
        counts[f"{split}_documents_without_text"] = documents - whole
        counts[f"{split}_windows_of_long_documents"] = len(pieces) - whole
    tokens = pc.sum(pc.list_flatten(rows.data.column("seq_lengths"))).as_py() or 0
    return counts | {
        f"{split}_rows": len(rows),
        f"{split}_tokens": tokens,
        f"{split}_scored_tokens": scored if read.scored else tokens - len(pieces),
    }


@dataclass(frozen=True)
class Collator:
    """Makes a batch of rows.

    Attributes:
        pad: id that fills rows up; never scored, and never seen by what comes before it.
        width: tokens per row; None: as many as the longest row of the batch.

    Returns int64 tensors: `input_ids`, `position_ids`, `shift_labels` (aligned with the logits), each (batch, width),
    `labels`, the same tensor (transformers counts by it and asks for it), and `tokens` (batch,), without padding.
    No attention mask: with one, transformers would not look at the positions, and packed documents would mix.
    """

    pad: int
    width: int | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        width = self.width or max(len(row["input_ids"]) for row in rows)
        ids = np.full((len(rows), width), self.pad, dtype=np.int64)
        labels = np.full((len(rows), width), UNSCORED, dtype=np.int64)
        positions = np.empty((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[number, :size] = row["input_ids"]
            starts = np.concatenate([[0], np.cumsum(row["seq_lengths"])[:-1]]).astype(np.int64)
            if row.get("labels") is not None:
                labels[number, :size] = row["labels"]
            else:
                labels[number, : size - 1] = ids[number, 1:size]
                labels[number, starts[1:] - 1] = UNSCORED
            # The last piece's positions go on through the padding.
            lengths = np.diff([*starts, width])
            positions[number] = np.arange(width) - np.repeat(starts, lengths)
        aligned = torch.from_numpy(labels)
        return {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "labels": aligned,
            "shift_labels": aligned,
            "tokens": torch.tensor([len(row["input_ids"]) for row in rows]),
        }
