"""Arguments of trainer classes that MAET refuses, since they would undo or change its method."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hubwright.trainers.maet.config import LocateConfig


@pytest.mark.parametrize(
    ("config_class", "settings", "line"),
    [
        (LocateConfig, {"importance": "fisher", "trainer_args": {"optim": "adafactor"}}, "moves no weight"),
        (LocateConfig, {"accelerate_config": {"distributed_type": "FSDP", "num_processes": 2}}, "masks are of whole tensors"),
    ],
)  # fmt: skip
def test_argument_that_does_not_go_with_the_method_is_refused(
    config_class: type, settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        config_class(**settings)
