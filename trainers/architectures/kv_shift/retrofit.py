"""A trained Llama or Qwen model as a KV shifting model that says the same, to be trained on from there."""

from typing import Any

from ....hub_sync.errors import UsageError

# model_type: what its configuration leaves out of a Llama's.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"attention_bias": False},
    "qwen2": {"attention_bias": True, "attention_output_bias": False},
    "qwen3": {"qk_norm": True},
}
SHIFT_FIELDS = ("shift_targets", "shift_kernel_size", "shift_per_channel", "shift_residual", "shift_gate")


def retrofit(model: Any, **options: Any) -> Any:
    """The model with a mix that changes nothing yet: its logits are those of `model`, bit for bit (our use of it).

    Args:
        model: a `*ForCausalLM` of the families above. Its parameters are taken over, not copied.
        options: fields of `KVShiftConfig` whose names begin with `shift_`; `shift_init` is "identity".

    Raises UsageError in one line for a model or an option that cannot be.
    """
    import torch

    from .configuration_kv_shift import KVShiftConfig
    from .modeling_kv_shift import KVShiftForCausalLM

    source = model.config
    family = FAMILIES.get(source.model_type)
    if family is None:
        raise UsageError(f"retrofit: {source.model_type} is no {', '.join(FAMILIES)}: keys and values are not Llama's")
    for name in options:
        if name not in SHIFT_FIELDS:
            raise UsageError(f"retrofit: {name!r} is no option; use {', '.join(SHIFT_FIELDS)}")
    window = getattr(source, "sliding_window", None)
    sliding = "sliding_attention" in (getattr(source, "layer_types", None) or [])
    if sliding or (window and getattr(source, "use_sliding_window", True)):
        raise UsageError(f"retrofit: attention over a window ({window}) is not supported, only full attention")
    known = set(KVShiftConfig().to_dict()) - {"model_type", "layer_types", "number_of_conv_states", "architectures"}
    settings = {name: value for name, value in source.to_dict().items() if name in known}
    try:
        config = KVShiftConfig(**settings | family | options | {"shift_init": "identity"})
    except Exception as error:  # the strict dataclass wraps what its validators say
        raise UsageError(f"retrofit: {str(error.__cause__ or error).splitlines()[-1].strip()}") from error
    config._attn_implementation = source._attn_implementation
    with torch.device("meta"):
        shifted = KVShiftForCausalLM(config)
    shifted = shifted.to(model.dtype)
    missing, unexpected = shifted.load_state_dict(model.state_dict(), strict=False, assign=True)
    foreign = [*(name for name in missing if "kv_shift" not in name), *unexpected]
    if foreign:
        raise UsageError(f"retrofit: {source.model_type} has other parameters than expected: {', '.join(foreign[:3])}")
    device = model.device
    for module in shifted.modules():
        if hasattr(module, "targets"):
            module.to_empty(device=device, recurse=False)
            module.float()
            shifted._init_weights(module)
    with device:  # its buffers are computed, not stored
        shifted.model.rotary_emb = type(shifted.model.rotary_emb)(config=config)
    shifted.tie_weights()
    shifted.generation_config = model.generation_config
    return shifted.train(model.training)
