"""Text corpora: every format, whole documents on one side, duplicates counted, sources named in one line when wrong."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hubwright.builders import local_context
from hubwright.builders._lib.overlap import Questions
from hubwright.builders.corpus import CorpusConfig, TextSource, build
from hubwright.builders.corpus.build import document_id, split_of
from hubwright.builders.corpus.read import documents
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

Row = dict[str, str]


def source(path: Path | str, format: str = "text", **more: Any) -> dict[str, Any]:
    return {"source": str(path), "format": format, "name": "plays", "license": "mit"} | more


def built(*sources: dict[str, Any], **settings: Any) -> tuple[dict[str, list[Row]], StepContext]:
    shares = {"min_chars": 1, "valid_share": 0, "test_share": 0}
    config = CorpusConfig.model_validate({"sources": list(sources)} | shares | settings)
    context = local_context()
    splits = build(config, context)
    check_columns("corpus", splits, context.report)
    return {name: list(rows) for name, rows in splits.items()}, context


def texts(*sources: dict[str, Any], **settings: Any) -> list[str]:
    return [row["text"] for row in built(*sources, **settings)[0]["train"]]


# Formats.


def test_text_by_blank_lines_lines_and_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne,\r\ntwo.\r\n \t\r\nThree.\r\n\r\n\r\nFour.\n".encode())
    assert texts(source(path)) == ["One,\ntwo.", "Three.", "Four."]
    assert texts(source(path, split_by="line")) == ["One,", "two.", "Three.", "Four."]
    assert texts(source(path, split_by="file")) == ["One,\ntwo.\n \t\nThree.\n\n\nFour."]


def test_wikitext_by_articles(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.tokens"
    lines = [
        " ",
        " = A = ",
        " ",
        " Text of a . ",
        " = x = ",
        " = = Part = = ",
        " ",
        " More . ",
        " ",
        " = B ( b ) = ",
        " ",
        " b . ",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # ` = x = ` stands behind a line of text, so it is no title.
    assert texts(source(path, "wikitext")) == [
        "= A = \n \n Text of a . \n = x = \n = = Part = = \n \n More .",
        "= B ( b ) = \n \n b .",
    ]


def test_json_lists_objects_and_lines(tmp_path: Path) -> None:
    records = [{"title": "A", "extract": "Text of A."}, {"title": "B", "extract": " Text of B. "}]
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "object.json").write_text(json.dumps({r["title"]: r for r in records}))
    (tmp_path / "plain.json").write_text(json.dumps(["Text of A.", "Text of B."]))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n\n")
    expected = ["Text of A.", "Text of B."]
    assert texts(source(tmp_path / "list.json", "json", field="extract")) == expected
    assert texts(source(tmp_path / "object.json", "json", field="extract")) == expected
    assert texts(source(tmp_path / "plain.json", "json")) == expected
    assert texts(source(tmp_path / "lines.jsonl", "jsonl", field="extract")) == expected


def test_documents_with_half_a_surrogate_pair_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One \\ud83d."}\n{"text": "Two \\ud83d\\ude00."}\n', encoding="utf-8")
    splits, context = built(source(path, "jsonl"))
    assert [row["text"] for row in splits["train"]] == ["Two \U0001f600."]
    counts = context.report.counts
    assert counts["records_read"] == counts["records_rejected"] + counts["train_rows"] == 2
    ((_, reason, rejected),) = context.report.tables[1]["rows"]
    assert "half a surrogate pair" in reason and rejected == 1


def test_parquet(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a b", "c d"], "n": [1, 2]}).to_parquet(tmp_path / "t.parquet")
    assert texts(source(tmp_path / "t.parquet", "parquet")) == ["a b", "c d"]
    with pytest.raises(DataError, match=r"t\.parquet: there is no column 'body'; it has text, n; set `field`"):
        built(source(tmp_path / "t.parquet", "parquet", field="body"))
    with pytest.raises(DataError, match=r"t\.parquet: row 1: column 'n' holds no text; set `field`"):
        built(source(tmp_path / "t.parquet", "parquet", field="n"))


def test_folders_and_archives_by_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "deep"
    folder.mkdir(parents=True)
    for name in ("b", "a", "c"):
        (folder / f"{name}.txt").write_text(f"Text of {name}.")
    (folder / "notes.md").write_text("No text.")
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"some/data/{path.name}")
        archive.writestr("../outside.txt", "Text of nowhere.")
    expected = ["Text of a.", "Text of b.", "Text of c."]
    assert texts(source(tmp_path / "set", files="*.txt")) == expected
    assert texts(source(wheel, files="some/data/*.txt")) == expected
    assert texts(source(wheel, files="*/[ab].txt")) == expected[:2]
    assert not list(tmp_path.rglob("outside.txt")), "nothing is unpacked"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    _, context = built(source(wheel, files="*.txt", expect_sha256=digest))
    assert digest in context.report.sections[0]["body"] and str(tmp_path) not in json.dumps(vars(context.report))


def test_a_data_set_on_the_hub(api: Any, namespace: str, tmp_path: Path) -> None:
    repo = f"{namespace}/texts"
    api.create_repo(repo, repo_type="dataset")
    for name in ("one", "two"):
        api.upload_file(
            path_or_fileobj=f"Text of {name}.".encode(),
            path_in_repo=f"raw/{name}.txt",
            repo_id=repo,
            repo_type="dataset",
        )
    commit = api.repo_info(repo, repo_type="dataset").sha
    splits, context = built(source(f"{repo}@{commit}", files="raw/*.txt"))
    assert [row["text"] for row in splits["train"]] == ["Text of one.", "Text of two."]
    assert f"{repo}@{commit}" in context.report.sections[0]["body"]


# Splits and duplicates.


def test_documents_are_whole_once_and_on_one_side(tmp_path: Path) -> None:
    lines = [f"Document number {i} with some words." for i in range(400)]
    (tmp_path / "a.txt").write_text("\n".join(lines + lines[:30] + ["short"]))
    (tmp_path / "b.txt").write_text("\n".join([*lines[390:], "Only in the second source, this one."]))
    both = (source(tmp_path / "a.txt", split_by="line"), source(tmp_path / "b.txt", split_by="line", name="others"))
    splits, context = built(*both, min_chars=20, valid_share=0.1, test_share=0.2)
    assert list(splits) == ["train", "validation", "test"]
    kept = [row for rows in splits.values() for row in rows]
    assert sorted(row["text"] for row in kept) == sorted([*lines, "Only in the second source, this one."])
    counts = context.report.counts
    reasons = ("rejected: fewer than 20 characters", "rejected: duplicate")
    assert (counts["records_read"], *(counts[reason] for reason in reasons)) == (442, 1, 40)
    assert sum(len(rows) for rows in splits.values()) == 401 == 442 - 1 - 40
    sides = [{row["id"] for row in rows} for rows in splits.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert 50 < len(splits["test"]) < 110 and 20 < len(splits["validation"]) < 65
    assert all(row["id"] == document_id(row["text"]) and row["license"] == "mit" for row in kept)
    assert {row["source"] for row in kept} == {"plays", "others"}
    assert ["others", "duplicate", 10] in context.report.tables[1]["rows"]
    # Kept duplicates stay on the side of their text.
    again, _ = built(*both, min_chars=20, valid_share=0.1, test_share=0.2, dedup="none")
    assert sum(map(len, again.values())) == 441
    assert [{row["id"] for row in rows} for rows in again.values()] == sides


@given(st.text(min_size=1), st.integers(0, 99))
def test_the_side_of_a_document_depends_on_its_text_alone(text: str, seed: int) -> None:
    given_source = source("x.txt")
    small = CorpusConfig.model_validate({"sources": [given_source], "seed": seed})
    large = CorpusConfig.model_validate({"sources": [given_source, given_source | {"name": "b"}], "seed": seed})
    assert split_of(document_id(text), small) == split_of(document_id(text), large)


@given(st.binary(max_size=80), st.sampled_from(["text", "wikitext", "json", "jsonl", "parquet"]))
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes, format: str) -> None:
    try:
        for text in documents(TextSource.model_validate(source("x", format)), "x", io.BytesIO(data)):
            assert text == text.strip() != ""
    except DataError as error:
        assert str(error).startswith("x") and "\n" not in str(error)


# Licences and settings.


def test_licence_and_languages_are_on_the_card(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Text.")
    _, context = built(source(tmp_path / "a.txt", language="fr", license="cc-by-sa-4.0"))
    card = context.report.card
    assert (card["license"], card["language"], card["task_ids"]) == ("cc-by-sa-4.0", ["fr"], ["language-modeling"])
    both = (source(tmp_path / "a.txt"), source(tmp_path / "a.txt", name="b", license="cc-by-sa-4.0"))
    _, context = built(*both, license="cc-by-sa-4.0")
    assert context.report.card["license"] == "cc-by-sa-4.0"


@pytest.mark.parametrize(
    ("sources", "settings", "said"),
    [
        ([source("a", split_by="line", format="json")], {}, "split_by 'line' does nothing for format json; leave it out"),
        ([source("a", field="x")], {}, "field 'x' does nothing for format text; leave it out"),
        ([source("a", license="mit"), source("a", name="b", license="cc-by-4.0")], {},
         "the sources' licences differ (cc-by-4.0, mit); set license to that of the whole"),
        ([source("a"), source("b")], {}, "sources has the name 'plays' twice; give each source a name of its own"),
        ([source("a")], {"valid_share": 0.5, "test_share": 0.5}, "leave nothing to train on; lower one"),
        ([], {}, "at least 1 item"),
    ],
)  # fmt: skip
def test_bad_settings_name_field_value_and_remedy(sources: list[Any], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CorpusConfig.model_validate({"sources": sources} | settings)
    message = caught.value.errors()[0]["msg"]
    assert said in message and "\n" not in message


def test_bad_sources_are_one_line(tmp_path: Path) -> None:
    text, wheel, folder = tmp_path / "a.txt", tmp_path / "a.whl", tmp_path / "folder"
    text.write_text("Text.")
    wheel.write_bytes(b"no archive")
    folder.mkdir()
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"title": 1}\n')
    (tmp_path / "bad.json").write_text('"a"')
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (source(tmp_path / "none.txt"), UsageError, "no such file or folder"),
        (source(folder), UsageError, "source folder: set `files` to a pattern"),
        (source(folder, files="*.txt"), UsageError, r"source folder: no file fits files '\*\.txt'"),
        (source(folder, files="*", expect_sha256="0" * 64), UsageError, "expect_sha256 is for one file"),
        (source(text, files="*"), UsageError, r"source a\.txt: is one file; leave out files"),
        (source(text, expect_sha256="0" * 64), DataError, r"a\.txt: sha256 is [0-9a-f]{64}, expected 0{64}"),
        (source(wheel), UsageError, r"source a\.whl: is an archive; set `files`"),
        (source(wheel, files="*"), DataError, r"a\.whl: cannot be read as an archive"),
        (source(latin), DataError, r"latin\.txt: byte 3 is not UTF-8"),
        (source(tmp_path / "bad.jsonl", "jsonl"), DataError, "line 2: field 'text' holds no text; it has title; set `field`"),
        (source(tmp_path / "bad.json", "json"), DataError, "neither a list nor an object"),
    ]  # fmt: skip
    for given_source, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            built(given_source)
        assert "\n" not in str(caught.value) and (str(tmp_path) not in str(caught.value) or error is UsageError)
    with pytest.raises(DataError, match=r"no document is left for the train split of 1 read: .*min_chars \(100\)"):
        built(source(text), min_chars=100)
    with pytest.raises(DataError, match=r"for the test split of 1 read: .* change test_share"):
        built(source(text), test_share=0.00001)


def test_public_texts_have_their_known_numbers_of_documents(shared_data: Path) -> None:
    """WikiText-2's validation and test parts have 60 articles each."""
    wikitext = shared_data / "pytorch" / "examples" / "word_language_model" / "data" / "wikitext-2"
    for name in ("valid.txt", "test.txt"):
        assert len(texts(source(wikitext / name, "wikitext"))) == 60
    plays = shared_data / "karpathy" / "char-rnn" / "data" / "tinyshakespeare" / "input.txt"
    assert texts(source(plays))[0] == "First Citizen:\nBefore we proceed any further, hear me speak."


