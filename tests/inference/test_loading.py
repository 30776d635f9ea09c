"""Windows of models with scaled rotary embeddings; which repositories are adapters."""

from __future__ import annotations

from typing import Any

import pytest

from hubwright.hub_sync.adapters import holds_adapter
from hubwright.hub_sync.errors import UsageError
from hubwright.inference.loading import check_window


@pytest.mark.parametrize(
    ("scaling", "positions", "window"),
    [
        (None, 128, 128),
        # Qwen2.5's and Qwen3's cards: factor 4 over 32,768 positions is a window of 131,072.
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 32768, 131072),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072, 131072),
        # Llama 3.1's config.json: the factor is not the ratio of the two, and max_position_embeddings is the window.
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 8192},
            131072, 131072,
        ),
    ],
)  # fmt: skip
def test_check_window_with_scaled_positions_allows_the_scaled_window(
    scaling: dict[str, Any] | None, positions: int, window: int
) -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(max_position_embeddings=positions, rope_scaling=scaling)
    check_window([window], config, "org/model")
    with pytest.raises(UsageError, match=f"longer than the {window} positions of org/model: set max_length: {window}"):
        check_window([window + 1], config, "org/model")


@pytest.mark.parametrize(
    ("files", "is_adapter"),
    [
        (["adapter_config.json", "adapter_model.safetensors"], True),
        (["adapter_config.json", "adapter_model.safetensors", "config.json", "training_args.bin"], True),
        (["adapter_config.json", "adapter_model.bin", "config.json"], True),
        (["adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors"], False),
        (["adapter_config.json", "config.json", "model-00001-of-00002.safetensors"], False),
        (["adapter_config.json", "config.json", "pytorch_model.bin"], False),
        (["adapter_config.json", "adapter_model.safetensors", "checkpoint-1/model.safetensors"], True),
        (["config.json"], False),
    ],
)
def test_holds_adapter_tells_by_the_weights(files: list[str], is_adapter: bool) -> None:
    assert holds_adapter(files) is is_adapter
