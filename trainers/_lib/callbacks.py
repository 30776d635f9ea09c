"""Callbacks of every training: what it shows, how it stops on request, and after which step it ends."""

import logging
from typing import Any

import torch
from rich.console import Console
from rich.live import Live
from rich.text import Text
from transformers import TrainerCallback

from ...hub_sync.pace import Pace
from .live import FIGURES, plot

logger = logging.getLogger("hubwright.trainers")


class AllStepsDone(Exception):
    """The checkpoint that was loaded is that of the last step."""


class LastStep(TrainerCallback):
    """The last step is logged, so that times and tokens hold all steps, and none comes after it.

    A run that was killed after its last step, while it published, would train one more: transformers looks whether all
    steps are done after a step only.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            raise AllStepsDone

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True


class StopOnRequest(TrainerCallback):
    """Checkpoints and stops after the step in which SIGTERM came, or the next that can be resumed from, on all
    processes alike."""

    requested = stopped = False

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._accelerator = trainer, trainer.accelerator

    def request(self, *_: Any) -> None:
        self.requested = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        stops = self.requested
        if self._accelerator.num_processes > 1:
            # The signal reaches the processes at different steps; all must stop at the same one.
            flag = torch.tensor(int(stops), device=self._accelerator.device)
            stops = bool(self._accelerator.reduce(flag, "sum").item())
        if stops and state.global_step < state.max_steps and self._trainer.can_resume():
            control.should_save = control.should_training_stop = self.stopped = True


class PlainLines(TrainerCallback):
    """Lines for files and CI, where no bar is drawn: one per logging step, and at least one every ten seconds."""

    def __init__(self) -> None:
        self._evaluation: Pace | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._steps = Pace("training", "steps", total=state.max_steps - state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._steps.add()

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and hasattr(eval_dataloader, "__len__"):
            self._evaluation = self._evaluation or Pace("evaluation", "batches", total=len(eval_dataloader))
            self._evaluation.add()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._evaluation = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs and ("loss" in logs or "eval_loss" in logs):
            keys = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second")
            shown = "  ".join(f"{key} {logs[key]:.4g}" for key in keys if key in logs)
            logger.info("step %d/%d  %s", state.global_step, state.max_steps, shown)


class Curve(TrainerCallback):
    """Draws the loss on stderr, in the first process only; `close()` ends the drawing."""

    def __init__(self) -> None:
        self._live: Any = None
        self._figures: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self._live is None:
            return
        self._figures |= {key: logs[key] for key in FIGURES if key in (logs or {})}
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        named = {
            name: form.format(self._figures[key]) for key, (name, form) in FIGURES.items() if key in self._figures
        }
        figures = "   ".join(f"{name} {figure}" for name, figure in named.items())
        text = "\n".join([*plot(losses), f"step {state.global_step:,}/{state.max_steps:,}   {figures}"])
        self._live.update(Text(text), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
