"""Callbacks of every training: what it prints, how it stops when asked, and where it must not go on."""

from __future__ import annotations

import logging
import signal
from typing import Any

logger = logging.getLogger("hubwright.trainers")


def on_sigterm(handler: Any) -> Any:
    """Install a SIGTERM handler and return the previous one; outside the main thread there is none."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return None


class AllStepsDone(Exception):
    """The checkpoint that was loaded is that of the last step."""


def last_step() -> Any:
    """A callback for the last step: it is logged, so that times and tokens hold all steps, and none comes after it.

    A run that was killed after its last step, while it published, would train one more: transformers looks whether all
    steps are done after a step only.
    """
    from transformers import TrainerCallback

    class LastStep(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step >= state.max_steps:
                raise AllStepsDone

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step >= state.max_steps:
                control.should_log = True

    return LastStep()


def stopper(trainer: Any) -> Any:
    """A callback that checkpoints and stops after the step in which SIGTERM came, on all processes alike."""
    import torch
    from transformers import TrainerCallback

    class StopOnRequest(TrainerCallback):
        requested = stopped = False

        def request(self, *_: Any) -> None:
            self.requested = True

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            asked = self.requested
            if trainer.accelerator.num_processes > 1:
                # The signal reaches the processes at different steps; all must stop at the same one.
                flag = torch.tensor(int(asked), device=trainer.accelerator.device)
                asked = bool(trainer.accelerator.reduce(flag, "sum").item())
            if asked and state.global_step < state.max_steps:
                control.should_save = control.should_training_stop = self.stopped = True

    return StopOnRequest()


def plain_lines() -> Any:
    from transformers import TrainerCallback

    class PlainLines(TrainerCallback):
        """One log line per logging step, for files and CI where no bar is drawn."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if state.is_world_process_zero and logs and ("loss" in logs or "eval_loss" in logs):
                shown = [
                    f"{key} {logs[key]:.4g}"
                    for key in ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second")
                    if key in logs
                ]
                logger.info("step %d/%d  %s", state.global_step, state.max_steps, "  ".join(shown))

    return PlainLines()
