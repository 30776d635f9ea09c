"""At which points trainings are killed, and what must hold afterwards."""

from __future__ import annotations

KILLS = {
    "before_the_first_checkpoint": ["step:2"],
    "half_an_optimizer": ["torch_save:6"],
    "before_the_manifest": ["seal:2"],
    "after_the_manifest": ["sealed:2"],
    "between_checkpoints": ["step:6"],
    "while_publishing": ["publish:1"],
    "three_times": ["step:4", "seal:1", "torch_save:2"],
    "sigterm": ["sigterm:3"],
}


def check(case: dict, whole: dict) -> None:
    assert case["digest"] == whole["digest"] != ""
    for point, code in zip(case["points"], case["codes"], strict=False):
        assert code == (130 if point.startswith("sigterm") else -9)
