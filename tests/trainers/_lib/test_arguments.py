"""`trainer_args`, trackers, quantisation and accelerate's file: what is taken, what is refused, and what it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from trainer_parts import QUICK, context, make_model, save_drills

from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.settings import split_speed
from hubwright.trainers import dpo, sft
from hubwright.trainers._lib import arguments
from hubwright.trainers._lib import model as _model
from hubwright.trainers.pretrain import PretrainConfig

TWO_GPUS = {"distributed_type": "MULTI_GPU", "num_processes": 2}


def message(config_class: type, **settings: Any) -> str:
    """The one line of a refusal."""
    with pytest.raises(ValidationError) as refusal:
        config_class(**settings)
    text: str = refusal.value.errors()[0]["msg"]
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"optin": "adafactor"}, "optin: SFTConfig has no such argument; did you mean 'optim'?"),
        ({"optim": "adafacto"}, "optim: 'adafacto' is unknown; did you mean 'adafactor'?"),
        ({"optim": None}, "optim: None should be"),
        ({"neftune_noise_alpha": "high"}, "neftune_noise_alpha: 'high' should be a valid number"),
        ({"neftune_noise_alpha": True}, "neftune_noise_alpha: True should be a valid number"),
        ({"dataloader_num_workers": 2.5}, "dataloader_num_workers: 2.5 should be a valid integer"),
        ({"learning_rate": 1e-4}, "learning_rate: it is a setting of the step: write `learning_rate` beside trainer_args"),
        ({"report_to": "wandb"}, "report_to: it is a setting of the step"),
        ({"gradient_checkpointing": True}, "write the setting `activation_checkpointing` instead"),
        ({"output_dir": "/tmp/x"}, "output_dir: checkpoints lie in the run's folder"),
        ({"push_to_hub": True}, "push_to_hub: what is published, and where, is said by `publish:`"),
        ({"trackio_space_id": "me/runs"}, "is said by `publish:`"),
        ({"hub_token": "abc"}, "hub_token: it holds a secret"),
        ({"deepspeed": {"wandb": {"api_key": "x"}}}, "api_key: it holds a secret"),
        ({"run_name": "hf_abcdefghijklmnopqrstuvwx"}, "its text looks like a secret"),
        ({"resume_from_checkpoint": "last"}, "resumes from whole checkpoints by itself"),
        ({"load_best_model_at_end": True}, "the weights of the last step are published"),
        ({"auto_find_batch_size": True}, "set per_device_train_batch_size"),
        ({"trust_remote_code": True}, "code of a repository is never run"),
        ({"deepspeed": "absent.json"}, "deepspeed: file 'absent.json' cannot be read (No such file or directory)"),
        ({"fsdp_config": "[1, 2"}, "fsdp_config: file '[1, 2' cannot be read"),
        ({"lr_scheduler_kwargs": {"num_cycle": 2}}, "lr_scheduler_kwargs.num_cycle: the schedule linear has no such"),
        ({"optim_args": "foo=1"}, "optim_args: the optimiser uses none of them"),
        ({"optim_args": "foo"}, "write name=value,name=value"),
        ({"run_name": "mine"}, "it names a run for a tracker: set report_to"),
        ({"fp16": True}, "set bf16: false"),
    ],
)  # fmt: skip
def test_argument_that_cannot_be_is_refused_in_one_line(values: dict[str, Any], line: str) -> None:
    assert line in message(sft.SFTConfig, trainer_args=values)


@pytest.mark.parametrize(
    ("config_class", "settings", "line"),
    [
        (dpo.DPOConfig, {"trainer_args": {"padding_free": True}}, "TRL's DPOTrainer pads all the same"),
        (dpo.DPOConfig, {"trainer_args": {"label_smoothing_factor": 0.1}}, "write the setting `label_smoothing`"),
        (PretrainConfig, {"trainer_args": {"label_smoothing_factor": 0.1}}, "this trainer's loss is its own"),
        (PretrainConfig, {"trainer_args": {"padding_free": True}}, "TrainingArguments has no such argument"),
        (sft.SFTConfig, {"streaming": True, "max_steps": 2, "trainer_args": {"dataloader_num_workers": 2}}, "a resume"),
        (sft.SFTConfig, {"trainer_args": None}, "valid dictionary"),
        (sft.SFTConfig, {"trainer_args": "optim=adafactor"}, "valid dictionary"),
        (sft.SFTConfig, {"report_to": ["mlflow"]}, "'trackio', 'tensorboard' or 'wandb'"),
        (sft.SFTConfig, {"save_dtype": "bfloat16", "trainer_args": {"fsdp": "full_shard"}}, "sharded weights"),
        (sft.SFTConfig, {"quantization": {"load_in_4bit": True}}, "quantization needs lora"),
        (sft.SFTConfig, {"lora": {}, "quantization": {}}, "set one of load_in_4bit and load_in_8bit"),
        (sft.SFTConfig, {"lora": {}, "quantization": {"load_in_8bit": True, "bnb_4bit_quant_type": "fp4"}}, "other"),
        (sft.SFTConfig, {"lora": {}, "merge_adapter": True, "quantization": {"load_in_4bit": True}}, "and `merge`"),
        (sft.SFTConfig, {"accelerate_config": "absent.yaml"}, "accelerate_config: file 'absent.yaml' cannot be read"),
        (sft.SFTConfig, {"accelerate_config": {"num_processes": 2}}, "distributed_type: None is not one of NO,"),
        (sft.SFTConfig, {"accelerate_config": TWO_GPUS | {"num_process": 2}}, "did you mean 'num_processes'?"),
        (sft.SFTConfig, {"accelerate_config": TWO_GPUS | {"machine_rank": 1}}, "prints the command for the others"),
        (sft.SFTConfig, {"accelerate_config": TWO_GPUS | {"mixed_precision": "fp16"}}, "trainer_args: {fp16: true}"),
        (sft.SFTConfig, {"accelerate_config": TWO_GPUS, "num_processes": 4}, "accelerate_config says 2, the step 4"),
        (sft.SFTConfig, {"accelerate_config": TWO_GPUS | {"fsdp_config": {"fsdp_versio": 2}}}, "'fsdp_version'"),
        (PretrainConfig, {"fsdp": True, "accelerate_config": {"distributed_type": "FSDP", "num_processes": 2}}, "one"),
    ],
)  # fmt: skip
def test_setting_that_does_not_fit_the_step_is_refused(
    config_class: type, settings: dict[str, Any], line: str
) -> None:
    assert line in message(config_class, **settings)


def test_numbers_that_yaml_takes_for_text_and_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 2}, "fp16": {"loss_scale": 1e-8}}')
    values = {
        "adam_epsilon": "1e-7",
        "deepspeed": str(tmp_path / "ds.json"),
        "lr_scheduler_kwargs": '{"num_cycles": 2}',
    }
    config = sft.SFTConfig(lr_scheduler_type="cosine_with_restarts", trainer_args=values)
    assert config.trainer_args == {
        "adam_epsilon": 1e-7,
        "deepspeed": {"zero_optimization": {"stage": 2}, "fp16": {"loss_scale": 1e-8}},
        "lr_scheduler_kwargs": {"num_cycles": 2},
    }
    assert str(tmp_path) not in config.model_dump_json()
    (tmp_path / "ds.json").write_text('{"wandb": {"api_key": "x"}}')
    assert "api_key: it holds a secret" in message(sft.SFTConfig, trainer_args={"deepspeed": values["deepspeed"]})
    assert "below your home folder" in message(sft.SFTConfig, trainer_args={"torch_compile_backend": "~/mine"})


def test_settings_that_came_later_are_in_no_record_at_their_defaults() -> None:
    config = sft.SFTConfig()
    recorded, speed = split_speed(config, config.model_dump(mode="json"))
    assert not {"trainer_args", "quantization", "accelerate_config", "report_to"} & recorded.keys()
    assert recorded["num_processes"] == 1 and speed["report_to"] == []
    config = sft.SFTConfig(trainer_args={"optim": "adafactor"}, report_to="trackio")
    recorded, speed = split_speed(config, config.model_dump(mode="json"))
    assert recorded["trainer_args"] == {"optim": "adafactor"} and speed["report_to"] == ["trackio"]


def test_accelerates_file_sets_processes_and_precision_and_its_addresses_are_in_no_record(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndebug: false\ndistributed_type: FSDP\ndowncast_bf16: 'no'\n"
        "enable_cpu_affinity: false\nfsdp_config: {fsdp_version: 2, fsdp_offload_params: false}\nmachine_rank: 0\n"
        "main_process_ip: 10.1.2.3\nmain_process_port: 29500\nmain_training_function: main\nmixed_precision: bf16\n"
        "num_machines: 2\nnum_processes: 4\nrdzv_backend: static\nsame_network: true\ntpu_env: []\n"
        "tpu_use_cluster: false\ntpu_use_sudo: false\nuse_cpu: false\n"
    )
    config = sft.SFTConfig(accelerate_config=str(path))
    assert (config.num_processes, config.bf16, config.sharded) == (4, True, True)
    assert config.accelerate_config and config.accelerate_config["main_process_ip"] == "10.1.2.3"
    recorded = config.model_dump(mode="json")
    assert recorded["accelerate_config"]["num_machines"] == 2 and "10.1.2.3" not in json.dumps(recorded)
    assert sft.SFTConfig(**recorded).model_dump(mode="json") == recorded


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"report_to": ["wandb"]}, "report_to: wandb is not installed: pip install wandb"),
        ({"trainer_args": {"use_liger_kernel": True}}, "liger_kernel is not installed: pip install liger-kernel"),
        ({"trainer_args": {"deepspeed": {"train_batch_size": "auto"}}}, "deepspeed is not installed"),
        ({"trainer_args": {"optim": "adamw_bnb_8bit"}}, "You need to install `bitsandbytes`"),
        ({"lora": {}, "quantization": {"load_in_4bit": True}}, "quantization: bitsandbytes is not installed"),
        ({"accelerate_config": TWO_GPUS | {"distributed_type": "DEEPSPEED"}}, "deepspeed is not installed"),
    ],
)  # fmt: skip
def test_package_that_is_absent_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)
    monkeypatch.setattr("hubwright.trainers._lib.config.find_spec", lambda name: None)
    config = sft.SFTConfig(**settings)
    assert line in config.lacks()
    with pytest.raises(UsageError, match=r"^step step: "):
        sft.train(config, context(tmp_path, {}))  # without inputs


def test_quantisation_is_what_transformers_reads() -> None:
    four = sft.SFTConfig(lora={}, quantization={"load_in_4bit": True}, dtype="bfloat16")
    assert four.quantization
    assert sft.SFTConfig(**four.model_dump(mode="json")) == four  # a job and a card's recipe state every field
    theirs = _model.quantization(four.quantization, four.dtype)
    assert theirs.load_in_4bit and not theirs.load_in_8bit
    assert (theirs.bnb_4bit_quant_type, str(theirs.bnb_4bit_compute_dtype)) == ("nf4", "torch.bfloat16")
    eight = sft.SFTConfig(lora={}, quantization={"load_in_8bit": True, "llm_int8_threshold": 4})
    assert eight.quantization and _model.quantization(eight.quantization, "float32").llm_int8_threshold == 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return {"model": make_model(folder / "model", dropout=0.0), "dataset": save_drills(folder / "data", 12, 4)}


def losses(tmp_path: Path, inputs: dict[str, Path], name: str, **settings: Any) -> list[float]:
    step = context(tmp_path, inputs, name)
    sft.train(sft.SFTConfig(**(QUICK | {"max_steps": 2} | settings)), step)
    return [point[1] for point in step.report.curves[0]["series"]["train"]]


def test_arguments_act(tmp_path: Path, inputs: dict[str, Path]) -> None:
    plain = losses(tmp_path, inputs, "plain")
    assert losses(tmp_path, inputs, "free", trainer_args={"padding_free": True}) == pytest.approx(plain, abs=1e-5)
    other = {"optim": "adafactor", "label_smoothing_factor": 0.5, "lr_scheduler_kwargs": {"num_decay_steps": 1}}
    changed = losses(tmp_path, inputs, "other", lr_scheduler_type="warmup_stable_decay", trainer_args=other)
    assert all(abs(a - b) > 1e-3 for a, b in zip(changed, plain, strict=True))


def test_value_that_the_class_refuses_is_one_line(tmp_path: Path, inputs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"^trainer_args: .*even_batch") as refusal:
        losses(tmp_path, inputs, "bad", trainer_args={"accelerator_config": {"even_batch": True}})
    assert "\n" not in str(refusal.value)


def test_quantised_weights_train_under_an_adapter(tmp_path: Path, inputs: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not here: its wheels are large")
    step = context(tmp_path, inputs)
    sft.train(sft.SFTConfig(**QUICK, lora={"r": 2}, quantization={"load_in_4bit": True}), step)
    assert "4 bits (nf4)" in step.report.sections[0]["body"]
    assert (step.output / "adapter_model.safetensors").is_file()
