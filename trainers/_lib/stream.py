"""Training on a stream: rows without end, pass after pass, and their place in every checkpoint."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from ...hub_sync.errors import DataError

STREAM = "stream.json"
SHUFFLE_BLOCK = 1000


def block_of(config: Any) -> int:
    """Rows that are shuffled together."""
    return SHUFFLE_BLOCK if config.shuffle_block is None else int(config.shuffle_block)


def seed_of(config: Any) -> int:
    """The seed of the order of the rows."""
    return int(config.seed if config.data_seed is None else config.data_seed)


def shuffled(rows: Any, seed: int, epoch: int, block: int) -> Any:
    """The rows of a stream, shuffled within blocks of `block`. Which way follows from seed, epoch and block alone.
    datasets' own shuffle of a stream keeps its buffer to itself, so what was in it would be lost on a resume."""
    if block == 1:
        return rows

    def permute(table: Any, numbers: list[int]) -> Any:
        return table.take(np.random.default_rng([seed, epoch, numbers[0]]).permutation(len(table)))

    return rows.with_format("arrow").map(permute, with_indices=True, batched=True, batch_size=block).with_format(None)


class PackedStream(IterableDataset):
    """Rows without end: pass after pass over the files, in an order that follows from seed and pass.

    datasets says where it stands in a chain of files, batches and packed rows, and resumes from there; here that is
    noted with every row handed out, because the loader asks for rows before they are trained on.

    Args:
        rows_of: number of a pass -> `datasets.IterableDataset` of its rows. A row may have `account`, JSON that is
            counted, and `usable`: a row that is not is left out.
        ahead: how many rows may have been handed out that are not trained on yet.
        count: (what was counted before, None at first; an account) -> what is counted with it.
    """

    def __init__(
        self, rows_of: Callable[[int], Any], ahead: int, count: Callable[[Any, Any], Any] | None = None
    ) -> None:
        self._rows_of, self._count = rows_of, count
        self._from: dict[str, Any] = {"row": 0, "pass": 0, "state": None, "account": None}
        self._places: deque[dict[str, Any]] = deque(maxlen=ahead + 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number, turn, state, account = (self._from[key] for key in ("row", "pass", "state", "account"))
        self._places.clear()
        while True:
            rows = self._rows_of(turn)
            if state is not None:
                rows.load_state_dict(state)
            handed_out = 0
            for row in rows:
                if (text := row.pop("account", "")) and self._count is not None:
                    account = self._count(account, json.loads(text))
                if not row.pop("usable", True):
                    continue
                handed_out += 1
                number += 1
                self._places.append({"row": number, "pass": turn, "state": rows.state_dict(), "account": account})
                yield row
            if not handed_out and state is None:
                raise DataError("the train split has no row that could be trained on")
            turn, state = turn + 1, None

    def place(self, row: int) -> dict[str, Any]:
        """Where the stream stood when `row` rows had been handed out since the very beginning."""
        return next(place for place in (self._from, *self._places) if place["row"] == row)

    def save(self, folder: Path, row: int) -> None:
        """Write the place after `row` rows into a checkpoint."""
        (folder / STREAM).write_text(json.dumps(self.place(row)), encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Go on where the checkpoint's training stood."""
        self._from |= json.loads((folder / STREAM).read_text(encoding="utf-8"))


class StreamMixin:
    """Mixed into a trainer, which may then train on a stream."""

    stream: PackedStream | None = None
    _random_state_of: str | None = None

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step, over all processes."""
        return int(self._train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps)  # type: ignore[attr-defined]

    def place(self) -> dict[str, Any]:
        """The stream's place after the last step."""
        assert self.stream is not None
        return self.stream.place(self.state.global_step * self.rows_per_step)  # type: ignore[attr-defined]

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches = super().get_batch_samples(*args, **kwargs)  # type: ignore[misc]
        if self._random_state_of is not None:
            # The loader draws a number when it begins, which an uninterrupted training did long before this step.
            self._load_rng_state(self._random_state_of)  # type: ignore[attr-defined]
            self._random_state_of = None
        return batches

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        if self.stream is not None and resume_from_checkpoint:
            self.stream.restore(Path(resume_from_checkpoint))
            self._random_state_of = str(resume_from_checkpoint)
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        if self.stream is not None and self.args.should_save:  # type: ignore[attr-defined]
            step = self.state.global_step  # type: ignore[attr-defined]
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{step}"  # type: ignore[attr-defined]
            self.stream.save(folder, step * self.rows_per_step)


def follow(trainer: Any, make: Callable[[int], PackedStream]) -> None:
    """Let a trainer train on the stream that `make` returns, given how many rows the loader may be ahead: at most one
    turn of all processes beyond the step that is trained."""
    ahead = trainer.rows_per_step + 2 * trainer._train_batch_size * trainer.args.world_size
    trainer.stream = trainer.train_dataset = make(ahead)
