"""Training in this process, or data-parallel in several on this machine."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...inference import device
from ...inference.launch import LAUNCHED, import_named, launch
from .config import ModelSettings

logger = logging.getLogger("hubwright.trainers")

VARIABLE = "TENSORBOARD_LOGGING_DIR"


def run(fit: Callable[..., Any] | str, config: Any, context: StepContext, launcher: Sequence[str] = ()) -> None:
    """Train in this process, or in several.

    Args:
        fit: one process's training, called with (config, context): a module's function, which every process imports;
            as "module:function" it is imported where it runs alone, with torch and all that it needs.
        launcher: options of accelerate launch, which starts the processes.
    """
    # Nothing is reported to anyone but the trackers of `report_to`: neither TRL's nor the Hub's telemetry.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if absent := config.lacks():
        raise UsageError(f"step {context.step}: {absent}")
    several = config.num_processes > 1 or launcher or config.accelerate_config is not None
    if several and LAUNCHED not in os.environ:
        launch(fit, config, context, cpu=on_cpu(config), options=launcher, within=f"{__name__}:run")
        return
    from .loop import settings  # with torch and transformers

    with settings(config), tensorboard(config, context):
        (import_named(fit) if isinstance(fit, str) else fit)(config, context)


@contextmanager
def tensorboard(config: Any, context: StepContext) -> Iterator[None]:
    """Let TensorBoard's files outlive the step's work: they go to `runs/NAME/tensorboard/STEP`, unless the environment
    variable of transformers names another folder."""
    if "tensorboard" not in config.report_to or VARIABLE in os.environ:
        yield
        return
    os.environ[VARIABLE] = str(context.workdir.parents[1] / "tensorboard" / context.step)
    logger.info("tensorboard --logdir %s", os.environ[VARIABLE])
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def on_cpu(config: ModelSettings) -> bool:
    """Whether the training runs on CPU, by choice or for want of anything else."""
    return device.choose("cpu" if config.use_cpu else config.device) == "cpu"
