"""Files as people have them: every one becomes rows, or is refused in one line that names file and remedy."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hubwright.builders._lib.context import local_context
from hubwright.builders.rows import RowsConfig, build
from hubwright.hub_sync.errors import DataError, UsageError

PAIR = {"question": "Where is it?", "answer": "Here."}
TURNS = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Here."}]
SHAREGPT = [{"from": "human", "value": "Where is it?"}, {"from": "gpt", "value": "Here."}]
CSV = b"question,answer\nWhere is it?,Here.\n"


def lines(*records: Any) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


TYPED = pa.table({
    "talk": pa.array([{"ask": "Where is it?", "reply": "Here."}]),
    "question": pa.array(["Where is it?"]).dictionary_encode(),
    "answer": pa.array(["Here."], pa.large_string()),
    "when": pa.array([datetime.datetime(2026, 1, 2)], pa.timestamp("ms")),
})  # fmt: skip

# File name, content, further settings; each makes the one conversation of TURNS.
READ: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "CSV": ("a.csv", CSV, {}),
    "CSV of Excel": ("a.csv", b"\xef\xbb\xbfquestion;answer\r\nWhere is it?;Here.\r\n", {}),
    "tabs": ("a.tsv", b"question\tanswer\nWhere is it?\tHere.\n", {}),
    "bars and blanks in the first line": ("a.csv", b"question | answer\nWhere is it?|Here.\n", {}),
    "a delimiter of its own": ("a.csv", b"question^answer\nWhere is it?^Here.\n", {"delimiter": "^"}),
    "blank lines": ("a.csv", b"question,answer\n\nWhere is it?,Here.\n\n", {}),
    "a quote after a blank": ("a.csv", b'question, answer, more\n"Where is it?", "Here.", "a, b"\n', {}),
    "commas in text behind semicolons": ("a.csv", b"question;answer;m\nWhere is it?;Here.;a, b, c, d\n", {}),
    "an index column without a name": ("a.csv", b",question,answer\n0,Where is it?,Here.\n", {}),
    "gzip": ("a.csv.gz", gzip.compress(CSV), {}),
    "bzip2": ("a.jsonl.bz2", bz2.compress(lines(PAIR)), {}),
    "xz": ("a.json.xz", lzma.compress(json.dumps([PAIR]).encode()), {}),
    "capitals in the suffix": ("A.CSV", CSV, {}),
    "JSON Lines with mark, blank lines and CR LF": ("a.jsonl", b"\xef\xbb\xbf\r\n" + lines(PAIR) + b"\r\n\r\n", {}),
    "a list": ("a.json", json.dumps([PAIR], indent=2).encode(), {}),
    "JSON without a suffix": ("rows", lines(PAIR), {}),
    "Parquet without a suffix": ("rows", parquet(TYPED), {}),
    "NaN in another column": ("a.jsonl", b'{"question": "Where is it?", "answer": "Here.", "score": NaN}', {}),
    "NaN in place of an input": ("a.jsonl", b'{"instruction": "Where is it?", "input": NaN, "output": "Here."}', {}),
    "Alpaca": ("a.jsonl", lines({"instruction": "Where is it?", "input": "", "output": "Here."}), {}),
    "Dolly": ("a.jsonl", lines({"instruction": "Where is it?", "context": "", "response": "Here."}), {}),
    "ShareGPT": ("a.json", json.dumps([{"conversations": SHAREGPT}]).encode(), {}),
    "turns as JSON text in CSV": (
        "a.csv", b'messages\n"' + json.dumps(TURNS).replace('"', '""').encode() + b'"\n', {}),
    "turns with keys and roles of their own": (
        "a.jsonl", lines({"log": {"turns": [{"who": "customer", "said": "Where is it?"}, {"who": "bot", "said": "Here."}]}}),
        {"columns": {"messages": "log.turns"}, "role_key": "who", "content_key": "said", "roles": {"customer": "user"}}),
    "turns with keys that no template reads": (
        "a.jsonl", lines({"messages": [turn | {"timestamp": 3} for turn in TURNS]}), {}),
    "dictionary and large strings": ("a.parquet", parquet(TYPED), {}),
    "columns within a struct": (
        "a.parquet", parquet(TYPED), {"columns": {"prompt": "talk.ask", "completion": "talk.reply"}}),
    "a column with a dot in its name": (
        "a.csv", b"q.text,a.text\nWhere is it?,Here.\n", {"columns": {"prompt": "q.text", "completion": "a.text"}}),
}  # fmt: skip

# File name, content, settings, and a part of the one line.
REFUSED: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "Windows' own encoding": ("a.csv", "question,answer\nWo?,Hier: natürlich\n".encode("cp1252"), {}, "byte 29 is not UTF-8; save the file as UTF-8 (iconv -f cp1252 -t utf-8"),
    "UTF-16": ("a.csv", CSV.decode().encode("utf-16"), {}, "byte 0 is not UTF-8"),
    "nothing": ("a.csv", b"", {}, "is empty"),
    "nothing in JSON Lines": ("a.jsonl", b"\n\n", {}, "has no records"),
    "a first line alone": ("a.csv", b"question,answer\n", {}, "has no records"),
    "no first line": ("a.csv", b"Where is it?,Here.\nWhy?,So.\n", {}, "no column is known to hold the messages or the prompt; it has Where is it?, Here."),
    "a quote that is not closed": ("a.csv", b'question,answer\n"Where is it?,Here.\nWhy?,So.\n', {}, "line 3 is not CSV"),
    "a quote within a cell": ("a.csv", b'question,answer\n"He said "no" twice",So.\n', {}, "line 2 is not CSV"),
    "quotes escaped by a backslash": ("a.csv", b'question,answer\n"He said \\"no\\"",So.\n', {}, "a quote inside it is doubled"),
    "a column twice": ("a.csv", b"question,answer,answer\na,b,c\n", {}, "names the column 'answer' twice"),
    "two delimiters": ("a.csv", b"question,answer;x\na,b;c\n", {}, "may both be its delimiter; set `delimiter`"),
    "HTML": ("a.csv", b"<!DOCTYPE html><html></html>", {}, "is a page of HTML"),
    "Excel": ("a.csv", b"PK\x03\x04" + bytes(30), {}, "is a zip archive"),
    "plain text": ("a.txt", b"Where is it?\n", {}, "uses: corpus"),
    "one object over several lines": ("a.json", json.dumps(PAIR, indent=2).encode(), {}, "line 1 is not JSON"),
    "an object of splits": ("a.json", json.dumps({"train": [PAIR]}).encode(), {}, "no column is known to hold the messages or the prompt; it has train"),
    "a misspelled column": ("a.csv", CSV, {"columns": {"completion": "anser"}}, "there is no column 'anser'; did you mean 'answer'?"),
    "a misspelled column to keep": ("a.csv", CSV, {"keep": ["starz"]}, "there is no column 'starz'; it has question, answer"),
    "two columns that may be meant": ("a.csv", b"question,answer,output\na,b,c\n", {}, "may both be the completion; say which by `columns: {completion: output}`"),
    "half a table": ("a.csv", b"question,stars\na,b\n", {}, "no column is known to hold the messages or the completion"),
    "answers that are all empty": ("a.csv", b"question,answer\na,\nb,\n", {}, "2 of 2 records are rejected (no text for the turn of role assistant: 2"),
    "commas without quotes": ("a.csv", b"question,answer\nWhere is it, now?,Here.\n", {}, "3 for 2"),
    "Python's lists in place of JSON": ("a.csv", b'messages\n"[{\'role\': \'user\'}]"\n', {}, "turns are text that is not JSON"),
    "roles of their own": ("a.jsonl", lines({"messages": [{"role": "customer", "content": "Hi"}]}), {}, "set `roles`"),
    "nobody answers": ("a.jsonl", lines({"messages": TURNS[:1]}), {}, "no turn of role assistant"),
    "a list of texts": ("a.json", b'["Where is it?"]', {}, "not an object"),
    "cut-off gzip": ("a.csv.gz", gzip.compress(CSV * 50)[:-20], {}, "cannot be unpacked"),
    "damaged Parquet": ("a.parquet", parquet(TYPED)[:-9], {}, "cannot be read as Parquet"),
    "half a surrogate": ("a.jsonl", b'{"question": "x \\ud83d", "answer": "y"}', {}, "half a surrogate pair"),
    "text of several lines in place of turns": ("a.jsonl", lines({"messages": "Hi\n\nHello" * 99}), {}, "turns are text that is not JSON: 1; the first is record 1: Hi Hello"),
    "a decimal number as answer": ("a.jsonl", lines(PAIR | {"answer": 0.1}), {}, "no text for the turn of role assistant"),
    "a licence that is none": ("a.csv", CSV, {"license_column": "answer"}, "a licence that is no licence id of the Hub"),
    "a split that is none": ("a.csv", CSV, {"split_column": "answer"}, "does not hold the name of a split"),
}  # fmt: skip


def made(path: Path, **settings: Any) -> Any:
    settings = {"format": "messages", "license": "mit"} | settings
    return build(RowsConfig(source=str(path), **settings), local_context())


@pytest.mark.parametrize("name", READ)
def test_rows_of_ordinary_file_become_the_conversation(tmp_path: Path, name: str) -> None:
    file, content, settings = READ[name]
    (tmp_path / file).write_bytes(content)
    (row,) = made(tmp_path / file, **settings)["train"]
    assert row["messages"] == TURNS and row["source"] == file


@pytest.mark.parametrize("name", REFUSED)
def test_rows_of_sloppy_file_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    file, content, settings, message = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises((DataError, UsageError)) as refused:
        made(tmp_path / file, **settings)
    assert message in str(refused.value) and file in str(refused.value)
    assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_csv_cells_stay_text_and_empty_ones_are_null(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer,code,note\n"a\nb","He said ""no""",007,\n1,2.50,1e5,x\n')
    built = made(tmp_path / "a.csv", format="prompt_completion", keep=["code", "note"])["train"]
    assert built.remove_columns(["id", "source"]).to_list() == [
        {"prompt": "a\nb", "completion": 'He said "no"', "code": "007", "note": None},
        {"prompt": "1", "completion": "2.50", "code": "1e5", "note": "x"},
    ]


