"""Work of a step in several processes on this machine, the job described in one JSON file.

Started by `accelerate launch`, so a user's own accelerate config (FSDP, DeepSpeed) applies. `--multi_gpu` also serves
CPU processes, through ACCELERATE_USE_CPU: `accelerate launch --cpu` starts one process only unless MPI is installed.

`python -m hubwright.inference.launch JOB.json` runs one process of a job; `launch` starts them all.
"""

import dataclasses
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ..hub_sync.context import Input, Report, StepContext
from ..hub_sync.errors import HubwrightError, UsageError
from ..hub_sync.pace import plain_bars
from ..hub_sync.refs import ArtifactRef

logger = logging.getLogger("hubwright")

INTERRUPTED = 130
LAUNCHED = "HUBWRIGHT_LAUNCHED"


def import_named(target: str) -> Any:
    """What "module:name" names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def on_sigterm(handler: Any) -> Any:
    """Install a SIGTERM handler and return the previous one; outside the main thread there is none."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return None


def command(processes: int, options: Sequence[str], job: Path, machines: int = 1) -> list[str]:
    """What starts a job: `accelerate launch`, with `options` in the place of plain data parallelism.

    Args:
        processes: on all machines together.
        machines: 1: this one, at a free port; more: the options say where the first one is.
    """
    here = ["--num_machines", "1", "--main_process_port", "0"] if machines == 1 else []
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        *(options or ["--multi_gpu"]), "--num_processes", str(processes), *here,
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "hubwright.inference.launch", str(job),
    ]  # fmt: skip


def launch(
    work: Callable[..., Any] | str, config: Any, context: StepContext, *, cpu: bool, options: Sequence[str] = (),
    within: str = "",
) -> None:  # fmt: skip
    """Run a job in `config.num_processes` processes and take over its report.

    Args:
        work: what every process calls with (config, context): a module's function, or "module:function".
        cpu: no process uses an accelerator.
        options: of `accelerate launch`, such as `--config_file`; none: plain data parallelism.
        within: "module:function" that every process calls with (work, config, context) instead.

    Raises UsageError for more processes than GPUs, what the job raised (its error is one line in a file), or
    KeyboardInterrupt where it was stopped.
    """
    context.workdir.mkdir(parents=True, exist_ok=True)
    job = context.workdir / "job.json"
    for old in context.workdir.glob("outcome-*.json"):
        old.unlink()
    job.write_text(json.dumps(describe(work, config, context) | {"within": within}), encoding="utf-8")
    environment = os.environ | {LAUNCHED: "1", "ACCELERATE_MIXED_PRECISION": "no"}
    environment["OMP_NUM_THREADS"] = str(config.threads or 1)
    if cpu:
        environment["ACCELERATE_USE_CPU"] = "true"
    machines = 1
    if config.accelerate_config is not None:
        machines = config.accelerate_config.get("num_machines", 1)
        file = context.workdir / "accelerate.yaml"
        file.write_text(yaml.safe_dump(config.accelerate_config), encoding="utf-8")
        options = ["--config_file", str(file)]
    _check_devices(config.num_processes, machines, cpu)
    line = command(config.num_processes, options, job, machines)
    if machines > 1:
        begin = "ACCELERATE_USE_CPU=true " if cpu else ""
        logger.info(
            "on machine K of the other %d, with this folder shared: %s%s",
            machines - 1, begin, shlex.join(["python", *line[1:3], "--machine_rank", "K", *line[3:]]),
        )  # fmt: skip
    process = subprocess.Popen(line, env=environment)
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


def _check_devices(processes: int, machines: int, cpu: bool) -> None:
    import torch

    if cpu or not torch.cuda.is_available():
        return
    here, there = -(-processes // machines), torch.cuda.device_count()
    if here > there:
        raise UsageError(f"num_processes: {here} on this machine, which has {there} GPUs: lower it, or use_cpu: true")


def describe(work: Callable[..., Any] | str, config: Any, context: StepContext) -> dict[str, Any]:
    """A job as JSON: function, settings, folders and inputs."""
    return {
        "work": work if isinstance(work, str) else f"{work.__module__}:{work.__qualname__}",
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
    return import_named(job["work"]), import_named(job["config_class"])(**job["config"]), context


def main(path: str) -> int:
    """Run one process of a job, which leaves `outcome-RANK.json` in the work folder."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    work, config, context = restore(job)
    os.environ[LAUNCHED] = "1"
    outcome: dict[str, Any]
    code = 0
    try:
        if job["within"]:
            import_named(job["within"])(work, config, context)
        else:
            work(config, context)
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
    if not sys.stderr.isatty():
        plain_bars()
    sys.exit(main(sys.argv[1]))