# Tests kept out.


def test_no_document_holds_a_question_of_a_test(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    long = "If a train leaves at nine and needs two hours and a half, when is it there?"
    short, tiny = "How many legs has a spider?", "Who was that?"
    (tmp_path / "tests" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"question": [long, short, tiny]}), tmp_path / "tests" / "data" / "test.parquet")
    kept = ["A train leaves at nine, needs two hours and is there at eleven.", "Who was that? Nobody knows who was that.",
            "How many legs a spider has, the book says."]  # fmt: skip
    out = [f"He asked: {long.upper()} Nobody knew.", "So it leaves at nine and needs two\nhours and a half when is it",
           "Well, how many legs - has a spider?"]  # fmt: skip
    (tmp_path / "texts.txt").write_text("\n\n".join([*out, *kept]))
    given = Input(ArtifactRef("dataset", "me/tests", "a" * 40), tmp_path / "tests")
    settings = {"min_chars": 1, "valid_share": 0, "test_share": 0}
    config = CorpusConfig.model_validate({"sources": [source(tmp_path / "texts.txt")]} | settings)
    context = StepContext("c", tmp_path, tmp_path, {"decontaminate_against_tests": given})
    assert build(config, context)["train"]["text"] == kept
    assert context.report.counts["records_rejected"] == len(out)
    assert "me/tests" in context.report.tables[0]["note"]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=12))
def test_shared_runs_are_those_of_a_search_by_hand(text: list[str], question: list[str]) -> None:
    length = 6
    held = Questions(length)
    held.add(" ".join(question))
    runs = [question[i : i + length] for i in range(max(1, len(question) - length + 1))]
    wanted = any(
        text[i : i + len(run)] == run
        for run in runs
        if 2 * len(run) >= length
        for i in range(len(text) - len(run) + 1)
    )
    assert held.within(" ".join(text)) == wanted
