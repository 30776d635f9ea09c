"""Small KV shifting models of every kind, for several test modules."""

from __future__ import annotations

SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 256,
}  # fmt: skip
CANON = {
    "shift_targets": ["attention_input", "query", "key", "value", "mlp_input"], "shift_kernel_size": 4,
    "shift_per_channel": True, "shift_residual": True, "shift_init": "conv",
}  # fmt: skip
VARIANTS = {
    "paper": {},
    "key": {"shift_targets": ["key"]},
    "value": {"shift_targets": ["value"]},
    "three taps": {"shift_kernel_size": 3},
    "per channel": {"shift_per_channel": True},
    "sigmoid": {"shift_gate": "sigmoid"},
    "clamp": {"shift_gate": "clamp"},
    "residual": {"shift_residual": True},
    "canon": CANON,
    "qk norm": {"qk_norm": True},
    "none": {"shift_targets": []},
}


def make(seed: int = 0, **options):
    """A random model in evaluation mode, in float32."""
    import torch

    from hubwright.trainers.architectures.kv_shift.modeling_kv_shift import KVShiftConfig, KVShiftForCausalLM

    torch.manual_seed(seed)
    return KVShiftForCausalLM(KVShiftConfig(**SHAPE | options)).eval()
