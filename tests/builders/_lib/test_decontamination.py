"""The requests of published test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from hubwright.hub_sync.errors import DataError


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


def test_requests_of_mbpp_are_its_texts(tmp_path: Path) -> None:
    from hubwright.builders._lib.decontamination import requests

    row = {
        "task_id": 11,
        "text": "Write a function that adds.",
        "code": "def add(a, b): ...",
        "test_list": ["assert 1"],
    }
    datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / "test.parquet"))
    assert list(requests(tmp_path, "me/mbpp@1")) == [("Write a function that adds.", "test:0")]


@pytest.mark.parametrize("column", ["question", "prompt", "input"])
def test_texts_are_read_only_without_a_column_of_requests(tmp_path: Path, column: str) -> None:
    """Rows of `ability` have both: the text holds the answer as well."""
    from hubwright.builders._lib.decontamination import requests

    datasets.Dataset.from_list([{"text": "Q: Grass?\nA: Green.", column: "Grass?"}]).to_parquet(
        str(tmp_path / "test.parquet")
    )
    assert [text for text, _ in requests(tmp_path, "me/test@1")] == ["Grass?"]


def test_test_set_without_a_column_of_requests_is_refused(tmp_path: Path) -> None:
    from hubwright.builders._lib.decontamination import requests

    datasets.Dataset.from_list([{"instruction": "Grass?"}]).to_parquet(str(tmp_path / "test.parquet"))
    with pytest.raises(DataError, match=r"me/test@1: no file has a column of requests \(query, .*, prompt, text\)"):
        list(requests(tmp_path, "me/test@1"))
