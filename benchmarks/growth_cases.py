"""The paths that `benchmarks.growth` measures: how an input of so many rows is written, and what is run on it."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
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


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def json_lines(make: Callable[[random.Random, int], Any]) -> Callable[[Path, int], None]:
    def write(folder: Path, rows: int) -> None:
        rng = random.Random(0)
        with (folder / "rows.jsonl").open("w") as stream:
            for number in range(rows):
                stream.write(json.dumps(make(rng, number)) + "\n")

    return write


def _alpaca(rng: random.Random, number: int) -> dict[str, str]:
    """About 1 kB."""
    return {"instruction": f"{number} {text(rng, 40)}", "input": "", "output": text(rng, 120)}


def chat(rng: random.Random, number: int) -> dict[str, Any]:
    row = _alpaca(rng, number)
    request = {"role": "user", "content": row["instruction"]}
    return {"messages": [request, {"role": "assistant", "content": row["output"]}]}


def _document(rng: random.Random, number: int) -> dict[str, str]:
    return {"text": f"{number} {text(rng, 160)}"}


def _calls(ending: bool) -> Callable[[random.Random, int], dict[str, Any]]:
    def make(rng: random.Random, number: int) -> dict[str, Any]:
        tool = {"name": f"f{number % 5000}", "description": text(rng, 8), "parameters": {
            "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}  # fmt: skip
        question = f"{text(rng, 20)} {ENDING if ending and number % 4 == 0 else ''}".strip()
        return {
            "tools": json.dumps([tool]),
            "conversations": [
                {"from": "human", "value": question},
                {"from": "function_call", "value": json.dumps({"name": tool["name"], "arguments": {"a": "b"}})},
                {"from": "observation", "value": json.dumps({"ok": number})},
                {"from": "gpt", "value": text(rng, 12)},
            ],
        }

    return make


def _write_gsm8k(folder: Path, rows: int) -> None:
    rng = random.Random(0)
    for name, share in (("train", 0.8), ("test", 0.2)):
        with (folder / f"{name}.jsonl").open("w") as stream:
            for number in range(int(rows * share)):
                question = f"{name} {number} {text(rng, 25)}. {ENDING}?"
                stream.write(json.dumps({"question": question, "answer": f"So many.\n#### {number}"}) + "\n")


def _build(
    module: str, config: str, settings: Callable[[Path], dict[str, Any]], **publish: Any
) -> Callable[[Path, int], None]:
    """A builder as the runner runs it: rows made, then Parquet written."""

    def run(folder: Path, rows: int) -> None:
        from importlib import import_module

        from hubwright.hub_sync.context import StepContext
        from hubwright.making import write_dataset

        package = import_module(f"hubwright.builders.{module}")
        (folder / "work").mkdir()
        context = StepContext(module, folder / "work", folder / "output")
        context.output.mkdir()
        made = package.build(getattr(package, config)(**settings(folder / "input")), context)
        write_dataset(made, context.output, **publish)

    return run


def _write_csv(folder: Path, rows: int) -> None:
    """Questions and answers of about 1 kB, some cells with line ends, commas and quotes."""
    rng = random.Random(0)
    with (folder / "rows.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["number", "question", "answer"])
        for number in range(rows):
            end = ', "so"\nthere' if number % 3 == 0 else ""
            table.writerow([f"{number:09d}", f"{number} {text(rng, 40)}{end}", text(rng, 120)])


def _rows(**more: Any) -> Callable[[Path], dict[str, Any]]:
    base = {"format": "messages", "license": "mit", "keep": ["number"], "splits": {"train": 0.9, "test": 0.1}}
    return lambda source: {"source": str(source / "rows.csv"), **base, **more}


def _rows_csv(deduplicate: str) -> Case:
    return Case(10_000, _write_csv, _build("rows.build", "RowsConfig", _rows(deduplicate=deduplicate), shard_mb=50))


def _url_table(rng: random.Random, number: int) -> dict[str, Any]:
    """A row of a table such as COYO's, about 0.2 kB; every second has a perceptual hash."""
    row = {"url": f"http://example.org/{number // 2}/{number}.jpg", "text": text(rng, 8), "width": 640, "height": 480}
    return row | {"image_phash": f"{rng.getrandbits(64):016x}" if number % 2 else None}


