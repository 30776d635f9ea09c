"""Data-parallel training: `accelerate launch` on this machine, the job described in one JSON file.

`python -m hubwright.trainers.launch JOB.json` runs one process of a job; `launch` starts them all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..hub_sync.context import Input, Report, StepContext
from ..hub_sync.errors import HubwrightError, UsageError
from ..hub_sync.refs import ArtifactRef
from ._loop import LAUNCHED

METHODS = {"sft": "SFTConfig", "dpo": "DPOConfig"}
INTERRUPTED = 130


def launch(method: str, config: Any, context: StepContext) -> None:
    """Run a job in `config.num_processes` processes and take over its report.

    Raises what the job raised (its error is one line in a file), or KeyboardInterrupt where it was stopped.
    """
    context.workdir.mkdir(parents=True, exist_ok=True)
    job, outcome = context.workdir / "job.json", context.workdir / "outcome.json"
    outcome.unlink(missing_ok=True)
    job.write_text(json.dumps(describe(method, config, context)), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--num_processes", str(config.num_processes),
        "--main_process_port", str(port), "--mixed_precision", "no", "--dynamo_backend", "no",
    ]  # fmt: skip
    if config.use_cpu:
        command += ["--cpu", "--num_cpu_threads_per_process", str(config.threads or 1)]
    else:
        command += ["--multi_gpu"]
    process = subprocess.Popen(
        [*command, "-m", "hubwright.trainers.launch", str(job)],
        env=os.environ | {LAUNCHED: "1"},
    )
    previous = None
    try:
        previous = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    except ValueError:
        pass  # not the main thread: nothing to forward
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
    result = json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else {}
    if "error" in result:
        error: type[HubwrightError] = HubwrightError
        for kind in HubwrightError.__subclasses__():
            if kind.__name__ == result["kind"]:
                error = kind
        raise error(result["error"])
    if "report" in result:
        for field in dataclasses.fields(Report):
            setattr(context.report, field.name, result["report"][field.name])
        return
    if result.get("interrupted") or code < 0:
        raise KeyboardInterrupt("the training was stopped; run the same command again to continue")
    raise HubwrightError(f"step {context.step}: accelerate launch ended with status {code}; see its output above")


def describe(method: str, config: Any, context: StepContext) -> dict[str, Any]:
    """A job as JSON: method, settings, folders and inputs."""
    return {
        "method": method,
        "config": config.model_dump(mode="json"),
        "step": context.step,
        "workdir": str(context.workdir),
        "output": str(context.output),
        "inputs": {
            role: dataclasses.asdict(item.ref) | {"path": str(item.path)} for role, item in context.inputs.items()
        },
    }


def restore(job: dict[str, Any]) -> tuple[Any, Any, StepContext]:
    """The method's module, its settings and the context that `describe` described."""
    if job["method"] not in METHODS:
        raise UsageError(f"method {job['method']!r} is unknown: use one of {', '.join(METHODS)}")
    module = import_module(f".{job['method']}", __package__)
    inputs = {
        role: Input(ArtifactRef(i["repo_type"], i["repo_id"], i["revision"]), Path(i["path"]))
        for role, i in job["inputs"].items()
    }
    context = StepContext(job["step"], Path(job["workdir"]), Path(job["output"]), inputs)
    return module, getattr(module, METHODS[job["method"]])(**job["config"]), context


def main(path: str) -> int:
    """Run one process of a job; the main process leaves `outcome.json` in the work folder."""
    module, config, context = restore(json.loads(Path(path).read_text(encoding="utf-8")))
    outcome: dict[str, Any]
    code = 0
    try:
        module.train(config, context)
        outcome = {"report": dataclasses.asdict(context.report)}
    except HubwrightError as error:
        outcome, code = {"error": str(error), "kind": type(error).__name__}, error.exit_code
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        outcome, code = {"interrupted": True}, INTERRUPTED
    if os.environ.get("RANK", "0") == "0":
        (context.workdir / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    return code


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main(sys.argv[1]))
