"""Train, get killed at a chosen point, train again: run as a program, one line of JSON per case on stdout.

What a method needs is imported once, then every run is a fork of this process, so that a kill is a real SIGKILL and
cheap.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
import transformers
from trainer_parts import QUICK, context
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from hubwright.trainers import architectures, dpo, pretrain, sft
from hubwright.trainers._lib import checkpoints as _checkpoints
from hubwright.trainers._lib import output as _output
from hubwright.trainers.maet import extract
from hubwright.trainers.maet.config import ExtractConfig
from hubwright.trainers.stepagent import discriminator, inverse

STEPS: dict[str, int] = {"save_steps": 2, "max_steps": 6}


def find_method(name: str) -> tuple[Callable, type, type]:
    """The step's function, its settings and the trainer below it, everything imported that a run imports."""
    # The first save of a model in a process fills this table.
    get_checkpoint_conversion_mapping("llama")
    if name in ("pretrain", "masked"):
        importlib.import_module("hubwright.trainers.pretrain.trainer")
        importlib.import_module("trl.data_utils")
        architectures.register()
        if name == "masked":
            importlib.import_module("hubwright.trainers.maet.trainer")
            return extract.extract, ExtractConfig, transformers.Trainer
        return pretrain.train, pretrain.PretrainConfig, transformers.Trainer
    if name.startswith("domains"):
        versatune = importlib.import_module("hubwright.trainers.versatune")
        importlib.import_module("hubwright.trainers.versatune.trainer")
        importlib.import_module("trl.data_utils")
        architectures.register()
        if name == "domains":
            return versatune.pretrain, versatune.VersatunePretrainConfig, transformers.Trainer
    import trl

    if name == "domains_sft":
        return versatune.sft, versatune.VersatuneSFTConfig, trl.SFTTrainer

    if name in ("discriminator", "inverse"):
        importlib.import_module(f"hubwright.trainers.stepagent.{name}_trainer")
        method, config = {
            "discriminator": (discriminator.train, discriminator.DiscriminatorConfig),
            "inverse": (inverse.train, inverse.InverseConfig),
        }[name]
        return method, config, transformers.Trainer
    if name == "dual_encoder":
        dual_encoder = importlib.import_module("hubwright.trainers.dual_encoder")
        importlib.import_module("hubwright.trainers.dual_encoder.trainer")
        get_checkpoint_conversion_mapping("vision-text-dual-encoder")
        return dual_encoder.train, dual_encoder.DualEncoderConfig, transformers.Trainer
    if name == "eeca":
        eeca = importlib.import_module("hubwright.trainers.eeca")
        importlib.import_module("hubwright.trainers.eeca.trainer")
        architectures.register()
        get_checkpoint_conversion_mapping("llava")
        return eeca.train, eeca.EECAConfig, trl.SFTTrainer
    if name == "vision_sft":
        vision_sft = importlib.import_module("hubwright.trainers.vision_sft")
        importlib.import_module("hubwright.trainers.vision_sft.trainer")
        get_checkpoint_conversion_mapping("llava")
        return vision_sft.train, vision_sft.VisionSFTConfig, trl.SFTTrainer
    if name == "dpo":
        importlib.import_module("hubwright.trainers.dpo.trainer")
        return dpo.train, dpo.DPOConfig, trl.DPOTrainer
    if name == "gigpo":
        gigpo = importlib.import_module("hubwright.trainers.stepagent.gigpo")
        importlib.import_module("hubwright.trainers.stepagent.gigpo_trainer")
        return gigpo.train, gigpo.GiGPOConfig, trl.SFTTrainer
    importlib.import_module("hubwright.trainers.sft.trainer")
    return sft.train, sft.SFTConfig, trl.SFTTrainer


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, trainer: type) -> None:
    """Make this process die (or be asked to stop) at `point`: NAME:COUNT."""
    kind, _, count = point.partition(":")
    left = [int(count or 1)]

    def at(target: object, name: str, act) -> None:
        original = getattr(target, name)

        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                act(original, args, kwargs)
            return original(*args, **kwargs)

        setattr(target, name, wrapper)

    def half_written(original, args, kwargs) -> None:
        original(*args, **kwargs)
        if isinstance(args[1], str | os.PathLike):
            path = Path(args[1])
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        die()

    if kind == "step":
        at(trainer, "training_step", die)
    elif kind == "sigterm":
        at(trainer, "training_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    elif kind == "torch_save":
        at(torch, "save", half_written)
    elif kind == "weights":
        at(transformers.PreTrainedModel, "save_pretrained", die)
    elif kind == "seal":
        at(_checkpoints, "seal", die)
    elif kind == "sealed":

        def after(original, args, kwargs):
            original(*args, **kwargs)
            die()

        at(_checkpoints, "seal", after)
    elif kind == "publish":
        at(_output, "save_model", die)


def fork(method: str, extra: dict, folder: Path, inputs: dict[str, Path], point: str | None) -> int:
    """Exit status of one run; -9 where it was killed."""
    train, config, trainer = find_method(method)
    gc.freeze()  # a child's collection would copy every page of what is imported
    child = os.fork()
    if child == 0:
        code = 0
        try:
            sys.stdout = sys.stderr
            if point:
                arm(point, trainer)
            train(config(**(QUICK | STEPS | extra)), context(folder, inputs))
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def digest(folder: Path) -> str:
    files = sorted((folder / "run" / "out").glob("*.safetensors"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest() if files else ""


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    datasets.disable_progress_bars()
    inputs = {role: Path(path) for role, path in job["inputs"].items()}
    for case in job["cases"]:
        folder = Path(job["folder"]) / case["name"]
        codes = [fork(case["method"], case["extra"], folder, inputs, point) for point in [*case["points"], None]]
        checkpoints = folder / "run" / "work" / "checkpoints"
        print(
            json.dumps(
                case
                | {
                    "codes": codes,
                    "digest": digest(folder),
                    "quarantine": sorted(p.name for p in (checkpoints / "quarantine").glob("*")),
                    "checkpoints": sorted(p.name for p in checkpoints.glob("checkpoint-*")),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
