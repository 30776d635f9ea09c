"""KV shifting attention (arXiv 2411.19574) on transformers: a Llama whose keys and values look one position back.

    K_t = a1 k_t + a2 k_(t-1),   V_t = b1 v_t + b2 v_(t-1),   k, v = x W_K, x W_V

a1, a2, b1, b2 are free scalars per key-value head. The mix comes after the projection and before RoPE, which turns the
mixed key by its own position, so the cache of keys and values has Llama's size and layout. Decoding needs one more
thing, the last raw row of keys and values, which transformers' own caches keep as a convolution state.

What the position before is, is decided by `position_ids`: a document begins where they are 0. So packed documents,
left padding and the first token need no flag of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask, create_recurrent_attention_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    eager_attention_forward,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_kv_shift import INPUT_TARGETS, KVShiftConfig
from .mixing_kv_shift import KVShift, attention_shift, input_shift

# Servers that bring their own attention also bring their own cache, and lay the requests of a batch in one row.
OWN_CACHE = ("vllm", "sglang", "paged", "tgi")


def _signed(cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """RoPE's tables, each (batch, length, channels), as `_turn` takes them: for all heads, the sign in the sine."""
    sin.narrow(-1, 0, sin.shape[-1] // 2).neg_()  # made for this call alone
    return cos.unsqueeze(1), sin.unsqueeze(1)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """RoPE on (batch, heads, length, channels): Llama's, bit by bit, in three operations instead of seven."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


class KVShiftAttention(LlamaAttention):
    """Llama's attention with mixed keys and values."""

    def __init__(self, config: KVShiftConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        if config.attention_output_bias is not None:
            width = config.num_attention_heads * self.head_dim
            self.o_proj = nn.Linear(width, config.hidden_size, bias=config.attention_output_bias)
        self.kv_shift = attention_shift(config, layer_idx)
        self.qk_norm = config.qk_norm
        if self.qk_norm:
            self.q_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
            self.k_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        shift_keep: torch.Tensor | None = None,
        shift_real: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, length, hidden) to (the same, attention weights where the kernel gives them)."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(shape)
        key = self.k_proj(hidden_states).view(shape)
        value = self.v_proj(hidden_states).view(shape)
        if self.kv_shift is not None:
            states = {"query": query, "key": key, "value": value}
            query, key, value = self.kv_shift(states, shift_keep, shift_real, past_key_values).values()
        if self.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        cos, sin = position_embeddings
        if hidden_states.shape[1] == 1:  # decoding: one call more to join them, four less to turn them
            turned = _turn(torch.cat([query, key], dim=2).transpose(1, 2), cos, sin)
            query, key = turned.split_with_sizes([query.shape[2], key.shape[2]], 1)
        else:
            query, key = _turn(query.transpose(1, 2), cos, sin), _turn(key.transpose(1, 2), cos, sin)
        value = value.transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1).contiguous()), weights


