"""Arguments of trainer classes that VersaTune refuses, since they would undo or change its method."""

from __future__ import annotations

from argument_parts import assert_refused

from hubwright.trainers.versatune.config import VersatuneSFTConfig


def test_argument_that_changes_the_order_of_rows_is_refused() -> None:
    order = {"train_sampling_strategy": "sequential"}
    assert_refused(VersatuneSFTConfig, "a resume has to find again", trainer_args=order)