def test_integers_of_json_become_text_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"question": "6 * 7", "answer": 42}))
    context = local_context()
    built = build(RowsConfig(source=str(tmp_path / "a.jsonl"), format="prompt_completion", license="mit"), context)
    assert built["train"][0]["completion"] == "42"
    (table,) = [one for one in context.report.tables if one["title"].startswith("What was changed")]
    assert table["rows"] == [["an integer read as text", 1]]


def test_kept_columns_have_the_types_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(TYPED))
    built = made(tmp_path / "a.parquet", keep=["when", "talk"])["train"]
    assert built.features["when"].dtype == "timestamp[ms]"
    assert built[0]["talk"] == {"ask": "Where is it?", "reply": "Here."}


def test_kept_value_of_another_type_is_rejected_and_not_rounded(tmp_path: Path) -> None:
    records = [
        PAIR | {"question": f"{n}?", "stars": n, "meta": {"n": n}, "log": [{"n": n}, {"m": None}]} for n in range(1001)
    ]
    (tmp_path / "a.jsonl").write_bytes(lines(*records, PAIR | {"stars": 1.5}, PAIR | {"stars": "5"}))
    context = local_context()
    config = RowsConfig(
        source=str(tmp_path / "a.jsonl"),
        format="text",
        license="mit",
        columns={"text": "question"},
        keep=("stars", "meta", "log"),
    )
    built = build(config, context)["train"]
    assert built["stars"] == list(range(1001)) and built[3]["meta"] == {"n": 3}
    assert built[3]["log"] == [{"n": 3}, {"m": None}]
    assert context.report.counts["rejected: column 'stars' is of another type than in the first rows"] == 2
    assert context.report.counts["records_read"] == 1003


