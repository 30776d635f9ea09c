"""Arguments of trainer classes that StepAgent refuses, since they would undo or change its method."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hubwright.trainers.stepagent.gigpo import GiGPOConfig
from hubwright.trainers.stepagent.inverse import InverseConfig


@pytest.mark.parametrize(
    ("config_class", "settings", "line"),
    [
        (GiGPOConfig, {"trainer_args": {"packing": True}}, "an episode's steps are trained on one by one"),
        (InverseConfig, {"trainer_args": {"use_vllm": True}}, "completions are drawn by this step"),
        (InverseConfig, {"trainer_args": {"log_completions_hub_repo": "me/x"}}, "is said by `publish:`"),
        (InverseConfig, {"lora": {}, "quantization": {"load_in_4bit": True}}, "reference would be another model"),
    ],
)  # fmt: skip
def test_argument_that_does_not_go_with_the_method_is_refused(
    config_class: type, settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        config_class(**settings)
