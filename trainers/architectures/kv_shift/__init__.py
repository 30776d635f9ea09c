"""KV shifting attention (arXiv 2411.19574): a Llama whose keys and values look one position back."""


def register() -> None:
    """Make the Auto classes know `model_type: kv_shift`."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    from .configuration_kv_shift import KVShiftConfig
    from .modeling_kv_shift import KVShiftForCausalLM, KVShiftModel

    AutoConfig.register("kv_shift", KVShiftConfig, exist_ok=True)
    AutoModel.register(KVShiftConfig, KVShiftModel, exist_ok=True)
    AutoModelForCausalLM.register(KVShiftConfig, KVShiftForCausalLM, exist_ok=True)
