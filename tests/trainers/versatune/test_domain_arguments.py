"""Arguments of trainer classes that VersaTune refuses, since they would undo or change its method."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hubwright.trainers.versatune.config import VersatuneSFTConfig


@pytest.mark.parametrize(
    ("config_class", "settings", "line"),
    [
        (VersatuneSFTConfig, {"trainer_args": {"train_sampling_strategy": "sequential"}}, "a resume has to find again"),
    ],
)  # fmt: skip
def test_argument_that_does_not_go_with_the_method_is_refused(
    config_class: type, settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        config_class(**settings)