def _write_urls(folder: Path, rows: int) -> None:
    _write_parquet(folder / "rows.parquet", _url_table, rows)


def _write_pairs(folder: Path, rows: int) -> None:
    """Pairs as `image_text` publishes them without pixels, of the columns that signals of texts are read from."""

    def pair(rng: random.Random, number: int) -> dict[str, Any]:
        return {"id": f"{number:016x}", "text": text(rng, 8), "width": 640, "height": 480}

    (folder / "data").mkdir()
    _write_parquet(folder / "data" / "train.parquet", pair, rows)


def _write_parquet(path: Path, row: Callable[[random.Random, int], dict[str, Any]], rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, part = random.Random(0), 50_000
    writer = None
    for start in range(0, rows, part):
        table = pa.Table.from_pylist([row(rng, n) for n in range(start, min(rows, start + part))])
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=10_000)
    if writer:
        writer.close()


def _write_captions(folder: Path, rows: int) -> None:
    """Two captions for each image, as `image_text` publishes them without pixels."""
    import datasets

    from hubwright.builders.image_text.build import ImageTextConfig, features

    rng = random.Random(0)

    def make() -> Any:
        for n in range(rows):
            caption = f"Two {rng.choice(['red', 'blue', 'large'])} dogs near {text(rng, 6)} {n}."
            row: dict[str, Any] = dict.fromkeys(features(ImageTextConfig()))
            yield row | {"id": f"{n:016x}", "url": f"http://example.org/{n // 2}.jpg", "text": caption}

    (folder / "data").mkdir()
    columns = features(ImageTextConfig())
    data = datasets.Dataset.from_generator(make, features=columns, cache_dir=str(folder / "cache"))
    data.to_parquet(str(folder / "data" / "train.parquet"))


def _aitqe_samples(folder: Path, rows: int) -> None:
    from hubwright.builders import aitqe
    from hubwright.making import write_dataset

    context = context_of(folder, dataset=folder / "input" / "data")
    write_dataset(aitqe.build(aitqe.SamplesConfig(require_image=False), context), context.output)


def _image_text_signals(folder: Path, rows: int) -> None:
    from hubwright.builders import image_text_signals
    from hubwright.making import write_dataset

    context = context_of(folder, dataset=folder / "input" / "data")
    write_dataset(image_text_signals.build(image_text_signals.SignalsConfig(), context), context.output)


def _urls(source: Path) -> dict[str, Any]:
    splits = {"train": 0.9, "test": 0.1}
    return {"source": str(source / "rows.parquet"), "format": "table", "license": "mit", "splits": splits}


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