def test_folder_of_mixed_files_is_read_in_order_by_the_splits_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    (folder / "train-1.csv").write_text("question,answer\na,b\n")
    (folder / "train-2.jsonl").write_text('{"prompt": "c", "completion": "d"}')
    (folder / "more" / "dev.parquet").write_bytes(parquet(pa.table({"instruction": ["e"], "output": ["f"]})))
    (folder / "test.csv").write_text("question,answer\na,b\ng,h\n")
    (folder / "README.md").write_text("Not rows.")
    (folder / ".hidden.csv").write_text("x")
    context = local_context()
    built = build(RowsConfig(source=str(folder), format="prompt_completion", license="mit"), context)
    prompts = {split: rows["prompt"][:] for split, rows in built.items()}
    # test.csv comes first, so that its duplicate in train-1.csv is the one that is left out.
    assert prompts == {"train": ["c"], "validation": ["e"], "test": ["a", "g"]}
    (section,) = [one["body"] for one in context.report.sections if one["title"] == "Sources"]
    assert section.count("sha256") == 4 and "passed over, since they are no tables: 2 of 6 files" in section
    assert {rows["source"][0] for rows in built.values()} == {"train-2.jsonl", "more/dev.parquet", "test.csv"}
    only = build(RowsConfig(source=str(folder), files="train-*", format="prompt_completion", license="mit"))
    assert set(only) == {"train"} and only["train"]["prompt"][:] == ["a", "c"]


