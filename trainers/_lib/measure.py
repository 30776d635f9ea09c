"""Loss of a split as sums over its scored tokens: means of batches of unequal length would weigh tokens unequally."""

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad

UNSCORED = -100


@torch.no_grad()
def token_sums(trainer: Any, rows: Any, model: Any = None) -> tuple[float, int, int]:
    """Summed cross-entropy in nats, tokens predicted first, and scored tokens of a split, over all processes.

    Every row counts once, whatever the number of processes; all of them run equally many batches, as sharded models
    need.

    Args:
        trainer: its `data_collator` makes batches with `labels`, or `shift_labels` that are aligned with the logits.
        rows: as the collator takes them, by number.
        model: on the trainer's device; None: the trainer's own.
    """
    model, size = trainer.model if model is None else model, trainer.args.eval_batch_size
    world, rank = trainer.args.world_size, trainer.args.process_index
    model.eval()
    loss, hits, scored = 0.0, 0, 0
    for turn in range(math.ceil(len(rows) / (size * world))):
        start = (turn * world + rank) * size
        mine = range(start, min(start + size, len(rows)))
        batch = trainer._prepare_inputs(trainer.data_collator([rows[i] for i in mine or [0]]))
        batch.pop("tokens", None)  # a count for the trainer
        labels, aligned = batch.pop("labels"), batch.pop("shift_labels", None)
        if aligned is None:
            aligned = pad(labels[:, 1:], (0, 1), value=UNSCORED)
        scores = aligned != UNSCORED
        if not mine:
            scores = torch.zeros_like(scores)
        logits = model(**batch, use_cache=False).logits[scores]
        targets = aligned[scores]
        loss += cross_entropy(logits.float(), targets, reduction="sum").item()
        hits += int((logits.argmax(-1) == targets).sum().item())
        scored += len(targets)
    if world > 1:
        totals = torch.tensor([loss, hits, scored], dtype=torch.float64, device=trainer.args.device)
        loss, hits, scored = trainer.accelerator.reduce(totals, "sum").tolist()
    return loss, int(hits), int(scored)
