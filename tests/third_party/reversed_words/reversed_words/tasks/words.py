"""Rows and score of the task."""

from typing import Any


def load(dataset: str, **_: Any) -> Any:
    """The rows of the step's input `dataset`."""
    from datasets import load_dataset

    return load_dataset(dataset)


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 if the reply is the word in reverse."""
    return {"acc": float(results[0].strip() == doc["completion"].strip(" ."))}
