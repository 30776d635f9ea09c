"""Several processes, GPUs and machines, as `accelerate config` writes them down."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, get_type_hints

from pydantic import field_serializer, model_validator

from ..hub_sync.arguments import check_arguments, read_mapping
from ..hub_sync.errors import did_you_mean
from ..hub_sync.settings import Settings, added

TYPES = ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU", "MULTI_HPU", "FSDP", "DEEPSPEED")
PLACE = frozenset({
    "main_process_ip", "main_process_port", "machine_rank", "gpu_ids", "rdzv_backend", "same_network", "debug",
    "enable_cpu_affinity", "main_training_function",
})  # fmt: skip
"""Keys that say where the processes run and nothing of what they do: of no record, since they name machines."""
REFUSED = dict.fromkeys(
    ("command_file", "commands", "tpu_name", "tpu_zone", "tpu_use_cluster", "tpu_use_sudo", "tpu_vm", "tpu_env",
     "mpirun_config", "megatron_lm_config", "fp8_config", "parallelism_config"), "it is not supported: drop it",
) | {"dynamo_config": "write the setting torch_compile, or trainer_args: {torch_compile: true}, instead"}  # fmt: skip


class AccelerateSettings(Settings):
    """Data-parallel processes."""

    num_processes: int = added(1, ge=1, description="1: in this process; more: data parallel, by accelerate launch.")
    accelerate_config: dict[str, Any] | None = added(
        None,
        description="File that `accelerate config` wrote, for several GPUs or machines, FSDP or DeepSpeed; its "
        "content is recorded, without addresses.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_accelerate(cls, values: Any) -> Any:
        """What the file says is checked, and put into the settings that say the same."""
        if not isinstance(values, Mapping) or values.get("accelerate_config") is None:
            return values
        source = values["accelerate_config"]
        content = read_mapping("accelerate_config", source) if isinstance(source, str) else source
        if not isinstance(content, dict):
            return values
        try:
            content = check_config(content)
        except ValueError as error:
            raise ValueError(f"accelerate_config.{error}") from error
        precision = content.pop("mixed_precision", None) or "no"
        new: dict[str, Any] = {name: content[name] for name in ("num_processes",) if name in content}
        if precision == "bf16" and "bf16" in cls.model_fields:
            new["bf16"] = True
        elif precision != "no":
            other = "trainer_args: {fp16: true}" if "bf16" in cls.model_fields else "dtype"
            raise ValueError(
                f"accelerate_config.mixed_precision: {precision}: set it to 'no', and {other} in the step"
            )
        if content.get("use_cpu"):
            new |= {"use_cpu": True} if "use_cpu" in cls.model_fields else {"device": "cpu"}
        for name, value in new.items():
            if values.get(name, value) != value:
                raise ValueError(
                    f"{name}: accelerate_config says {value!r}, the step {values[name]!r}: drop one of them"
                )
        return {**values, **new, "accelerate_config": content}

    @field_serializer("accelerate_config")
    def _without_place(self, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return value and {name: one for name, one in value.items() if name not in PLACE}

    @property
    def accelerate_shards(self) -> bool:
        """Whether accelerate spreads the weights over processes."""
        return (self.accelerate_config or {}).get("distributed_type") in ("FSDP", "DEEPSPEED")

    def lacks(self) -> str:
        """What these settings need and this machine has not, as one line with the remedy; "" if there is nothing."""
        kind = (self.accelerate_config or {}).get("distributed_type")
        if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
            return "accelerate_config: deepspeed is not installed: pip install deepspeed"
        return ""


def check_config(content: dict[str, Any]) -> dict[str, Any]:
    """The content of accelerate's file, without what is empty. Raises ValueError in one line."""
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    content = {name: value for name, value in content.items() if value not in (None, {}, [])}
    if not content.get("tpu_use_cluster"):  # `accelerate config` writes all of them
        content = {name: value for name, value in content.items() if not (name.startswith("tpu_") and not value)}
    content.pop("downcast_bf16", None)  # of TPUs alone
    if (environment := content.get("compute_environment", "LOCAL_MACHINE")) != "LOCAL_MACHINE":
        raise ValueError(f"compute_environment: {environment}: processes are started on machines: LOCAL_MACHINE")
    if (kind := content.get("distributed_type")) not in TYPES:
        raise ValueError(f"distributed_type: {kind!r} is not one of {', '.join(TYPES)}")
    if content.get("machine_rank"):
        raise ValueError("machine_rank: the recipe runs on machine 0, which prints the command for the others: set 0")
    if "deepspeed_config_file" in content.get("deepspeed_config", {}):
        raise ValueError(
            "deepspeed_config.deepspeed_config_file: write trainer_args: {deepspeed: FILE} and distributed_type: "
            "MULTI_GPU, so that its content is recorded"
        )
    options = {action.dest: Any for action in launch_command_parser()._actions}
    for part, prefix in (("fsdp_config", "fsdp_"), ("deepspeed_config", "")):
        for name in content.get(part, {}):
            if name not in options and prefix + name not in options:
                near = did_you_mean(name, [option for option in options if option.startswith(prefix)], "")
                raise ValueError(f"{part}.{name}: accelerate has no such key{near}")
    return check_arguments(content, get_type_hints(ClusterConfig), "accelerate's configuration", REFUSED)
