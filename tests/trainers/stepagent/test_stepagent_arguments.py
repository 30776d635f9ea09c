"""Arguments of trainer classes that StepAgent refuses, since they would undo or change its method."""

from __future__ import annotations

from argument_parts import assert_refused

from hubwright.trainers.stepagent.gigpo import GiGPOConfig
from hubwright.trainers.stepagent.inverse import InverseConfig


def test_argument_that_does_not_go_with_step_advantages_is_refused() -> None:
    assert_refused(GiGPOConfig, "an episode's steps are trained on one by one", trainer_args={"packing": True})


def test_argument_that_does_not_go_with_drawn_completions_is_refused() -> None:
    assert_refused(InverseConfig, "completions are drawn by this step", trainer_args={"use_vllm": True})
    assert_refused(InverseConfig, "is said by `publish:`", trainer_args={"log_completions_hub_repo": "me/x"})
    assert_refused(InverseConfig, "reference would be another model", lora={}, quantization={"load_in_4bit": True})
