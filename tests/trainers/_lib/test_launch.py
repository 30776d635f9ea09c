"""Two processes under accelerate launch: one report, one model, errors as one line."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from trainer_parts import QUICK, context, make_model, save_drills

from hubwright.hub_sync.errors import DataError
from hubwright.inference import launch
from hubwright.trainers import sft
from hubwright.trainers.sft import trainer

TWO = QUICK | {"num_processes": 2, "per_device_train_batch_size": 1}


def test_job_survives_json(tmp_path: Path) -> None:
    step = context(tmp_path, {"model": tmp_path, "dataset": tmp_path})
    config = sft.SFTConfig(lora={"r": 2, "target_modules": ["q_proj"]})
    fit, again, restored = launch.restore(launch.describe(trainer.fit, config, step))
    assert (fit, again) == (trainer.fit, config)
    assert restored.inputs == step.inputs and restored.output == step.output


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    inputs = {"model": make_model(tmp_path / "model"), "dataset": save_drills(tmp_path / "data")}
    step = context(tmp_path, inputs)
    sft.train(sft.SFTConfig(**TWO), step)
    assert step.report.metrics["processes"] == 2 and step.report.metrics["steps"] == 4
    assert (step.output / "model.safetensors").is_file()
    assert not list(step.output.glob("*.bin"))
    alone = context(tmp_path, inputs, "alone")
    sft.train(sft.SFTConfig(**QUICK), alone)
    # The same rows in the same optimiser steps; only dropout differs.
    both = (s.report.curves[0]["series"]["train"] for s in (step, alone))
    for (_, a), (_, b) in zip(*both, strict=True):
        assert a == pytest.approx(b, rel=0.02)


@pytest.mark.slow
def test_error_of_a_process_is_raised_here(tmp_path: Path) -> None:
    inputs = {"model": make_model(tmp_path / "model"), "dataset": save_drills(tmp_path / "data")}
    with pytest.raises(DataError, match="no row of the train split has a supervised token"):
        sft.train(sft.SFTConfig(**(TWO | {"max_length": 16})), context(tmp_path, inputs))


@pytest.mark.slow
def test_a_second_machine_runs_the_command_that_the_first_prints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = {"model": make_model(tmp_path / "model"), "dataset": save_drills(tmp_path / "data")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = {
        "distributed_type": "MULTI_GPU", "num_processes": 2, "num_machines": 2, "machine_rank": 0,
        "main_process_ip": "127.0.0.1", "main_process_port": port,
    }  # fmt: skip
    caplog.set_level("INFO", "hubwright")
    other: list[subprocess.Popen] = []

    def second_machine() -> None:
        while not (lines := [line for line in caplog.messages if line.startswith("on machine K")]):
            time.sleep(0.1)
        line = lines[0].partition("shared: ")[2].replace("python", sys.executable, 1).replace(" K ", " 1 ")
        assignment, *arguments = shlex.split(line)
        variable, _, value = assignment.partition("=")
        other.append(subprocess.Popen(arguments, env=os.environ | {variable: value}))

    thread = threading.Thread(target=second_machine, daemon=True)
    thread.start()
    step = context(tmp_path, inputs)
    settings = QUICK | {"per_device_train_batch_size": 1, "accelerate_config": machines}
    sft.train(sft.SFTConfig(**settings), step)
    thread.join()
    assert other[0].wait(60) == 0
    assert step.report.metrics["processes"] == 2 and step.report.metrics["steps"] == 4
    assert (step.output / "model.safetensors").is_file()
