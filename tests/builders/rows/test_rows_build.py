"""Rows of one's own: formats, splits, duplicates, licences, images, a Hub data set, a killed run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from datasets import Dataset, DatasetDict, Features, Image, Value
from pydantic import ValidationError

from hubwright.builders._lib.context import local_context
from hubwright.builders._lib.near_duplicates import NearSet
from hubwright.builders.rows import RowsConfig, build
from hubwright.builders.rows.columns import find_columns
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.making import write_dataset

USER, ASSISTANT = {"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "Sunny."}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def run(path: Path, form: str, **settings: Any) -> tuple[DatasetDict, StepContext]:
    context = local_context()
    return build(RowsConfig(source=str(path), format=form, license="mit", **settings), context), context


def test_turns_are_plain_until_a_row_calls_functions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": [USER, ASSISTANT]})
    assert str(run(path, "messages")[0]["train"].features["messages"]).startswith("List({'role'")
    called = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": [TOOL]}
    path = write(tmp_path / "b.jsonl", {"messages": [USER, ASSISTANT]}, called)
    first, second = run(path, "messages")[0]["train"]
    assert first["messages"] == [USER, ASSISTANT] and first["tools"] is None
    assert second["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    assert second["tools"] == [TOOL]


def test_a_column_of_tools_and_of_system_texts_is_read(tmp_path: Path) -> None:
    record = {"conversations": [USER, ASSISTANT], "system": "Be brief.", "functions": json.dumps([TOOL])}
    (row,) = run(write(tmp_path / "a.jsonl", record), "messages")[0]["train"]
    assert row["messages"][0] == {"role": "system", "content": "Be brief."} and row["tools"] == [TOOL]


def test_alpaca_rows_have_history_input_and_system(tmp_path: Path) -> None:
    record = {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
        "system": "Be brief.",
        "history": [["Hi", "Hello"]],
    }
    (row,) = run(write(tmp_path / "a.jsonl", record), "messages")[0]["train"]
    assert [turn["content"] for turn in row["messages"]] == ["Be brief.", "Hi", "Hello", "Add.\n\n1 and 2", "3"]
    (row,) = run(
        write(tmp_path / "b.jsonl", {k: record[k] for k in ("instruction", "input", "output")}), "prompt_completion"
    )[0]["train"]
    assert (row["prompt"], row["completion"]) == ("Add.\n\n1 and 2", "3")


def test_questions_are_prompts_and_conversations_without_their_last_reply(tmp_path: Path) -> None:
    chats = [
        {"messages": [USER]},
        {"messages": [USER, ASSISTANT, USER, {"role": "assistant", "content": ""}]},
        {"messages": [{"role": "user", "content": "Rome?"}, {"role": "assistant", "tool_calls": [CALL]}]},
        {"messages": [ASSISTANT]},
        {"messages": [{"role": "system", "content": "Be brief."}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": None},
    ]
    splits, context = run(write(tmp_path / "a.jsonl", *chats), "questions", max_rejected_share=0.9)
    rows = [row["messages"] for row in splits["train"]]
    assert rows == [[USER], [USER, ASSISTANT, USER], [{"role": "user", "content": "Rome?"}]]
    assert sum(count for name, count in context.report.counts.items() if name.startswith("rejected: ")) == 4
    changes = next(table for table in context.report.tables if table["title"].startswith("What was changed"))
    assert ["the last reply left out", 2] in changes["rows"]


def test_questions_of_a_table_need_no_answers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer,topic\nWho?,Me.,a\nWho?,You.,a\n,None.,b\nWhere?,,b\n")
    splits, _ = run(tmp_path / "a.csv", "questions", keep=["topic", "answer"])
    assert [row["messages"][0]["content"] for row in splits["train"]] == ["Who?", "Where?"]
    assert [row["answer"] for row in splits["train"]] == ["Me.", None]
    with pytest.raises(DataError, match="no column is known to hold the messages or the prompt"):
        run(write(tmp_path / "b.jsonl", {"text": "Hi"}), "questions")


def test_preference_rows_of_turns_lose_the_prompt_that_they_repeat(tmp_path: Path) -> None:
    bad = {"role": "assistant", "content": "No idea."}
    record = {"prompt": "Weather?", "chosen": [USER, ASSISTANT], "rejected": [USER, bad], "score": 1.0}
    same = record | {"rejected": [USER, ASSISTANT]}
    built, context = run(write(tmp_path / "a.jsonl", record, same), "preference", max_rejected_share=0.5)
    (row,) = built["train"]
    assert (row["prompt"], row["chosen"], row["rejected"]) == ([USER], [ASSISTANT], [bad])
    assert context.report.counts["rejected: chosen and rejected are the same"] == 1


def test_plain_text_among_conversations_is_rejected(tmp_path: Path) -> None:
    records = [{"prompt": f"{n}?", "completion": "Yes."} for n in range(3)]
    path = write(tmp_path / "a.jsonl", *records, {"prompt": [USER], "completion": [ASSISTANT]})
    built, context = run(path, "prompt_completion")
    assert built["train"].features["prompt"] == Value("string") and len(built["train"]) == 3
    assert context.report.counts["rejected: a conversation among plain text"] == 1


def test_rows_with_the_same_prompt_are_in_one_split_and_stay_there(tmp_path: Path) -> None:
    records = [{"prompt": f"Question {n % 150}", "completion": f"Answer {n}"} for n in range(300)]
    shares = {"train": 0.8, "test": 0.2}
    built, context = run(write(tmp_path / "a.jsonl", *records, *records[:7]), "prompt_completion", splits=shares)
    prompts = {split: set(rows["prompt"]) for split, rows in built.items()}
    assert not prompts["train"] & prompts["test"] and 40 <= len(built["test"]) <= 80
    counts = context.report.counts
    assert counts["records_read"] == 307 == counts["records_rejected"] + counts["train_rows"] + counts["test_rows"]
    assert counts["rejected: duplicate"] == 7
    half, _ = run(
        write(tmp_path / "b.jsonl", *records[150:]), "prompt_completion", splits=dict(reversed(shares.items()))
    )
    assert set(half["test"]["prompt"]) == prompts["test"]


def test_splits_follow_a_column(tmp_path: Path) -> None:
    records = [{"text": "a", "part": "dev"}, {"text": "b", "part": "train"}, {"text": "a", "part": "train"}]
    built, _ = run(write(tmp_path / "a.jsonl", *records), "text", split_column="part")
    assert {split: rows["text"][:] for split, rows in built.items()} == {"train": ["b"], "dev": ["a"]}
    with pytest.raises(DataError, match="more than 20 splits"):
        run(
            write(tmp_path / "b.jsonl", *({"text": f"{n}", "part": f"p{n}"} for n in range(30))),
            "text",
            split_column="part",
        )


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row is left for split 'test' of 1 rows: raise its share 0\.01"):
        run(write(tmp_path / "a.jsonl", {"text": "a"}), "text", splits={"train": 0.99, "test": 0.01})


def test_duplicates_stay_if_wanted_and_near_ones_go_if_wanted(tmp_path: Path) -> None:
    text = " ".join(f"word{n}" for n in range(60))
    path = write(tmp_path / "a.jsonl", *({"text": one} for one in (text, text.upper() + "!", text, "Something else")))
    assert [len(run(path, "text", deduplicate=how)[0]["train"]) for how in (None, "exact", "near")] == [4, 3, 2]


def test_near_set_takes_what_differs_and_refuses_what_does_not(tmp_path: Path) -> None:
    texts = NearSet(tmp_path / "near")
    words = [f"word{n}" for n in range(200)]
    assert texts.add(" ".join(words)) and texts.add(" ".join(words[:80] + [f"x{n}" for n in range(120)]))
    assert not texts.add(" ".join([*words[:-2], "other", "end"])) and not texts.add(" ".join(words))


def test_max_rows_stops_the_reading(tmp_path: Path) -> None:
    built, context = run(write(tmp_path / "a.jsonl", *({"text": f"{n}"} for n in range(50))), "text", max_rows=5)
    assert built["train"]["text"][:] == list("01234") and context.report.counts["records_read"] == 5


def test_licence_of_a_row_is_read_as_the_hubs_id(tmp_path: Path) -> None:
    records = [{"text": "a", "rights": "CC BY-SA 4.0"}, {"text": "b", "rights": "Apache 2.0"}]
    built, _ = run(write(tmp_path / "a.jsonl", *records), "text", license_column="rights")
    assert built["train"]["license"][:] == ["cc-by-sa-4.0", "apache-2.0"]


def test_card_has_the_columns_and_the_reasons(tmp_path: Path) -> None:
    records = [{"question": "a" * 900, "answer": "b"}, {"question": "c", "answer": ""}]
    path = write(tmp_path / "a.jsonl", *records)
    built, context = run(path, "messages", max_rejected_share=0.5, splits={"train": 1.0})
    report = context.report
    check_columns("rows", built, report)
    assert report.summary.startswith("Rows in the format `messages`. Splits: by a hash of the prompt")
    assert report.columns == {
        "id": "16 hex digits of the SHA-256 of what the format makes",
        "messages": "turns with role and content, as chat templates take them; read from `question`, `answer`",
        "source": "file or data set of the row",
    }
    assert report.counts["rejected: no text for the turn of role assistant"] == 1 and report.card["license"] == "mit"


def image(color: str, size: tuple[int, int] = (4, 3)) -> bytes:
    from PIL import Image as Picture

    sink = io.BytesIO()
    Picture.new("RGB", size, color).save(sink, "PNG")
    return sink.getvalue()


def test_images_beside_a_table_are_published_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, content in {
        "a.png": image("red"),
        "b.png": image("blue"),
        "c.png": image("red"),
        "big.png": image("red", (90, 90)),
        "no.png": b"GIF, not really",
    }.items():
        (tmp_path / "pictures" / name).write_bytes(content)
    names = ["a.png", "b.png", "c.png", "big.png", "no.png", "absent.png", "../../etc/passwd", "/etc/passwd"]
    (tmp_path / "metadata.csv").write_text("file_name,caption\n" + "".join(f"pictures/{n},A picture\n" for n in names))
    built, context = run(tmp_path, "images", max_image_pixels=1000, max_rejected_share=0.7)
    rows = built["train"].cast_column("image", Image(decode=False))
    assert [row["image"] for row in rows] == [
        {"bytes": image("red"), "path": "a.png"},
        {"bytes": image("blue"), "path": "b.png"},
    ]
    assert rows["text"][0] == "A picture" and built["train"][0]["image"].size == (4, 3)
    reasons = {
        name.removeprefix("rejected: "): n for name, n in context.report.counts.items() if name.startswith("rejected")
    }
    assert reasons == {
        "an image above max_image_pixels 1000": 1,
        "duplicate": 1,
        "no such image file in the source": 3,
        "not an image that can be read": 1,
    }


def test_folder_of_images_alone_is_a_row_each(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("red"))
    (tmp_path / "b.PNG").write_bytes(image("blue"))
    built, _ = run(tmp_path, "images")
    assert len(built["train"]) == 2 and built["train"].column_names == ["id", "image", "source"]


def test_images_written_again_for_a_later_column_keep_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("red") + b"after the end")
    (tmp_path / "b.png").write_bytes(image("blue"))
    (tmp_path / "one.csv").write_text("file_name\na.png\n")
    (tmp_path / "two.csv").write_text("file_name,caption\nb.png,Blue\n")
    rows = run(tmp_path, "images")[0]["train"].cast_column("image", Image(decode=False))
    assert rows["text"][:] == [None, "Blue"]
    assert [row["image"]["bytes"] for row in rows] == [image("red") + b"after the end", image("blue")]


def test_images_in_parquet_are_read_without_decoding(tmp_path: Path) -> None:
    features = Features({"picture": Image(), "caption": Value("string")})
    rows = {"picture": [{"bytes": image("red"), "path": "a.png"}], "caption": ["Red"]}
    Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    built, _ = run(tmp_path / "a.parquet", "images", columns={"image": "picture"})
    assert built["train"][0]["image"].size == (4, 3) and built["train"][0]["text"] == "Red"


def test_hub_data_set_is_read_with_its_splits_and_types(tmp_path: Path) -> None:
    folder = tmp_path / "data set"
    features = {"question": ["a", "b"], "answer": ["c", "d"], "stars": [1, 2]}
    write_dataset(
        DatasetDict(
            {"train": Dataset.from_dict(features), "test": Dataset.from_dict({k: v[:1] for k, v in features.items()})}
        ),
        folder,
    )
    context = local_context(dataset=folder)
    built = build(RowsConfig(format="prompt_completion", keep=("stars",)), context)
    assert {split: rows["stars"][:] for split, rows in built.items()} == {"train": [1, 2]}
    assert context.report.counts["rejected: duplicate"] == 1 and "license" not in context.report.card
    one = build(RowsConfig(format="prompt_completion", split="test"), local_context(dataset=folder))
    assert {split: rows["prompt"][:] for split, rows in one.items()} == {"test": ["a"]}
    with pytest.raises(UsageError, match="rows come from `source` or from the input `dataset`: add one of them"):
        build(RowsConfig(format="text"))


def test_rerun_after_a_kill_writes_the_same_bytes(tmp_path: Path) -> None:
    records = [{"messages": [USER | {"content": f"{n}?"}, ASSISTANT]} for n in range(40)]
    weighted = {"messages": [USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT]}
    path = write(tmp_path / "a.jsonl", *records, weighted, *records[:3])
    shards = []
    for work in ("new", "killed"):
        context = StepContext("rows", tmp_path / work, tmp_path / f"{work}-out")
        config = RowsConfig(
            source=str(path), format="messages", license="mit", splits={"train": 0.7, "test": 0.3}, deduplicate="near"
        )
        if work == "killed":  # what a run that was stopped half-way leaves
            build(config.model_copy(update={"max_rows": 20, "splits": {}}), context)
        write_dataset(build(config, context), context.output)
        shards.append({file.name: file.read_bytes() for file in sorted(context.output.rglob("*.parquet"))})
    assert shards[0] == shards[1] and len(shards[0]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"promt": "x"}}, "format text has no 'promt'; known: text"),
        ({"format": "messages", "columns": {"mesages": "x"}}, "did you mean 'messages'"),
        ({"splits": {"train": 0.5}}, "the shares sum to 0.5"),
        ({"splits": {"my-split": 1.0}}, "'my-split' is not the name of a split"),
        ({"splits": {"train": 1.0}, "split_column": "x"}, "leave one out"),
        ({"keep": ["text"]}, "the column 'text' is one that format text makes"),
        ({"license": None}, "license is missing"),
        ({"source": "data/*.csv"}, r"write source: data and files: '\*\.csv'"),
        ({"split": "train"}, "of the input `dataset`"),
        ({"format": "images", "deduplicate": "near"}, "write exact for images"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RowsConfig.model_validate({"source": "a.csv", "format": "text", "license": "mit"} | settings)


def test_find_columns_prefers_turns_and_reads_input_beside_an_instruction_alone() -> None:
    assert find_columns("messages", {}, ["prompt", "messages", "system"]) == {
        "messages": "messages",
        "system": "system",
    }
    assert find_columns("prompt_completion", {}, ["input", "output"]) == {"prompt": "input", "completion": "output"}
    assert find_columns("prompt_completion", {}, ["question", "context", "answer"]) == {
        "prompt": "question",
        "completion": "answer",
    }
    assert find_columns(
        "messages", {"messages": None, "system": None}, ["messages", "system", "prompt", "answer"]
    ) == {"prompt": "prompt", "completion": "answer"}
    assert "input" in find_columns("messages", {}, ["instruction", "input", "output"])
