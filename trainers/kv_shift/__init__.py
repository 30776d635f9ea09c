"""KV shifting attention (arXiv 2411.19574): the architecture, its registration, and the retrofit of trained models.

`register()` makes `AutoConfig`, `AutoModel` and `AutoModelForCausalLM` know `model_type: kv_shift`. It imports torch,
so it is not called at import.
"""

from __future__ import annotations


def register() -> None:
    """Make the Auto classes of transformers know the architecture. Calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    from .configuration_kv_shift import KVShiftConfig
    from .modeling_kv_shift import KVShiftForCausalLM, KVShiftModel

    AutoConfig.register("kv_shift", KVShiftConfig, exist_ok=True)
    AutoModel.register(KVShiftConfig, KVShiftModel, exist_ok=True)
    AutoModelForCausalLM.register(KVShiftConfig, KVShiftForCausalLM, exist_ok=True)
