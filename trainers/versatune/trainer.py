"""One continuous training on domains: rows drawn by the schedule's weights, which held-out losses move."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from accelerate.utils import broadcast_object_list

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from .._lib import loop, measure, stream
from ..pretrain import trainer as pretrain
from ..sft import trainer as sft
from . import domains, publish, references
from .config import DomainSettings, VersatunePretrainConfig, VersatuneSFTConfig
from .sampler import DomainSampler
from .schedule import Schedule, lag, switch
from .updates import (
    ALARM,
    Array,
    bounded,
    check_losses,
    excess,
    expansion,
    exploration,
    exponentiated,
    forgetting,
    multiplicative,
    odm,
    potential,
)  # fmt: skip

STATE = "domains.json"


def decide(
    config: DomainSettings, names: Sequence[str], weights: Array, losses: Array, before: Array, reference: Array,
    tokens: Array, estimates: Array, turn: int,
) -> tuple[Array, Array]:  # fmt: skip
    """The weights after an update by the step's strategy, and the moving averages of its rewards (odm).

    Args:
        weights, losses, before, reference, tokens, estimates: (k,); before: losses at the update before; reference:
            NaN where there is none; tokens: scored tokens of the held-out rows.
        turn: number of the update, from 1.
    """
    bounds = {name: config.option(name) for name in ("floor", "smoothing")}
    if config.strategy == "odm":
        return odm(weights, losses, estimates, turn, config.option("decay"))
    if config.strategy == "versatune":
        gamma, sigma = np.nan_to_num(potential(losses, reference)), config.option("sigma")
        if config.target is not None:
            grows = {"delta": config.option("delta"), "epsilon": config.epsilon}
            phi = forgetting(losses, before)
            chosen = expansion(weights, names.index(config.target), gamma, phi, sigma=sigma, **grows, **bounds)
            return chosen, estimates
        return bounded(multiplicative(weights, gamma, sigma), **bounds, alive=weights > 0), estimates
    if config.strategy == "static":
        return weights, estimates
    scores = losses
    if config.strategy == "doremi":
        scores = excess(losses, reference, tokens, config.option("normaliser"))
    return bounded(exponentiated(weights, scores, config.option("eta")), **bounds, alive=weights > 0), estimates


class DomainMixin:
    """Mixed into a trainer of `CheckpointMixin` that has `config` and `context`.

    Attributes:
        domains: names in alphabetical order, which is the order of every array here.
        history: one record per update: `update`, `from_draw`, `from_step`, and lists by domain `weights`, `losses`,
            `potential`, `forgetting`, `estimates`. The first is the start, before any step.
        reference: reference losses, (k,), NaN where there is none.
        weigh_by: what the weights are shares of, "samples" or "tokens".
    """

    config: Any
    context: StepContext
    domains: list[str]
    sampler: DomainSampler
    reference: Array
    weigh_by: str
    _measured: tuple[int, dict[str, float]] = (-1, {})

    @classmethod
    def load_splits(cls, config: Any, context: StepContext) -> dict[str, Any]:
        return domains.load_splits(config, context)

    @classmethod
    def join(cls, rows: dict[str, Any]) -> dict[str, Any]:
        return domains.join(rows)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        me: Any = self
        self.domains, self._start = domains.choose(self.config, self.context)
        self.history: list[dict[str, Any]] = []
        self.reference = np.full(len(self.domains), np.nan)
        self.row_sizes = domains.row_sizes(me.train_dataset)
        sizes = domains.sizes(me.train_dataset, self.domains)
        self.weigh_by = domains.unit(self.config, self.context)
        numbers = me.train_dataset.data.column("domain").to_numpy()
        row_size = np.bincount(numbers, self.row_sizes[self.weigh_by]) / np.bincount(numbers)
        per_epoch = math.ceil(len(numbers) / me.rows_per_step)
        length = per_epoch * me.rows_per_step  # whole steps, so that no loader repeats rows to fill one
        self.sampler = DomainSampler(
            sizes, Schedule(self.domains), stream.seed_of(self.config), length,
            lambda: me.state.global_step // per_epoch * length, row_size,
        )  # fmt: skip
        publish.name_curves(me)
        if resume_from_checkpoint:
            self._restore(Path(resume_from_checkpoint))
        me.add_callback(_Updates(self))
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def _get_train_sampler(self, train_dataset: Any = None) -> DomainSampler:
        return self.sampler

    def save_beside(self, folder: Path) -> None:
        super().save_beside(folder)  # type: ignore[misc]
        reference = [None if math.isnan(loss) else loss for loss in self.reference.tolist()]
        state = {"sizes": self.sampler.sizes, "reference": reference, "history": self.history}
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        assert state["sizes"] == self.sampler.sizes  # the step's fingerprint covers data and settings
        self.reference = np.array(state["reference"], dtype=np.float64)
        for record in state["history"]:
            self._append(record)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Held-out loss of every domain in nats per scored token, and their mean over domains. Measured once after a
        step. Raises UsageError for a loss that is not a number."""
        me: Any = self
        step = me.state.global_step
        if self._measured[0] != step:
            start = time.perf_counter()
            sums = {name: measure.token_sums(me, me.eval_dataset[name]) for name in self.domains}
            self.tokens = np.array([scored for _, _, scored in sums.values()], dtype=np.float64)
            losses = check_losses(
                [loss / scored for loss, _, scored in sums.values()], self.domains,
                f"at step {step}: lower learning_rate, or raise warmup_steps",
            )  # fmt: skip
            metrics = {"eval_loss": float(losses.mean()), "held_out_loss": float(losses.mean())}
            metrics |= {
                f"held_out_loss_{name}": loss for name, loss in zip(self.domains, losses.tolist(), strict=True)
            }
            self._measured = step, metrics
            self._log(metrics)
            me.control = me.callback_handler.on_evaluate(me.args, me.state, me.control, metrics)
            me._spent += time.perf_counter() - start
        return self._measured[1]

    @property
    def _ahead(self) -> int:
        args = cast(Any, self).args
        return lag(args.gradient_accumulation_steps, args.dataloader_num_workers, args.dataloader_prefetch_factor or 2)

    def losses(self) -> Array:
        """Held-out losses after the last step, (k,)."""
        metrics = self.evaluate()
        return np.array([metrics[f"held_out_loss_{name}"] for name in self.domains])

    def begin(self) -> None:
        """Measure references and the model at the start, and begin the schedule. Raises UsageError if no update would
        come before the end."""
        every, steps = self.config.update_every, cast(Any, self).state.max_steps
        if self.config.strategy != "static" and every + self._ahead >= steps:
            raise UsageError(
                f"update_every {every}: the training has {steps} steps, so no update would act: lower it to "
                f"{max(1, steps // 4)}, or take strategy static"
            )
        updates, count = (steps - self._ahead - 1) // every, int((self._start > 0).sum())
        if self.config.strategy == "odm" and exploration(count, updates) >= 1 / count:
            first = int(count * np.log(count)) + 1
            raise UsageError(
                f"update_every {every}: odm leaves the weights of {count} domains uniform until its update {first}, "
                f"and this training has {updates}: lower it to {max(1, steps // (4 * first))}, or train longer"
            )
        start = time.perf_counter()
        self.reference = references.measure_all(self, self.config, self.context, self.domains)
        cast(Any, self)._spent += time.perf_counter() - start
        losses = self.losses()
        nothing = np.zeros(len(self.domains))
        self._share(self._record(0, (0, 0), self._start, losses, losses, nothing))

    def update(self) -> None:
        """Move the weights by the losses after this step. The first process decides, for all."""
        me: Any = self
        from_draw, from_step = switch(me.state.global_step, self._ahead, me.rows_per_step)
        if from_step >= me.state.max_steps:
            return  # nothing would be drawn by it
        losses, last = self.losses(), self.history[-1]
        weights, before, estimates = (np.array(last[key]) for key in ("weights", "losses", "estimates"))
        turn = last["update"] + 1
        weights, estimates = decide(
            self.config, self.domains, weights, losses, before, self.reference, self.tokens, estimates, turn
        )
        self._share(self._record(turn, (from_draw, from_step), weights, losses, before, estimates))

    def _record(
        self, turn: int, start: tuple[int, int], weights: Array, losses: Array, before: Array, estimates: Array
    ) -> dict[str, Any]:
        gamma = potential(losses, self.reference).tolist()
        return {
            "update": turn, "from_draw": start[0], "from_step": start[1], "weights": weights.tolist(),
            "losses": losses.tolist(), "potential": [None if math.isnan(g) else g for g in gamma],
            "forgetting": forgetting(losses, before).tolist(), "estimates": estimates.tolist(),
        }  # fmt: skip

    def _share(self, record: dict[str, Any]) -> None:
        """Take over the first process's record, and compare the schedules of all."""
        me: Any = self
        records = [record]
        broadcast_object_list(records, from_process=0)
        self._append(records[0])
        digest = torch.tensor([self.sampler.schedule.digest()], device=me.args.device)
        if (me.accelerator.gather(digest) != digest).any():
            raise RuntimeError(f"the processes' schedules differ after update {record['update']}: this is a defect")
        weights = dict(zip(self.domains, records[0]["weights"], strict=True))
        logs = {f"weight_{name}": weight for name, weight in weights.items()}
        logs |= {f"forgetting_{name}": phi for name, phi in zip(self.domains, records[0]["forgetting"], strict=True)}
        self._log(logs)
        name, most = max(weights.items(), key=lambda item: item[1])
        told = len(self.history) > 1 and max(self.history[-2]["weights"]) > ALARM
        if most > ALARM and not told and len(weights) > 1 and me.accelerator.is_main_process:
            loop.logger.warning(
                "domain %s has weight %.3f from step %d on, more than %s: the run is close to training on it alone",
                name, most, records[0]["from_step"], ALARM,
            )  # fmt: skip

    def _append(self, record: dict[str, Any]) -> None:
        assert record["from_draw"] >= self.sampler.drawn, "rows were drawn before their weights were decided"
        self.sampler.schedule.add(record["from_draw"], np.array(record["weights"]))
        self.history.append(record)

    def _log(self, logs: dict[str, float]) -> None:
        """Into the history without what a trainer of TRL's would add to the line and forget."""
        transformers.Trainer.log(cast(Any, self), dict(logs))


