"""What the shared reader of turns makes of calls (its other forms: tests/trainers/_lib/test_rows.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hubwright.inference.conversations import read_messages


@pytest.mark.parametrize("given", [{"city": "Rome"}, json.dumps({"city": "Rome"})])
def test_read_messages_arguments_called_parameters_are_not_lost(given: Any) -> None:
    """Llama 3's form of a call, `{"name": ..., "parameters": {...}}`: its arguments must not become {}."""
    call = {"type": "function", "function": {"name": "f", "parameters": given}}
    (turn,) = read_messages([{"role": "assistant", "content": None, "tool_calls": [call]}], [])
    assert turn["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {"city": "Rome"}}}]
