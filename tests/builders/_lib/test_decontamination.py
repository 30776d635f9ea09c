"""The requests of published test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest


@pytest.mark.parametrize("form", ["text", "parts", "from and value"])
def test_requests_of_test_set_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    """A test set whose requests are not seen would be trained on."""
    from hubwright.builders._lib.decontamination import requests

    turns: dict[str, Any] = {
        "text": [{"role": "user", "content": "Grass?"}, {"role": "assistant", "content": "Green."}],
        "parts": [{"role": "user", "content": [{"type": "text", "text": "Grass?"}]}],
        "from and value": [{"from": "human", "value": "Grass?"}, {"from": "gpt", "value": "Green."}],
    }
    datasets.Dataset.from_list([{"messages": turns[form]}]).to_parquet(str(tmp_path / "test.parquet"))
    assert [text for text, _ in requests(tmp_path, "me/test@1")] == ["Grass?"]


def test_requests_of_humaneval_are_its_prompts(tmp_path: Path) -> None:
    from hubwright.builders._lib.decontamination import requests

    row = {"task_id": "HumanEval/0", "prompt": "def one():\n", "canonical_solution": "    return 1\n"}
    datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / "test.parquet"))
    assert [text for text, _ in requests(tmp_path, "me/humaneval@1")] == ["def one():\n"]
