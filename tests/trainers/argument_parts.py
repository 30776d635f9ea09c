"""Settings that a training method refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError


def assert_refused(config_class: type, line: str, **settings: Any) -> None:
    """The settings are refused with `line` in the message."""
    with pytest.raises(ValidationError, match=line):
        config_class(**settings)