def test_archive_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/one.csv", CSV)
        archive.writestr("data/two.jsonl", lines(PAIR | {"question": "Why?"}))
    built = made(tmp_path / "a.zip", files="data/*")["train"]
    assert built["source"][:] == ["data/one.csv", "data/two.jsonl"]
    with pytest.raises(UsageError, match="set `files` to a pattern"):
        made(tmp_path / "a.zip")


def test_labels_are_read_by_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    rows = Dataset.from_dict({"text": ["Nice.", "So so."], "label": [1, None]}, features=features)
    rows.to_parquet(str(tmp_path / "a.parquet"))
    settings = {"format": "prompt_completion", "columns": {"prompt": "text", "completion": "label"}, "keep": ["label"]}
    built = made(tmp_path / "a.parquet", max_rejected_share=0.5, **settings)["train"]
    assert built["completion"][:] == ["good"] and built.features["label"].names == ["bad", "good"]


def test_calls_in_structs_lose_the_keys_of_other_calls(tmp_path: Path) -> None:
    def talk(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        schema = {"type": "object", "properties": {key: {"type": "string"} for key in arguments}}
        tool = json.dumps({"type": "function", "function": {"name": name, "parameters": schema}})
        return {
            "log": {"turns": [TURNS[0], {"role": "assistant", "content": "", "tool_calls": [call]}]},
            "tools": f"[{tool}]",
        }

    table = pa.Table.from_pylist([talk("weather", {"city": "Rome"}), talk("pay", {"bill": "7"})])
    (tmp_path / "a.parquet").write_bytes(parquet(table))
    first, _ = made(tmp_path / "a.parquet", columns={"messages": "log.turns"})["train"]
    assert first["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}


def test_folder_without_a_table_is_refused_with_the_steps_that_read_it(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once.")
    (tmp_path / "b.docx").write_text("PK")
    with pytest.raises(UsageError, match=r"no file of it is CSV.*uses: corpus"):
        made(tmp_path)
