"""Answers to the embedded sample, for the tests of judging and the processes that they kill."""

from __future__ import annotations

from pathlib import Path

from hubwright.evals._lib.judging.cases import Case
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_dataset

SAMPLE = Path(scorer.__file__).with_name("sample.jsonl")


def answers(count: int = 8) -> list[Case]:
    samples = list(read_dataset(SAMPLE).values())[:count]
    return [sample.case(f"第二次回答 {number}") for number, sample in enumerate(samples)]