class KVShiftDecoderLayer(LlamaDecoderLayer):
    """Llama's block; its two inputs may be mixed as well (`shift_targets`)."""

    def __init__(self, config: KVShiftConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.self_attn = KVShiftAttention(config, layer_idx)
        shifts = {name: input_shift(config, layer_idx, name) for name in INPUT_TARGETS}
        self.kv_shift = nn.ModuleDict({name: shift for name, shift in shifts.items() if shift is not None})
        self.mixed_inputs = frozenset(self.kv_shift)

    def _mixed(self, name: str, hidden: torch.Tensor, keep, real, past_key_values) -> torch.Tensor:
        return self.kv_shift[name]({name: hidden.unsqueeze(2)}, keep, real, past_key_values)[name].squeeze(2)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        shift_keep: torch.Tensor | None = None,
        shift_real: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """(batch, length, hidden) to the same."""
        shift = (shift_keep, shift_real, past_key_values)
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        if "attention_input" in self.mixed_inputs:
            hidden_states = self._mixed("attention_input", hidden_states, *shift)
        hidden_states, _ = self.self_attn(
            hidden_states=hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            position_embeddings=position_embeddings,
            shift_keep=shift_keep,
            shift_real=shift_real,
            **kwargs,
        )
        hidden_states = residual + hidden_states
        residual = hidden_states
        hidden_states = self.post_attention_layernorm(hidden_states)
        if "mlp_input" in self.mixed_inputs:
            hidden_states = self._mixed("mlp_input", hidden_states, *shift)
        return residual + self.mlp(hidden_states)


class KVShiftPreTrainedModel(LlamaPreTrainedModel):
    """What all models of this architecture have in common."""

    config: KVShiftConfig
    config_class = KVShiftConfig
    _no_split_modules = ["KVShiftDecoderLayer"]
    # Scalars near 1 lie 2^-8 apart in bfloat16: a learning rate of 2e-4 would not move them.
    _keep_in_fp32_modules_strict = ["kv_shift"]
    # A backend that owns the cache has no place for the row before, and would mix the rows of different requests.
    _supports_attention_backend = False
    _can_record_outputs = {"hidden_states": KVShiftDecoderLayer, "attentions": KVShiftAttention}

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base class, with this code beside the weights and all three Auto classes in the configuration."""
        # The base class names the class that is saved; servers ask for AutoModel as well.
        self.config.auto_map = (getattr(self.config, "auto_map", None) or {}) | {
            "AutoModel": "modeling_kv_shift.KVShiftModel",
            "AutoModelForCausalLM": "modeling_kv_shift.KVShiftForCausalLM",
        }
        return super().save_pretrained(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if not isinstance(module, KVShift):
            return
        for name in module.targets:
            weight = getattr(module, name)
            rows, taps = weight.shape
            if module.start == "conv":
                init.uniform_(weight, -(taps**-0.5), taps**-0.5)
                continue
            if module.start == "identity":
                value = torch.zeros(rows, taps)
                value[:, 0] = 0.0 if module.residual else 1.0
            elif module.gate == "sigmoid":
                value = torch.logit(torch.rand(rows, 1), eps=1e-6)
            elif taps == 2:
                value = torch.rand(rows, 1)
                value = torch.cat([value, 1 - value], dim=1)
            else:
                value = torch.rand(rows, taps)
                value = value / value.sum(dim=1, keepdim=True)
            init.copy_(weight, value)


class KVShiftModel(KVShiftPreTrainedModel, LlamaModel):
    """The stack without a head."""

    def __init__(self, config: KVShiftConfig):
        KVShiftPreTrainedModel.__init__(self, config)  # and not LlamaModel's, whose layers would be made in vain
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(KVShiftDecoderLayer(config, n) for n in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.lags = config.shift_kernel_size - 1 if config.shift_targets else 0
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """As `LlamaModel.forward`. `position_ids` that restart at 0 begin a new document, in one row as well."""
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        self._refuse_other_caches(past_key_values, kwargs)
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        lags, keep = self.lags, None
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + seen).unsqueeze(0)
        elif lags and not (inputs_embeds.shape[1] == 1 and _all_beyond(position_ids, lags)):
            keep = position_ids[..., None] > torch.arange(lags, device=position_ids.device)
        if isinstance(attention_mask, dict):  # generate() makes them ahead for static caches
            causal, real = attention_mask.get("full_attention"), attention_mask.get("linear_attention")
        else:
            about: dict[str, Any] = {
                "config": self.config, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask,
                "past_key_values": past_key_values, "position_ids": position_ids,
            }  # fmt: skip
            causal, real = create_causal_mask(**about), create_recurrent_attention_mask(**about) if lags else None
        hidden_states = inputs_embeds
        position_embeddings = _signed(*self.rotary_emb(hidden_states, position_ids=position_ids))
        for layer in self.layers[: self.config.num_hidden_layers]:
            hidden_states = layer(
                hidden_states,
                attention_mask=causal,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=position_embeddings,
                shift_keep=keep,
                shift_real=real,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)

    def _refuse_other_caches(self, cache: Any, kwargs: dict) -> None:
        """Raise where a cache, or a backend that has its own, keeps no row of the position before."""
        if not self.lags:
            return
        backend = str(self.config._attn_implementation or "")
        if kwargs.get("cache") is not None or backend.startswith(OWN_CACHE):
            raise NotImplementedError(
                "KV shifting attention needs the key and value of the position before, which a backend with its own "
                f"cache (attention {backend!r}) does not keep between calls; generate() with transformers' caches does"
            )
        layers = getattr(cache, "layers", None)
        if cache is not None and not (layers and hasattr(layers[0], "conv_states")):
            raise ValueError(
                f"{type(cache).__name__} keeps no rows for KV shifting attention: make it with "
                "DynamicCache(config=model.config), or let generate() make it"
            )


def _all_beyond(position_ids: torch.Tensor, lags: int) -> bool:
    """True where no lag reaches beyond a document's start and it costs nothing to know that: on CPU, decoding."""
    if position_ids.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return min(position_ids.flatten().tolist()) >= lags  # fewer calls than min().item()


class KVShiftForCausalLM(KVShiftPreTrainedModel, LlamaForCausalLM):
    """The language model: `LlamaForCausalLM` on a `KVShiftModel`."""

    def __init__(self, config: KVShiftConfig):
        KVShiftPreTrainedModel.__init__(self, config)
        self.model = KVShiftModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


# What is saved carries its code: `from_pretrained(..., trust_remote_code=True)` works without this package.
KVShiftConfig.register_for_auto_class()
KVShiftModel.register_for_auto_class("AutoModel")
KVShiftForCausalLM.register_for_auto_class("AutoModelForCausalLM")

__all__ = ["KVShiftConfig", "KVShiftForCausalLM", "KVShiftModel", "KVShiftPreTrainedModel"]