def _toolcalls_datasets(folder: Path, rows: int) -> None:
    """What a user of `datasets` does: read, parse the JSON columns, write Parquet; nothing is checked."""
    import datasets

    files = str(folder / "input" / "rows.jsonl")
    data = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(folder / "work"))
    roles = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}

    def convert(row: dict[str, Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for turn in row["conversations"]:
            message = {"role": roles[turn["from"]], "content": turn["value"]}
            if turn["from"] == "function_call":
                call = {"type": "function", "function": json.loads(turn["value"])}
                message |= {"content": "", "tool_calls": [call]}
            messages.append(message)
        tools = [{"type": "function", "function": tool} for tool in json.loads(row["tools"])]
        return {"messages": messages, "tools": tools}

    column = datasets.List(datasets.Json())
    features = datasets.Features({"messages": column, "tools": column})
    data = data.map(convert, remove_columns=data.column_names, features=features)
    (folder / "output").mkdir()
    data.to_parquet(str(folder / "output" / "train.parquet"))


def context_of(folder: Path, **inputs: Path) -> Any:
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    (folder / "work").mkdir()
    (folder / "output").mkdir()
    given = {
        role: Input(
            ArtifactRef("model" if role in ("model", "rewriter") else "dataset", f"org/{role}", "0" * 40), path
        )
        for role, path in inputs.items()
    }
    return StepContext("step", folder / "work", folder / "output", given)


def _write_parts(folder: Path, rows: int) -> None:
    for name in "ab":
        (folder / name).mkdir()
        json_lines(chat)(folder / name, rows // 2)


def _mix(folder: Path, rows: int) -> None:
    from hubwright.builders import mix
    from hubwright.making import write_dataset

    context = context_of(folder, part_a=folder / "input" / "a", part_b=folder / "input" / "b")
    write_dataset(mix.build(mix.MixConfig(), context), context.output)


def _write_domains(folder: Path, rows: int) -> None:
    for name in ("code", "law"):
        (folder / name).mkdir()
        json_lines(lambda rng, number, name=name: {"text": f"{name} {_document(rng, number)['text']}"})(
            folder / name, rows // 2
        )


def _versatune_mixture(folder: Path, rows: int) -> None:
    from hubwright.builders.versatune import mixture
    from hubwright.making import write_dataset

    context = context_of(folder, domain_code=folder / "input" / "code", domain_law=folder / "input" / "law")
    write_dataset(mixture.build(mixture.MixtureConfig(strategy="uniform"), context), context.output)


def _one_file(**more: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda source: {"sources": [{"source": str(source / "rows.jsonl")}], "license": "mit"} | more


def _messages(source: Path) -> dict[str, Any]:
    return {"source": str(source / "rows.jsonl"), "format": "messages", "license": "mit"}


def _corpus(source: Path) -> dict[str, Any]:
    return {"sources": [{"source": str(source / "rows.jsonl"), "format": "jsonl", "name": "x", "license": "mit"}]}


def _ability(source: Path) -> dict[str, Any]:
    return {"sources": [{"kind": "gsm8k", "source": str(source), "name": "x", "license": "mit"}]}


def _react(rng: random.Random, number: int) -> dict[str, Any]:
    """Five turns, about 1 kB."""
    turns = [text(rng, 20)]
    for _ in range(2):
        turns += [f"Thought: {text(rng, 20)}\nAction: search[{text(rng, 3)}]", f"Observation: {text(rng, 40)}"]
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]}


def _trajectories(folder: Path, rows: int) -> None:
    """Episodes on slippery ice, of about 16 steps, no two alike."""
    from hubwright.builders import agent_trajectories as builder
    from hubwright.making import write_dataset

    games = [{"game": "frozen_lake", "options": {"slippery": True}, "episodes": {"train": rows}}]
    config = builder.TrajectoriesConfig.model_validate({"games": games, "history": 0, "success_only": False})
    context = context_of(folder)
    write_dataset(builder.build(config, context), context.output)


_english = _one_file(language="en")
CASES: dict[str, Case] = {
    "rows": Case(10_000, json_lines(_alpaca), _build("rows.build", "RowsConfig", _messages)),
    "rows_csv": _rows_csv("exact"),
    "rows_csv_near": _rows_csv("near"),
    "image_text_urls": Case(10_000, _write_urls, _build("image_text.build", "ImageTextConfig", _urls)),
    "image_text_signals": Case(10_000, _write_pairs, _image_text_signals),
    "aitqe_samples": Case(10_000, _write_captions, _aitqe_samples),
    "peer_datasets": Case(10_000, json_lines(_alpaca), _peer_datasets),
    "corpus": Case(10_000, json_lines(_document), _build("corpus.build", "CorpusConfig", _corpus)),
    "toolcalls": Case(3_000, json_lines(_calls(False)), _build("toolcalls.build", "ToolCallsConfig", _english)),
    "toolcalls_shared": Case(3_000, json_lines(_calls(True)), _build("toolcalls.build", "ToolCallsConfig", _english)),
    "toolcalls_datasets": Case(3_000, json_lines(_calls(False)), _toolcalls_datasets),
    "ability_shared": Case(3_000, _write_gsm8k, _build("ability.build", "AbilityConfig", _ability)),
    "agent_trajectories": Case(100, lambda folder, rows: None, _trajectories),
    "agent_import": Case(
        3_000,
        json_lines(_react),
        _build("agent_trajectories.importer", "ImportConfig", _one_file(env="x", max_rejected_share=1.0)),
    ),
    "mix": Case(10_000, _write_parts, _mix),
    "versatune_mixture": Case(10_000, _write_domains, _versatune_mixture),
}
