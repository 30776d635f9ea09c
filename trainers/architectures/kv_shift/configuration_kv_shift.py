"""Configuration of KV shifting attention (arXiv 2411.19574): a Llama configuration with the fields of the mix.

This file, `mixing_kv_shift.py` and `modeling_kv_shift.py` need nothing but torch and transformers: a published model
carries them, so that `from_pretrained(..., trust_remote_code=True)` works where hubwright is not installed.
"""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig

ATTENTION_TARGETS = ("query", "key", "value")
INPUT_TARGETS = ("attention_input", "mlp_input")
GATES = ("none", "sigmoid", "clamp")
INITS = ("uniform", "identity", "conv")


@strict
class KVShiftConfig(LlamaConfig):
    """A `LlamaConfig` whose keys and values are mixed with those of the positions before.

    Attributes:
        shift_targets: what is mixed: "key" and "value" (the paper); "query"; "attention_input" and "mlp_input", the
            normalised inputs of the two halves of a block (with "query", "key" and "value" the places A, B and C of
            Canon layers, arXiv 2512.17351). Empty: a plain Llama.
        shift_kernel_size: taps, the current position included; 2 in the paper.
        shift_per_channel: one weight per channel and tap instead of one per head and tap.
        shift_residual: the mix is added to what is mixed instead of replacing it.
        shift_gate: "none", free scalars as in the paper; "sigmoid", s(a) for the current position and 1 - s(a) for the
            one before; "clamp", every weight clamped to [0, 1].
        shift_init: "uniform" (the paper: u and 1 - u with u from U(0, 1); with more taps uniform draws over their sum,
            our choice), "identity" (the mix changes nothing; for a model that is trained already), "conv" (U(-r, r)
            with r = 1 / sqrt(taps), PyTorch's start of a convolution; our choice for Canon-like mixes).
        qk_norm: RMSNorm over each query's and key's head, after the mix and before RoPE, as Qwen3 has it.
        attention_output_bias: bias of the output projection where it differs from `attention_bias` (Qwen2).
    """

    model_type = "kv_shift"
    base_model_tp_plan = LlamaConfig.base_model_tp_plan | {
        "layers.*.self_attn.kv_shift.query": "colwise",
        "layers.*.self_attn.kv_shift.key": "colwise",
        "layers.*.self_attn.kv_shift.value": "colwise",
        "layers.*.self_attn.kv_shift": "local_params",
    }

    shift_targets: list[str] | tuple[str, ...] = ("key", "value")
    shift_kernel_size: int = 2
    shift_per_channel: bool = False
    shift_residual: bool = False
    shift_gate: str = "none"
    shift_init: str = "uniform"
    qk_norm: bool = False
    attention_output_bias: bool | None = None

    def __post_init__(self, **kwargs):
        chosen = set(self.shift_targets)
        order = [name for name in (*ATTENTION_TARGETS, *INPUT_TARGETS) if name in chosen]
        self.shift_targets = order + sorted(chosen - set(order))  # unknown ones are refused below
        # transformers' caches hold the rows before for layers of this type.
        self.layer_types = ["hybrid" if order else "full_attention"] * self.num_hidden_layers
        self.number_of_conv_states = len(self.shift_states)
        # A tensor parallel plan names only what is there.
        absent = {f"layers.*.self_attn.kv_shift.{name}" for name in ATTENTION_TARGETS if name not in chosen}
        if not chosen & set(ATTENTION_TARGETS):
            absent.add("layers.*.self_attn.kv_shift")
        plan = {name: style for name, style in type(self).base_model_tp_plan.items() if name not in absent}
        self.base_model_tp_plan = plan  # type: ignore[misc]
        super().__post_init__(**kwargs)

    @property
    def shift_states(self) -> list[str]:
        """What a cache keeps rows of, in the order of its states: all of attention together, then each input."""
        names = [] if not set(self.shift_targets) & set(ATTENTION_TARGETS) else ["attention"]
        return names + [name for name in INPUT_TARGETS if name in self.shift_targets]

    def validate_shift(self):
        """Part of the validation by `@strict`: one line for each setting that cannot be."""
        known = (*ATTENTION_TARGETS, *INPUT_TARGETS)
        for name in self.shift_targets:
            if name not in known:
                raise ValueError(f"shift_targets: {name!r} is unknown; use some of {', '.join(known)}")
        for field, allowed in (("shift_gate", GATES), ("shift_init", INITS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} {getattr(self, field)!r} is unknown; use one of {', '.join(allowed)}")
        if self.shift_kernel_size < 2:
            raise ValueError(
                f"shift_kernel_size {self.shift_kernel_size} reaches no position before; use 2 or more, or "
                "shift_targets: [] for no mix"
            )
        if self.shift_gate == "sigmoid" and self.shift_kernel_size != 2:
            raise ValueError(f"shift_gate 'sigmoid' has two taps, shift_kernel_size is {self.shift_kernel_size}")
        if self.shift_gate == "sigmoid" and self.shift_init != "uniform":
            raise ValueError(f"shift_gate 'sigmoid' starts from 'uniform', shift_init is {self.shift_init!r}")


__all__ = ["KVShiftConfig"]
