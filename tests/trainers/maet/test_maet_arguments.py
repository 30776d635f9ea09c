"""Arguments of trainer classes that MAET refuses, since they would undo or change its method."""

from __future__ import annotations

from argument_parts import assert_refused

from hubwright.trainers.maet.config import LocateConfig


def test_argument_that_does_not_go_with_masks_is_refused() -> None:
    assert_refused(LocateConfig, "moves no weight", importance="fisher", trainer_args={"optim": "adafactor"})
    sharded = {"distributed_type": "FSDP", "num_processes": 2}
    assert_refused(LocateConfig, "masks are of whole tensors", accelerate_config=sharded)
