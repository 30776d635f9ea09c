"""The paths that `benchmarks.growth` measures: how an input of so many rows is written, and what is run on it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = [
    a + b for a in "ba ce di fo gu la me ni po ru sa te vi wo zu".split() for b in "ban cel dir fos gum lat".split()
]
ENDING = "How many of them are left in the end when all of this is over"


@dataclass(frozen=True)
class Case:
    """`write(folder, rows)` writes the input, `run(folder, rows)` reads `folder/input` and writes `folder/output`."""

    rows: int
    write: Callable[[Path, int], None]
    run: Callable[[Path, int], None]


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def _json_lines(make: Callable[[random.Random, int], Any]) -> Callable[[Path, int], None]:
    def write(folder: Path, rows: int) -> None:
        rng = random.Random(0)
        with (folder / "rows.jsonl").open("w") as stream:
            for number in range(rows):
                stream.write(json.dumps(make(rng, number)) + "\n")

    return write


def _alpaca(rng: random.Random, number: int) -> dict[str, str]:
    """About 1 kB."""
    return {"instruction": f"{number} {_text(rng, 40)}", "input": "", "output": _text(rng, 120)}


def _document(rng: random.Random, number: int) -> dict[str, str]:
    return {"text": f"{number} {_text(rng, 160)}"}


def _calls(ending: bool) -> Callable[[random.Random, int], dict[str, Any]]:
    def make(rng: random.Random, number: int) -> dict[str, Any]:
        tool = {"name": f"f{number % 5000}", "description": _text(rng, 8), "parameters": {
            "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}  # fmt: skip
        question = f"{_text(rng, 20)} {ENDING if ending and number % 4 == 0 else ''}".strip()
        return {
            "tools": json.dumps([tool]),
            "conversations": [
                {"from": "human", "value": question},
                {"from": "function_call", "value": json.dumps({"name": tool["name"], "arguments": {"a": "b"}})},
                {"from": "observation", "value": json.dumps({"ok": number})},
                {"from": "gpt", "value": _text(rng, 12)},
            ],
        }

    return make


def _write_gsm8k(folder: Path, rows: int) -> None:
    rng = random.Random(0)
    for name, share in (("train", 0.8), ("test", 0.2)):
        with (folder / f"{name}.jsonl").open("w") as stream:
            for number in range(int(rows * share)):
                question = f"{name} {number} {_text(rng, 25)}. {ENDING}?"
                stream.write(json.dumps({"question": question, "answer": f"So many.\n#### {number}"}) + "\n")


def _build(module: str, config: str, settings: Callable[[Path], dict[str, Any]]) -> Callable[[Path, int], None]:
    """A builder as the runner runs it: rows made, then Parquet written."""

    def run(folder: Path, rows: int) -> None:
        from importlib import import_module

        from hubwright.hub_sync.context import StepContext
        from hubwright.making import write_dataset

        package = import_module(f"hubwright.builders.{module}.build")
        (folder / "work").mkdir()
        context = StepContext(module, folder / "work", folder / "output")
        context.output.mkdir()
        write_dataset(package.build(getattr(package, config)(**settings(folder / "input")), context), context.output)

    return run


def _peer_datasets(folder: Path, rows: int) -> None:
    """What a user of `datasets` does with the same file: read, map, write Parquet."""
    import datasets

    files = str(folder / "input" / "rows.jsonl")
    data = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(folder / "work"))

    def messages(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["output"]},
            ]
        }

    data = data.map(messages, remove_columns=data.column_names)
    (folder / "output").mkdir()
    data.to_parquet(str(folder / "output" / "train.parquet"))


def _one_file(**more: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda source: {"sources": [{"source": str(source / "rows.jsonl")}], "license": "mit"} | more


def _corpus(source: Path) -> dict[str, Any]:
    return {"sources": [{"source": str(source / "rows.jsonl"), "format": "jsonl", "name": "x", "license": "mit"}]}


def _ability(source: Path) -> dict[str, Any]:
    return {"sources": [{"kind": "gsm8k", "source": str(source), "name": "x", "license": "mit"}]}


def rows_of(case: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The published rows of a case, to compare two versions."""
    import pyarrow.parquet as pq

    for path in sorted((folder / "output").rglob("*.parquet")):
        yield from pq.read_table(path).to_pylist()


_english = _one_file(language="en")
CASES: dict[str, Case] = {
    "instructions": Case(10_000, _json_lines(_alpaca), _build("instructions", "InstructionsConfig", _one_file())),
    "peer_datasets": Case(10_000, _json_lines(_alpaca), _peer_datasets),
    "corpus": Case(10_000, _json_lines(_document), _build("corpus", "CorpusConfig", _corpus)),
    "toolcalls": Case(3_000, _json_lines(_calls(False)), _build("toolcalls", "ToolCallsConfig", _english)),
    "toolcalls_shared": Case(3_000, _json_lines(_calls(True)), _build("toolcalls", "ToolCallsConfig", _english)),
    "ability_shared": Case(3_000, _write_gsm8k, _build("ability", "AbilityConfig", _ability)),
}
