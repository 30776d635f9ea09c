"""What is merged, and how. No torch: a recipe is validated in milliseconds."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from ...hub_sync.settings import SPEED, Settings
from ...hub_sync.step import Preview, Size

Method = Literal[
    "linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties",
    "model_stock",
]  # fmt: skip
# Fields of a config in which parents may differ if the recipe says so.
Acceptable = Literal["rope", "sliding_window", "max_position_embeddings", "norm_eps", "experts_per_token"]
_OWN = {  # settings of a model that not every method has
    "density": {"ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties"},
    "gamma": {"breadcrumbs", "breadcrumbs_ties"},
}
ROLE = "model_"  # how the names of the inputs begin that are merged
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B", re.IGNORECASE)


class ModelSettings(Settings):
    """How one of the models enters."""

    weight: float = Field(default=1.0, allow_inf_nan=False, description="Its factor; negative takes its change away.")
    density: float = Field(default=1.0, ge=0, le=1, description="Share of its change's elements that is kept.")
    gamma: float = Field(default=0.01, ge=0, lt=1, description="breadcrumbs: share of its largest elements left out.")


class OutputSettings(Settings):
    """How merged weights are written: part of every step that merges."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the merged weights, rounded once; null: the base's, without one the first model's."
    )
    shard_size: str = Field("5GB", description="Largest file of weights: a number with KB, MB or GB.")
    block_mb: int = Field(
        1, ge=1, json_schema_extra=SPEED, description="Memory for a block of one model, in MB of float32."
    )
    threads: int | None = Field(
        None, ge=1, json_schema_extra=SPEED, description="Tensors worked on at a time; null: all CPUs of this process."
    )

    accept: list[Acceptable] = Field(
        default_factory=list,
        description="Fields of the models' configs that may differ; the merged model gets the base's value (without a "
        "base the first model's). Any other difference is refused.",
    )

    @property
    def shard_bytes(self) -> int:
        """`shard_size` in bytes, of which a kilobyte has 1,000."""
        number, unit = _SIZE.fullmatch(self.shard_size).groups()  # type: ignore[union-attr]
        return int(float(number) * 1000 ** " KMGT".index(unit.upper() or " "))

    def disk(self, inputs: Mapping[str, Size]) -> tuple[int, Size] | None:
        """(bytes of the merged model, its size): that of the base, or of the largest parent."""
        model = inputs.get("base") or max(inputs.values(), key=lambda size: size.weights, default=Size(0))
        width = {"float32": 4, "bfloat16": 2, "float16": 2}.get(self.dtype or "")
        size = model.weights * width if width else model.bytes
        return (size, Size(size, model.weights)) if model.weights else None

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The merged model, which has the tokenizer of the base, or of the first parent."""
        order = [f"model_{name}" for name in getattr(self, "order", None) or ()]
        first = next((inputs[role] for role in ("base", *order) if role in inputs), Preview())
        return Preview(source=first.source, template=first.template, kind=first.kind)

    @field_validator("shard_size")
    @classmethod
    def _a_size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value.strip()):
            raise ValueError(f"{value!r} is no size: write a number with KB, MB or GB, such as 5GB")
        return value.strip()


class MergeConfig(OutputSettings):
    """Which method, with what. Names are mergekit's where it has them; defaults are our choice."""

    method: Method = Field(description="How the models become one.")
    models: dict[str, ModelSettings] = Field({}, description="Settings by NAME of an input `model_NAME`.")
    order: list[str] | None = Field(None, description="Names of all inputs `model_NAME` in order; null: the recipe's.")
    t: float | None = Field(None, ge=0, le=1, description="slerp: from the base (0) to the model (1).")
    normalize: bool | None = Field(
        None, description="Divide by the weights' sum; null: for linear and methods of TIES."
    )
    scale: float = Field(default=1.0, allow_inf_nan=False, description="Factor of the merged change (lambda of TIES).")
    rescale: Literal["none", "expected", "l1"] = Field(
        "expected", description="dare: what makes up for dropped elements."
    )
    seed: int = Field(0, ge=0, description="dare: of the elements that are dropped.")
    vocabulary: Literal["same", "align", "base"] = Field(
        "same",
        description="A model with another tokenizer than the base's: same: refused; align: its rows of tokens are put "
        "in the base's order, and a token it does not have stays the base's; base: taken as it is.",
    )

    @property
    def normalized(self) -> bool:
        """`normalize`, with what null stands for."""
        if self.normalize is not None:
            return self.normalize
        return self.method == "linear" or self.method.endswith("ties")

    @model_validator(mode="after")
    def _settings_go_with_the_method(self) -> Self:
        if (self.method == "slerp") != (self.t is not None):
            raise ValueError("t and method: slerp go together: give both or neither")
        for name, model in self.models.items():
            for field, methods in _OWN.items():
                if field in model.model_fields_set and self.method not in methods:
                    raise ValueError(f"models: {name}: {field} has no meaning for {self.method}")
            if "weight" in model.model_fields_set and self.method in ("slerp", "model_stock"):
                raise ValueError(f"models: {name}: weight has no meaning for {self.method}")
        for field in ("rescale", "seed"):
            if field in self.model_fields_set and not self.method.startswith("dare"):
                raise ValueError(f"{field} has no meaning for {self.method}")
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line for settings of models that are not there, and for too few or too many."""
        names = tuple(names)
        models = [name.removeprefix(ROLE) for name in names if name.startswith(ROLE)]
        if unknown := sorted(set(self.models) - set(models)):
            raise ValueError(f"models: there is no input {ROLE}{unknown[0]} (inputs: {', '.join(names) or 'none'})")
        check_models(self, models, "base" in names)


def check_models(config: MergeConfig, names: Sequence[str], has_base: bool) -> None:
    """Raise ValueError if the method cannot merge these models (the base not counted)."""
    method, fewest = config.method, 2 if config.method in ("linear", "model_stock") else 1
    if method != "linear" and not has_base:
        raise ValueError(f"{method} counts changes from a base: give the input `base`")
    if len(names) < fewest or (method == "slerp" and len(names) > 1):
        number = "one model" if method == "slerp" else f"{fewest} or more models"
        beside = "" if method == "linear" else " beside the base"
        raise ValueError(f"models: {method} takes {number}{beside}, and {len(names)} are given")
    weights = [config.models.get(name, ModelSettings()).weight for name in names]
    if method == "linear" and config.normalized and not math.fsum(weights):
        raise ValueError(
            f"the weights {', '.join(f'{one:g}' for one in weights)} have the sum 0, by which linear divides: "
            "change them, or set normalize: false"
        )
