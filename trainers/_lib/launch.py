"""Training in this process, or data-parallel in several on this machine, the job described in one JSON file.

Started by `accelerate launch`, so a user's own accelerate config (FSDP, DeepSpeed) applies. `--multi_gpu` also serves
CPU processes, through ACCELERATE_USE_CPU: `accelerate launch --cpu` starts one process only unless MPI is installed.

`python -m hubwright.trainers._lib.launch JOB.json` runs one process of a job; `launch` starts them all.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...hub_sync.context import Input, Report, StepContext
from ...hub_sync.errors import HubwrightError
from ...hub_sync.refs import ArtifactRef
from ...inference import device
from .config import ModelSettings

INTERRUPTED = 130
LAUNCHED = "HUBWRIGHT_LAUNCHED"


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
        launch(fit, config, context, launcher)
        return
    from .loop import settings  # with torch and transformers

    with settings(config):
        (import_named(fit) if isinstance(fit, str) else fit)(config, context)


def import_named(target: str) -> Any:
    """What "module:name" names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def on_cpu(config: ModelSettings) -> bool:
    """Whether the training runs on CPU, by choice or for want of anything else."""
    return device.choose("cpu" if config.use_cpu else config.device) == "cpu"


def on_sigterm(handler: Any) -> Any:
    """Install a SIGTERM handler and return the previous one; outside the main thread there is none."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return None


def command(processes: int, options: Sequence[str], job: Path) -> list[str]:
    """What starts a job: `accelerate launch`, with `options` in the place of plain data parallelism."""
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        *(options or ["--multi_gpu"]), "--num_processes", str(processes), "--num_machines", "1",
        "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", "hubwright.trainers._lib.launch", str(job),
    ]  # fmt: skip


def launch(fit: Callable[..., Any] | str, config: Any, context: StepContext, options: Sequence[str] = ()) -> None:
    """Run a job in `config.num_processes` processes and take over its report.

    Args:
        fit: as of `run`.
        options: of `accelerate launch`, such as `--config_file`; none: plain data parallelism.

    Raises what the job raised (its error is one line in a file), or KeyboardInterrupt where it was stopped.
    """
    context.workdir.mkdir(parents=True, exist_ok=True)
    job = context.workdir / "job.json"
    for old in context.workdir.glob("outcome-*.json"):
        old.unlink()
    job.write_text(json.dumps(describe(fit, config, context)), encoding="utf-8")
    environment = os.environ | {LAUNCHED: "1", "ACCELERATE_MIXED_PRECISION": "no"}
    environment["OMP_NUM_THREADS"] = str(config.threads or 1)
    if on_cpu(config):
        environment["ACCELERATE_USE_CPU"] = "true"
    process = subprocess.Popen(command(config.num_processes, options, job), env=environment)
    previous = on_sigterm(lambda *_: process.send_signal(signal.SIGTERM))
    try:
        process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        if previous is not None:
            on_sigterm(previous)
    outcomes = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(context.workdir.glob("outcome-*.json"))]
    for outcome in outcomes:
        if "error" in outcome:
            kinds = {kind.__name__: kind for kind in HubwrightError.__subclasses__()}
            raise kinds.get(outcome["kind"], HubwrightError)(outcome["error"])
    if process.returncode == 0 and outcomes and "report" in outcomes[0]:
        for field in dataclasses.fields(Report):
            setattr(context.report, field.name, outcomes[0]["report"][field.name])
        return
    if any("interrupted" in outcome for outcome in outcomes) or process.returncode < 0:
        raise KeyboardInterrupt("the training was stopped; run the same command again to continue")
    raise HubwrightError(
        f"step {context.step}: accelerate launch ended with status {process.returncode}; see its output above"
    )


def describe(fit: Callable[..., Any] | str, config: Any, context: StepContext) -> dict[str, Any]:
    """A job as JSON: function, settings, folders and inputs."""
    return {
        "fit": fit if isinstance(fit, str) else f"{fit.__module__}:{fit.__qualname__}",
        "config_class": f"{type(config).__module__}:{type(config).__qualname__}",
        "config": config.model_dump(mode="json"),
        "step": context.step,
        "workdir": str(context.workdir),
        "output": str(context.output),
        "inputs": {role: {"ref": vars(one.ref), "path": str(one.path)} for role, one in context.inputs.items()},
    }


def restore(job: dict[str, Any]) -> tuple[Callable[..., Any], Any, StepContext]:
    """The function, its settings and the context that `describe` described."""
    inputs = {role: Input(ArtifactRef(**one["ref"]), Path(one["path"])) for role, one in job["inputs"].items()}
    context = StepContext(job["step"], Path(job["workdir"]), Path(job["output"]), inputs)
    return import_named(job["fit"]), import_named(job["config_class"])(**job["config"]), context


def main(path: str) -> int:
    """Run one process of a job, which leaves `outcome-RANK.json` in the work folder."""
    fit, config, context = restore(json.loads(Path(path).read_text(encoding="utf-8")))
    outcome: dict[str, Any]
    code = 0
    try:
        run(fit, config, context)
        outcome = {"report": dataclasses.asdict(context.report)}
    except HubwrightError as error:
        outcome, code = {"error": str(error), "kind": type(error).__name__}, error.exit_code
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        outcome, code = {"interrupted": True}, INTERRUPTED
    rank = int(os.environ.get("RANK", "0"))
    (context.workdir / f"outcome-{rank:05d}.json").write_text(json.dumps(outcome), encoding="utf-8")
    return code


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main(sys.argv[1]))
