"""Pairs of an expert's and an agent's action as what a discriminator reads, and which of them it is measured on."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, List, Value
from trl.data_utils import apply_chat_template

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...inference.conversations import RowRejected
from .._lib import rows
from .discriminator import DiscriminatorConfig

COLUMNS = ("traj_id", "i", "cycle", "prompt", "chosen", "rejected", "tie")
EXPERT, AGENT = 1, 0
Part = tuple[Dataset, str, np.ndarray, int]
"""Pairs, the column of the tokens, numbers of the rows, and their label."""


class PairReader(rows.Reader):
    """Reads pairs with what tells them apart."""

    def read(self, row: Mapping[str, Any], *args: Any) -> dict[str, Any]:
        for name in COLUMNS:
            if row[name] is None:
                raise RowRejected(f"null in place of {name}")
        columns = super().read(row, *args)
        for name in self.form.responses:
            if isinstance(columns[name], str):
                raise RowRejected("text in place of turns")
            if len(columns[name]) != 1:
                raise RowRejected(f"the {name} is not one turn")
        return columns | {name: row[name] for name in ("traj_id", "i", "cycle", "tie")}


class Pairs(rows.Encoder):
    """Tokens of a state with each action, as GRPOTrainer gives them to a reward model, and what tells rows apart."""

    names = ("rows", "ties", "rows_longer_than_max_length", "rows_used")

    def __init__(self, reader: rows.Reader) -> None:
        super().__init__(reader)
        self.config = cast(DiscriminatorConfig, reader.config)
        self.key = self.config.max_length, self.config.seed
        self.features = dict.fromkeys(("chosen_ids", "rejected_ids"), List(Value("int32")))
        self.features["marks"] = List(Value("int64"))  # hash of the trajectory, hash of the row, whether it is a tie

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums, most, reader = account["sums"], account["most"], self.reader
        texts = [
            apply_chat_template({"messages": columns["prompt"] + columns[name]}, reader.tokenizer, columns["tools"])
            for name in reader.form.responses
        ]
        pair = [reader.tokenizer(text=one["text"], add_special_tokens=False)["input_ids"] for one in texts]
        length, tie = max(map(len, pair)), bool(columns["tie"])
        fits = length <= self.config.max_length
        sums.update({"rows": 1, "ties": tie, "rows_longer_than_max_length": not fits, "rows_used": fits})
        if not fits:
            return None
        most["id"], most["length"] = max(most.get("id", -1), *map(max, pair)), max(most.get("length", 0), length)
        row = (self.config.seed, *(columns[name] for name in ("cycle", "traj_id", "i")), texts[1]["text"])
        return dict(zip(self.features, (*pair, [_hash(columns["traj_id"]), _hash(*row), int(tie)]), strict=True))

    def check(self, sums: Mapping[str, int], split: str) -> None:
        total, full = sums.get("rows", 0), sums.get("rows_longer_than_max_length", 0)
        if full > self.config.max_cut_share * total or full == total:
            raise UsageError(
                f"{full} of {total} rows of the {split} split are longer than max_length {self.config.max_length}: "
                "raise max_length or max_cut_share"
            )
        if total == sums.get("ties"):
            raise DataError(
                f"the agent takes the expert's action in all {total} rows of the {split} split: nothing tells them "
                "apart; end the cycles here, or sample more actions per state"
            )


def _hash(*key: Any) -> int:
    """63 bits that are the same everywhere."""
    text = repr(key).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


class Samples(torch.utils.data.Dataset[dict[str, Any]]):
    """(state, action) with its label, from columns of pairs.

    Args:
        parts: one after another.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(numbers) for _, _, numbers, _ in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: int) -> dict[str, Any]:
        part = int(np.searchsorted(self._ends, place, side="right"))
        pairs, column, numbers, label = self._parts[part]
        row = pairs[int(numbers[place - self._ends[part]])]
        return {"input_ids": row[column], "label": label, "tie": row["marks"][2]}


@dataclasses.dataclass(frozen=True)
class Collator:
    """Makes a batch: `input_ids` and `attention_mask`, int64 (batch, length), padded on the right with `pad`, and
    `labels`, float32 (batch, 2): 1 for the expert, and 1 for a tie."""

    pad: int

    def __call__(self, batch: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        ids = [torch.tensor(row["input_ids"]) for row in batch]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.pad)
        lengths = torch.tensor([len(one) for one in ids])
        return {
            "input_ids": padded,
            "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long(),
            "labels": torch.tensor([[row["label"], row["tie"]] for row in batch], dtype=torch.float32),
        }


def samples_of(
    config: DiscriminatorConfig, context: StepContext, splits: Mapping[str, Dataset], replays: Sequence[Dataset]
) -> tuple[Samples, Samples | None]:
    """What is trained on and what is held out, counted in the report.

    Args:
        splits: pairs by `train` and perhaps `eval`, as `Pairs` encodes them.
        replays: pairs of earlier cycles.

    Raises UsageError if no trajectory is left to train on, or none is held out.
    """
    pairs, share = splits["train"], config.eval_share
    marks = _marks(pairs)
    held = _held_out(marks, share)
    if share and (held.all() or not held.any()):
        raise UsageError(
            f"eval_share: {share} holds out {'all' if held.all() else 'none'} of {len(np.unique(marks[:, 0]))} "
            "trajectories: set another, or 0"
        )
    kept = np.flatnonzero(~held)
    parts = _both(pairs, kept)
    # Of the replayed rows those with the lowest hashes, except the trajectories that are held out.
    rest = [(n, _marks(part)) for n, part in enumerate(replays)]
    usable = [(n, np.flatnonzero(~_held_out(one, share)), one) for n, one in rest]
    hashes = np.concatenate([one[numbers, 1] for _, numbers, one in usable]) if usable else np.empty(0, dtype=np.int64)
    most = min(len(hashes), math.floor(len(kept) * config.replay_share / (1 - config.replay_share)))
    chosen = np.zeros(len(hashes), dtype=bool)
    chosen[np.argsort(hashes, kind="stable")[:most]] = True
    start = 0
    for n, numbers, _ in usable:
        parts.append((replays[n], "rejected_ids", numbers[chosen[start : start + len(numbers)]], AGENT))
        start += len(numbers)
    if held.any():
        measured, numbers = pairs, np.flatnonzero(held)
    else:
        measured = splits.get("eval")
        numbers = np.arange(0 if measured is None else len(measured))
    context.report.counts |= {
        "train_expert_actions": len(kept), "train_agent_actions": len(kept) + most,
        "train_agent_actions_replayed": most, "eval_pairs": len(numbers),
        "eval_pairs_tied": 0 if measured is None else int(_marks(measured)[numbers, 2].sum()),
    }  # fmt: skip
    return Samples(parts), None if measured is None else Samples(_both(measured, numbers))


def _both(pairs: Dataset, numbers: np.ndarray) -> list[Part]:
    return [(pairs, "chosen_ids", numbers, EXPERT), (pairs, "rejected_ids", numbers, AGENT)]


def _marks(pairs: Dataset) -> np.ndarray:
    """Hash of the trajectory, hash of the row, and 1 for a tie: int64 (rows, 3)."""
    column = pairs.select_columns("marks").with_format("arrow")[:].column("marks")
    return np.asarray(pc.list_flatten(column)).reshape(-1, 3)


def _held_out(marks: np.ndarray, share: float) -> np.ndarray:
    """Whether each row's trajectory is held out, bool (rows,)."""
    return marks[:, 0] < share * 2.0**63
