"""Training in this process, or data-parallel in several on this machine."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from ...hub_sync.context import StepContext
from ...inference import device
from ...inference.launch import LAUNCHED, import_named, launch
from .config import ModelSettings


def run(fit: Callable[..., Any] | str, config: Any, context: StepContext, launcher: Sequence[str] = ()) -> None:
    """Train in this process, or in several.

    Args:
        fit: one process's training, called with (config, context): a module's function, which every process imports;
            as "module:function" it is imported where it runs alone, with torch and all that it needs.
        launcher: options of accelerate launch, which starts the processes.
    """
    # Nothing is reported to anyone: neither TRL's and the Hub's telemetry, nor trackers that happen to be installed.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if (config.num_processes > 1 or launcher) and LAUNCHED not in os.environ:
        launch(fit, config, context, cpu=on_cpu(config), options=launcher, within=f"{__name__}:run")
        return
    from .loop import settings  # with torch and transformers

    with settings(config):
        (import_named(fit) if isinstance(fit, str) else fit)(config, context)


def on_cpu(config: ModelSettings) -> bool:
    """Whether the training runs on CPU, by choice or for want of anything else."""
    return device.choose("cpu" if config.use_cpu else config.device) == "cpu"