class _Updates(transformers.TrainerCallback):
    """Calls `begin` before the first step and `update` after every `update_every` steps, before the checkpoint."""

    def __init__(self, trainer: DomainMixin) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._trainer.history:
            self._trainer.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self._trainer.config.update_every == 0:
            self._trainer.update()


class DomainPretrainTrainer(DomainMixin, pretrain.PretrainTrainer):
    """Pre-training on domains. Packed rows are of one domain each."""

    def prepare(self, config: Any, context: StepContext) -> None:
        self.config, self.context = config, context


class DomainSFTTrainer(DomainMixin, sft.SFTTrainer):
    """Fine-tuning on domains. Packed rows are of one domain each."""


def fit_pretrain(config: VersatunePretrainConfig, context: StepContext) -> DomainPretrainTrainer:
    """One process's training; returns its trainer."""
    trainer = cast(DomainPretrainTrainer, pretrain.fit(config, context, DomainPretrainTrainer))
    publish.publish(trainer)
    return trainer


def fit_sft(config: VersatuneSFTConfig, context: StepContext) -> DomainSFTTrainer:
    """One process's training; returns its trainer."""
    trainer = cast(DomainSFTTrainer, sft.fit(config, context, DomainSFTTrainer))
    publish.publish(trainer)
    return trainer
