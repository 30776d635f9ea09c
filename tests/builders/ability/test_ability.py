"""Ability corpora: every kind by hand, what is rejected and why, nothing of a test in training, and the real files."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hubwright.builders._lib.splits import connected_components
from hubwright.builders.ability import AbilityConfig, AbilitySource, build
from hubwright.builders.ability.clean import SAME, Item, clean
from hubwright.builders.ability.convert import convert, number, training_text
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, RowRejected, UsageError
from hubwright.recipe import shipped_recipes

RECIPE = shipped_recipes()["ability"]
FOLDERS = {  # below the folder of public raw data
    "gsm8k": "openai/grade-school-math/grade_school_math/data",
    "mgsm": "google-research/url-nlp/mgsm",
    "msvamp": "nuochenpku/MathOctopus/step1_supervised_finetuning/data/msvamp",
    "exams": "mhardalov/exams-qa/data/exams/multilingual",
    "arc": "anchen1011/FireAct/data/mmlu/train",
}
COLUMNS = ["id", "ability", "language", "source", "question", "choices", "answer", "solution", "text"]

GSM8K = [
    {"question": "Ann has 2 pens. How many has she?", "answer": "She has <<1+1=2>>2.\n#### 2"},
    {"question": "Bob walks 1,000 miles a day for 3 days. How far is that?", "answer": "3*1,000=<<3*1000=3000>>3,000\n#### 3,000"},
]  # fmt: skip
SHARED = {"question": "A duck lays 16 eggs a day and Jo eats 3. How many are left?", "answer": "16-3=13\n#### 13"}
MGSM = {
    "en": [(SHARED["question"], "13"), ("How many is 2,000 and 125?", "2,125")],
    "es": [("Una pata pone 16 huevos al día y Jo come 3. ¿Cuántos quedan?", "13"), ("¿Cuánto es 2 000 y 125?", "2,125")],
}  # fmt: skip
STORIES = [f"julia has {n} {thing} . she gives {m} to tom . how many {thing} has she now ?" for n, m, thing in (
    (5, 2, "red apples"), (9, 4, "old coins"), (8, 1, "good friends"), (7, 3, "blue kites"),
)]  # fmt: skip
MSVAMP = {
    "English": [{"m_query": story, "equation": "- number0 number1", "response": f"{n}.0"} for n, story in enumerate(STORIES)],
    "German": [
        {"query": story, "equation": "- number0 number1", "response": f"{n}.0", "m_query": f"Aufgabe {n}: {word} Äpfel?"}
        for n, (story, word) in enumerate(zip(STORIES, ("rote", "alte", "gute", "blaue"), strict=True))
    ],
}  # fmt: skip


def exam(
    id_: str, stem: str, *choices: str, answer: str = "A", language: str = "German", subject: str = "Biology"
) -> Any:
    lettered = [{"text": text, "label": label} for text, label in zip(choices, "ABCDE", strict=False)]
    info = {"grade": 12, "subject": subject, "language": language}
    return {"id": id_, "question": {"stem": stem, "choices": lettered}, "answerKey": answer, "info": info}


EXAMS = {
    "train": [
        exam("t0", "Was ist eine Zelle?", "Baustein", "Stein", answer="A"),
        exam("t1", "Welche Aussage ist richtig?", "Wasser siedet bei hundert Grad", "Wasser siedet nie"),
        exam("t2", "Što je stanica?", "građa", "kamen", language="Croatian"),
        exam("t3", "Wer war Cäsar?", "Feldherr", "Maler", subject="History"),
    ],
    "dev": [exam("d0", "Was ist ein Atom?", "klein", "groß", answer="A")],
    "test": [
        exam("e0", "Wie viele Beine hat eine Spinne?", "acht", "sechs", "vier", answer="A"),
        exam("e1", "Welche Aussage ist falsch?", "Wasser siedet bei hundert Grad", "Wasser siedet nie", answer="B"),
    ],
}


def lines(records: list[Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def packed(name: str, data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def written(folder: Path, kind: str, **changed: bytes) -> dict[str, Any]:
    """The files of one kind of source in `folder`; a source for `AbilitySource`."""
    files: dict[str, bytes] = {
        "gsm8k": {"train.jsonl": lines([*GSM8K, SHARED]), "test.jsonl": lines([SHARED])},
        "mgsm": {f"mgsm_{k}.tsv": "".join(f"{q}\t{a}\n" for q, a in v).encode() for k, v in MGSM.items()},
        "msvamp": {f"test_{language}.json": lines(records) for language, records in MSVAMP.items()},
        "exams": {f"{s}.jsonl.tar.gz": packed(f"{s}.jsonl", lines(records)) for s, records in EXAMS.items()},
        "arc": {
            "arc_easy.csv": b'What is ice?,"water, frozen",fire,air,stone,A\nWhat falls?,rain,a star,a cloud,a hill,A\n',
            "arc_hard.csv": b"What burns?,wood,water,stone,sand,A\n",
        },
    }[kind]  # fmt: skip
    path = folder / kind
    path.mkdir(parents=True, exist_ok=True)
    for name, data in (files | changed).items():
        (path / name).write_bytes(data)
    more = {"mgsm": {"languages": ("en", "es")}, "msvamp": {"languages": ("de", "en")}}.get(kind, {})
    return {"kind": kind, "source": str(path), "name": kind.upper(), "license": "mit"} | more


def built(*sources: dict[str, Any], **settings: Any) -> tuple[dict[str, Any], Any]:
    config = AbilityConfig.model_validate({"sources": list(sources)} | settings)
    context = StepContext("ability", Path(), Path())
    return build(config, context), context.report


def sizes(made: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: {split: len(rows) for split, rows in splits.items()} for name, splits in made.items()}


# Every kind by hand.


def test_gsm8k_rows_without_the_calculators_notes(tmp_path: Path) -> None:
    made, report = built(written(tmp_path, "gsm8k"))
    first, second = made["gsm8k_en"]["train"]
    assert made["gsm8k_en"]["train"].column_names == COLUMNS
    assert first == {
        "id": "gsm8k-train-1", "ability": "math", "language": "en", "source": "GSM8K",
        "question": "Ann has 2 pens. How many has she?", "choices": [], "answer": "2", "solution": "She has 2.",
        "text": "Question: Ann has 2 pens. How many has she?\nAnswer: She has 2.\n#### 2",
    }  # fmt: skip
    assert (second["answer"], second["solution"]) == ("3000", "3*1,000=3,000")
    # The third line of the train file is the test's question.
    assert sizes(made) == {"gsm8k_en": {"train": 2, "test": 1}} and report.counts["left_out_same question"] == 1


def test_mgsm_is_a_test_of_every_config(tmp_path: Path) -> None:
    gsm8k = written(tmp_path, "gsm8k", **{"test.jsonl": lines([GSM8K[0] | {"question": "Something else, 1 and 2?"}])})
    made, _ = built(gsm8k, written(tmp_path, "mgsm"))
    assert sizes(made) == {"gsm8k_en": {"train": 2, "test": 1}, "mgsm_en": {"test": 2}, "mgsm_es": {"test": 2}}
    row = made["mgsm_es"]["test"][1]
    assert (row["id"], row["answer"], row["solution"]) == ("mgsm-es-2", "2125", "")
    assert row["text"] == "Question: ¿Cuánto es 2 000 y 125?\nAnswer: 2125"


def test_a_problem_of_msvamp_is_on_one_side_in_all_languages(tmp_path: Path) -> None:
    source = written(tmp_path, "msvamp")
    sides = []
    for seed in range(6):
        made, _ = built(source, seed=seed, near=None)
        split = {
            name: {s: {row["id"].rpartition("-")[2] for row in rows} for s, rows in splits.items()}
            for name, splits in made.items()
        }
        assert split["msvamp_de"] == split["msvamp_en"] and not set.intersection(*split["msvamp_en"].values()) - {""}
        assert sum(len(ids) for ids in split["msvamp_en"].values()) == 4
        sides.append(json.dumps(split, default=sorted))
        # Neither the other language nor the other sources move it.
        alone, _ = built(source | {"languages": ("de",)}, written(tmp_path, "arc"), seed=seed, near=None)
        assert {s: set(rows["id"]) for s, rows in alone["msvamp_de"].items()} == {
            s: set(rows["id"]) for s, rows in made["msvamp_de"].items()
        }
    assert len(set(sides)) > 1
    assert sizes(built(source, msvamp_train_share=1)[0])["msvamp_de"] == {"train": 4}
    assert sizes(built(source, msvamp_train_share=0)[0])["msvamp_de"] == {"test": 4}


def test_what_is_left_out_in_one_language_is_left_out_in_all(tmp_path: Path) -> None:
    """A story told again with other numbers goes, and its translation, which resembles nothing, goes with it."""
    story = "julia played tag with {} kids on monday and with {} kids on tuesday . how many kids did she play with ?"
    english = [{"m_query": story.format(n, 2 * n), "response": f"{3 * n}.0"} for n in range(10, 18)]
    german = [r | {"query": r["m_query"], "m_query": f"{chr(97 + n) * 5} ?"} for n, r in enumerate(english)]
    files = {"test_English.json": lines(english), "test_German.json": lines(german)}
    made, report = built(written(tmp_path, "msvamp", **files))
    tests = len(made["msvamp_en"]["test"])
    assert 0 < tests < 8 and sizes(made) == {"msvamp_de": {"test": tests}, "msvamp_en": {"test": tests}}
    assert (
        report.counts["left_out_nearly the same"] == report.counts["left_out_translation of one left out"] == 8 - tests
    )
    made, report = built(written(tmp_path, "msvamp", **files), near=None)
    assert sizes(made)["msvamp_en"] == {"train": 8 - tests, "test": tests}


def test_exams_by_language_with_its_choices_lettered(tmp_path: Path) -> None:
    made, report = built(written(tmp_path, "exams"))
    assert sizes(made) == {"exams_de": {"train": 3, "validation": 1, "test": 2}, "exams_hr": {"train": 1}}
    row = made["exams_de"]["test"][0]
    assert (row["id"], row["ability"], row["answer"], row["choices"]) == (
        "exams-de-e0", "science", "A", ["acht", "sechs", "vier"],
    )  # fmt: skip
    assert row["text"] == "Question: Wie viele Beine hat eine Spinne?\nA. acht\nB. sechs\nC. vier\nAnswer: A. acht"
    assert "may hold test questions of other languages" in report.summary
    made, report = built(written(tmp_path, "exams") | {"subjects": ["Biology"], "languages": ["de"]})
    assert sizes(made) == {"exams_de": {"train": 2, "validation": 1, "test": 2}}
    assert report.counts["records_rejected"] == 2


def test_translations_of_exams_tests_are_left_out(tmp_path: Path) -> None:
    source = written(tmp_path, "exams")
    known = tmp_path / "parallel_questions.jsonl"
    known.write_bytes(lines([{"t2": ["x"]}, {"x": ["e0"]}, {"d0": ["y"]}, {"t3": ["z"]}]))  # t2 by way of x
    made, report = built(source | {"parallel": {"source": str(known)}})
    assert sizes(made) == {"exams_de": {"train": 3, "validation": 1, "test": 2}}
    assert report.counts["left_out_translation"] == 1 and "list of parallel questions" in report.summary
    assert hashlib.sha256(known.read_bytes()).hexdigest() in report.sections[0]["body"]
    with pytest.raises(DataError, match=r"parallel_questions\.jsonl: sha256 is .*, expected 00"):
        built(source | {"parallel": {"source": str(known), "expect_sha256": "0" * 64}})
    known.write_bytes(b'{"t2": ["e0"]}\n["t2"]\n')
    with pytest.raises(DataError, match=r"parallel_questions\.jsonl: line 2 is not an object of lists"):
        built(source | {"parallel": {"source": str(known)}})


def test_arc_rows(tmp_path: Path) -> None:
    made, _ = built(written(tmp_path, "arc"))
    assert [row["id"] for row in made["arc_en"]["train"]] == ["arc_easy-1", "arc_easy-2", "arc_hard-1"]
    assert made["arc_en"]["train"][0]["text"] == (
        "Question: What is ice?\nA. water, frozen\nB. fire\nC. air\nD. stone\nAnswer: A. water, frozen"
    )


# What is left out, and why.


@pytest.mark.parametrize(
    ("kind", "record", "reason"),
    [
        ("gsm8k", {"question": "How many?", "answer": "Two."}, "no final answer"),
        ("gsm8k", {"question": " ", "answer": "#### 2"}, "question is not text"),
        ("gsm8k", {"question": "How many?", "answer": "#### two"}, "answer is not a number"),
        ("gsm8k", {"answer": "#### 2"}, "not in the form of its source"),
        ("gsm8k", "text", "not in the form of its source"),
        ("mgsm", ["How many?"], "not in the form of its source"),
        ("mgsm", ["How many?", "2", "3"], "not in the form of its source"),
        ("msvamp", {"m_query": "How many?", "response": "a few"}, "answer is not a number"),
        ("msvamp", {"m_query": "How many?", "response": True}, "answer is not a number"),
        ("msvamp", {"m_query": "How many?", "response": "২"}, "answer is not a number"),
        ("exams", exam("a", "Was?", "eins"), "fewer than two choices"),
        ("exams", exam("a", "Was?", "eins", ""), "a choice is not text"),
        ("exams", exam("a", "Was?", "eins", "zwei", answer="@"), "answer is none of the choices"),
        ("exams", exam("a", "Was?", "eins", "zwei", answer="AB"), "answer is none of the choices"),
        ("exams", exam("a", "Was?", "eins", "zwei", "eins"), "right choice is there twice"),
        ("exams", exam("a", "Was?", "eins", "zwei", language="Klingon"), "unknown language"),
        ("exams", {"id": "a", "question": {"stem": "Was?", "choices": [{"label": "B", "text": "x"}]}, "answerKey": "B",
                   "info": {"language": "German", "subject": "Biology"}}, "choices not lettered from A"),
        ("arc", ["What?", "a", "b", "A"], "not in the form of its source"),
        ("arc", ["What?", "a", "b", "c", "d", "E"], "answer is none of the choices"),
    ],
)  # fmt: skip
def test_reasons(kind: str, record: Any, reason: str) -> None:
    with pytest.raises(RowRejected) as caught:
        convert(kind, record)
    assert caught.value.reason == reason and caught.value.detail and "\n" not in caught.value.detail


def test_wrong_choices_may_be_equal() -> None:
    assert convert("exams", exam("a", "Was?", "eins", "zwei", "zwei"))["choices"] == ["eins", "zwei", "zwei"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("2,125", "2125"), ("8.0", "8"), ("0.50", "0.5"), ("-3", "-3"), ("+7", "7"), ("-0.0", "0"), ("007", "7"), (12.5, "12.5")],
)  # fmt: skip
def test_numbers(said: Any, meant: str) -> None:
    assert number(said, "answer") == meant


@given(st.integers(-(10**12), 10**12))
def test_any_number_is_read_with_its_separators(value: int) -> None:
    assert number(f"{value:,}", "answer") == str(value) == number(f"{value}.00", "answer")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=6)
       | st.dictionaries(st.sampled_from(["question", "answer", "m_query", "response", "choices", "id", "info"]), inner)),
       st.sampled_from(sorted(FOLDERS)))  # fmt: skip
def test_any_record_makes_a_row_or_a_reason(record: Any, kind: str) -> None:
    try:
        assert training_text(convert(kind, record)).startswith("Question: ")
    except RowRejected as reason:
        assert reason.reason and "\n" not in reason.detail


def test_few_bad_records_are_counted_and_most_of_a_file_is_refused(tmp_path: Path) -> None:
    bad = [{"m_query": "How many?", "response": "some"}, {"m_query": "How far?", "response": None}]
    mixed = {"test_English.json": lines([*MSVAMP["English"], *bad])}
    source = written(tmp_path, "msvamp", **mixed) | {"languages": ("en",)}
    made, report = built(source, near=None)
    assert sum(sizes(made)["msvamp_en"].values()) == 4
    assert report.tables[1]["rows"] == [["test_English.json", "answer is not a number", 2]]
    assert report.counts["records_read"] == 6 and report.counts["records_rejected"] == 2
    said = r"test_English\.json: 2 of 6 records are rejected \(answer is not a number: 2; the first is record 5: response is 'some'\), more than "
    with pytest.raises(DataError, match=said + r"max_rejected_share 0\.2: look at the file"):
        built(source, max_rejected_share=0.2)


def test_cleaning_goes_by_the_first_rule_that_holds() -> None:
    def item(config: str, split: str, question: str, group: str = "") -> Item:
        return Item(config, split, {"question": question, "choices": []}, group)

    long = "one two three four five six seven eight nine {} eleven"
    items = [
        item("a", "test", "What IS  it?"), item("b", "test", long.format("9")), item("c", "test", "Held?", "g1"),
        item("c", "validation", "Nobody asks this?"), item("d", "validation", "what is it"),
        item("d", "train", "«What is it»"), item("d", "train", long.format("7"), "g2"), item("e", "train", "Anders?", "g1"),
        item("f", "train", "Ganz anders?", "g2"), item("f", "train", "nobody asks this", "g3"), item("f", "train", "Kept?"),
    ]  # fmt: skip
    clean(items, 0.5)
    assert [i.left_out for i in items] == ["", "", "", "", SAME, SAME, "nearly the same", "translation",
                                           "translation of one left out", SAME, ""]  # fmt: skip
    for i in items:
        i.left_out = ""
    clean(items, None)
    assert [i.left_out for i in items][5:] == [SAME, "", "translation", "", SAME, ""]
    assert connected_components([("b", "a"), ("c", "b"), ("x", "y")]) == {
        "a": "a",
        "b": "a",
        "c": "a",
        "x": "x",
        "y": "x",
    }


# Files and settings that are wrong.


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    other = [MSVAMP["German"][0], *MSVAMP["German"][2:]]
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (written(tmp_path / "1", "gsm8k", **{"train.jsonl": b'{"question": "a"'}), DataError, r"train\.jsonl: line 1 is not JSON"),
        (written(tmp_path / "2", "gsm8k", **{"train.jsonl": b"\n"}), DataError, r"train\.jsonl: has no records; fetch"),
        (written(tmp_path / "3", "mgsm", **{"mgsm_en.tsv": b"caf\xe9\t1"}), DataError, r"mgsm_en\.tsv: byte 3 is not UTF-8"),
        (written(tmp_path / "4", "mgsm", **{"mgsm_en.tsv": b"a\nb\nc\t1\n"}), DataError,
         r"mgsm_en\.tsv: 2 of 3 records are rejected \(not in the form of its source: 2; the first is record 1: it has 1 cells "
         r"instead of 2\), more than max_rejected_share 0\.5"),
        (written(tmp_path / "5", "msvamp", **{"test_German.json": lines(other)}), DataError,
         r"test_English\.json: line 2: query 'julia has 9 old coins .* fetch the files of one version"),
        (written(tmp_path / "6", "exams", **{"dev.jsonl.tar.gz": b"no archive"}), DataError,
         r"dev\.jsonl\.tar\.gz: cannot be read as a \.tar\.gz archive"),
        (written(tmp_path / "7", "exams", **{"dev.jsonl.tar.gz": packed("d", lines(EXAMS["dev"]))[:60]}), DataError,
         r"dev\.jsonl\.tar\.gz: cannot be read"),
        (written(tmp_path / "8", "exams") | {"subjects": ["Biolgy"]}, DataError,
         r"EXAMS: subjects: no row has 'Biolgy'; use some of Biology, History"),
        (written(tmp_path / "9", "arc", **{"arc_easy.csv": b'a,"b\n'}), DataError, r"arc_easy\.csv: 1 of 1 records are rejected"),
        (written(tmp_path / "10", "arc") | {"expect_sha256": {"arc_hard.csv": "0" * 64}}, DataError,
         r"arc_hard\.csv: sha256 is [0-9a-f]{64}, expected 0{64}"),
        (written(tmp_path / "11", "mgsm") | {"languages": ["fr"]}, UsageError, "no such file"),
    ]  # fmt: skip
    for source, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            built(source)
        assert "\n" not in str(caught.value)
    empty = tarfile_without_files()
    with pytest.raises(DataError, match="the archive holds no file"):
        built(written(tmp_path / "12", "exams", **{"train.jsonl.tar.gz": empty}))


def tarfile_without_files() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz"):
        pass
    return made.getvalue()


@pytest.mark.parametrize(
    ("sources", "settings", "said"),
    [
        ([{"kind": "gsm8k", "languages": ["fr"]}], {}, "languages does nothing for kind gsm8k, which is English; leave it out"),
        ([{"kind": "mgsm", "languages": ["xx"]}], {}, "languages: mgsm has no 'xx'; use some of bn, de"),
        ([{"kind": "arc", "subjects": ["Biology"]}], {}, "subjects does nothing for kind arc; leave it out"),
        ([{"kind": "mgsm", "parallel": {"source": "x"}}], {}, "parallel does nothing for kind mgsm; leave it out"),
        ([{"kind": "arc"}, {"kind": "arc", "name": "b"}], {}, "sources has the kind 'arc' twice"),
        ([{"kind": "arc"}, {"kind": "mgsm"}], {}, "sources has the name 'a' twice"),
        ([{"kind": "arc"}, {"kind": "mgsm", "name": "b", "license": "cc-by-4.0"}], {},
         "the sources' licences differ (cc-by-4.0, mit); set license to that of the whole"),
        ([{"kind": "arc", "license": None}], {"license": "mit"}, "license 'mit': a states none"),
        ([{"kind": "arc"}], {"near": 0}, "greater than 0"),
        ([{"kind": "arc"}], {"msvamp_train_share": 1.5}, "less than or equal to 1"),
        ([{"kind": "arc"}], {"shuffle": True}, "Extra inputs"),
        ([], {}, "at least 1 item"),
    ],
)  # fmt: skip
def test_bad_settings_name_field_value_and_remedy(sources: list[Any], settings: dict[str, Any], said: str) -> None:
    given = [{"source": "x", "name": "a", "license": "mit"} | source for source in sources]
    with pytest.raises(ValidationError) as caught:
        AbilityConfig.model_validate({"sources": given} | settings)
    message = caught.value.errors()[0]["msg"]
    assert said in message and "\n" not in message


def test_licence_and_languages_are_on_the_card(tmp_path: Path) -> None:
    arc, mgsm = written(tmp_path, "arc"), written(tmp_path, "mgsm") | {"license": "cc-by-4.0"}
    _, report = built(arc, mgsm, license="cc-by-4.0")
    assert (report.card["license"], report.card["language"]) == ("cc-by-4.0", ["en", "es"])
    _, report = built(arc, mgsm | {"license": None})
    assert report.card["license"] == "other" and "license_name" not in report.card
    assert "MGSM: no licence stated upstream" in report.summary
    assert str(tmp_path) not in json.dumps(vars(report))


# A recipe run.


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """The shipped recipe over the small files, which no digest knows."""
    told: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    step = told["steps"]["ability"]
    step["with"]["sources"] = [
        source | written(tmp_path / "raw", source["kind"]) | {"license": source["license"], "expect_sha256": {}}
        for source in step["with"]["sources"]
    ]
    (tmp_path / "raw" / "parallel_questions.jsonl").write_bytes(lines([{"t2": ["e0"]}]))
    step["with"]["sources"][3] |= {"parallel": {"source": "raw/parallel_questions.jsonl"}, "subjects": ["Biology"]}
    return told


def test_the_recipe_publishes_what_datasets_reads(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    import datasets

    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    folders = []
    for name in ("once", "again"):
        path = tmp_path / f"{name}.yaml"
        recipe["steps"]["ability"]["publish"]["dataset"] = name
        path.write_text(yaml.safe_dump(recipe | {"namespace": namespace, "name": name}))
        run = hubwright_in_process("run", str(path), "--fresh")
        assert run.returncode == 0, run.stderr[-2000:]
        folders.append(pull(ArtifactRef.parse(f"{namespace}/{name}@v1.0.0", "dataset")))
    digests = [
        {p.relative_to(f).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(f.rglob("*.parquet"))}
        for f in folders
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 12
    card = (folders[0] / "README.md").read_text()
    assert "none-stated-by-upstream" in card and "nearly the same" in card and str(tmp_path) not in card
    names = datasets.get_dataset_config_names(str(folders[0]))
    assert sorted(names) == ["arc_en", "exams_de", "gsm8k_en", "mgsm_en", "mgsm_es", "msvamp_de", "msvamp_en"]
    for name in names:
        for rows in datasets.load_dataset(str(folders[0]), name).values():
            assert rows.column_names == COLUMNS and all(isinstance(choices, list) for choices in rows["choices"])


def test_a_source_without_a_licence_is_not_published_in_public(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    del recipe["steps"]["ability"]["publish"]["private"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"namespace": namespace}))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode != 0 and "states no licence" in run.stderr


def test_general_texts_are_kept_apart_from_it_whatever_its_licence(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    """What is only left out of the corpus does not make it private."""
    import datasets

    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    kept = "A long enough text about ducks and ponds that asks nothing at all. " * 3
    (tmp_path / "texts.txt").write_text(f"{kept}\n\nOnce more: {SHARED['question']} {kept}")
    said = {"source": "texts.txt", "format": "text", "name": "ducks", "license": "mit"}
    recipe["steps"]["general"] = {
        "uses": "corpus",
        "inputs": {"against": "steps.ability"},
        "with": {"sources": [said], "valid_share": 0, "test_share": 0},
        "publish": {"dataset": "general", "tag": "v1.0.0"},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"namespace": namespace}))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-2000:]
    folder = pull(ArtifactRef.parse(f"{namespace}/general@v1.0.0", "dataset"))
    rows = datasets.load_dataset(str(folder))["train"]
    assert rows["text"] == [kept.strip()] and "| ducks | 1 | 2 | 0 | 0 | 1 |" in (folder / "README.md").read_text()
    checked = hubwright_in_process("verify", f"datasets/{namespace}/general@v1.0.0")
    assert checked.returncode == 0, checked.stdout


# The real files.


SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"


def recipe_sources() -> list[dict[str, Any]]:
    """The recipe's sources with its digests, from the folder of public raw data."""
    step = yaml.safe_load(RECIPE.read_text())["steps"]["ability"]["with"]
    missing = [folder for folder in FOLDERS.values() if not (SHARED_DATA / folder).is_dir()]
    if missing:
        pytest.skip(f"{missing[0]} is not here")
    return [s | {"source": str(SHARED_DATA / FOLDERS[s["kind"]])} for s in step["sources"]]


@pytest.fixture(scope="module")
def real() -> tuple[dict[str, Any], Any]:
    """EXAMS' list of translations is not among the raw data."""
    return built(*({k: v for k, v in s.items() if k != "parallel"} for s in recipe_sources()))


def records(kind: str, file: str) -> list[Any]:
    data = (SHARED_DATA / FOLDERS[kind] / file).read_bytes()
    if file.endswith(".gz"):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            inner = archive.extractfile(archive.getmembers()[0])
            assert inner is not None
            data = inner.read()
    return [json.loads(line) for line in data.decode().split("\n") if line.strip()]


def test_the_real_files_have_their_known_sizes(real: tuple[dict[str, Any], Any]) -> None:
    made, report = real
    rules = report.tables[0]
    assert rules["columns"][:4] == ["config", "train", "validation", "test"] and len(rules["columns"]) == 8
    whole = {name: sum(numbers) for name, *numbers in rules["rows"]}  # with what was left out
    held = {name: numbers[2] for name, *numbers in rules["rows"]}
    assert whole["gsm8k_en"] == 7473 + 1319 and held["gsm8k_en"] == 1319
    assert [held[n] == whole[n] for n in whole if n.startswith("mgsm")] == [True] * 11
    assert {n for name, n in whole.items() if name.startswith("mgsm")} == {250}
    assert [n for name, n in whole.items() if name.startswith("msvamp")] == [1000] * 10
    assert len({n for name, n in held.items() if name.startswith("msvamp")}) == 1
    assert whole["arc_en"] == 2242 + 1118
    exams = sum(n for name, n in whole.items() if name.startswith("exams"))
    assert len([name for name in whole if name.startswith("exams")]) == 16
    assert exams + report.counts["records_rejected"] == 7961 + 2672 + 13510
    assert report.counts["records_rejected"] == 28
    assert {reason: report.counts[f"rejected: {reason}"] for _, reason, _ in report.tables[1]["rows"]} == {
        "answer is none of the choices": 4, "question is not text": 1, "right choice is there twice": 23,
    }  # fmt: skip
    kept = {name: [len(splits.get(s, ())) for s in ("train", "validation", "test")] for name, splits in made.items()}
    assert kept == {name: numbers[:3] for name, *numbers in rules["rows"]}
    assert all(rows.column_names == COLUMNS for splits in made.values() for rows in splits.values())
    ids = [id_ for splits in made.values() for rows in splits.values() for id_ in rows["id"]]
    assert len(ids) == len(set(ids))


def test_no_test_question_is_in_training(real: tuple[dict[str, Any], Any]) -> None:
    """By other code: letters and digits alone, of the test questions as the raw files have them too."""
    made, _ = real

    def bare(text: str) -> str:
        return re.sub(r"[\W_]+", "", text.casefold())

    def asked(*splits: str) -> set[str]:
        return {
            bare(q) for parts in made.values() for split in splits if split in parts for q in parts[split]["question"]
        }

    raw = {bare(r["question"]) for r in records("gsm8k", "test.jsonl")}
    raw |= {bare(r["question"]["stem"]) for r in records("exams", "test.jsonl.tar.gz") if r["answerKey"] != "@"}
    for path in (SHARED_DATA / FOLDERS["mgsm"]).glob("mgsm_*.tsv"):
        raw |= {bare(line.partition("\t")[0]) for line in path.read_text(encoding="utf-8").split("\n") if line}
    assert len(raw) > 16_000
    assert not asked("train") & (asked("test", "validation") | raw)
    assert not asked("validation") & asked("test")


def test_msvamp_is_split_alike_in_all_languages(real: tuple[dict[str, Any], Any]) -> None:
    made, _ = real
    sides = {
        json.dumps({s: [row.rpartition("-")[2] for row in rows["id"]] for s, rows in splits.items()})
        for name, splits in made.items()
        if name.startswith("msvamp")
    }
    assert len(sides) == 1
    split = json.loads(sides.pop())
    assert not set(split["train"]) & set(split["test"]) and 450 < len(split["test"]) < 550
    # A place is a line of the file: the English question is that of the line, and so is every language's answer.
    english = records("msvamp", "test_English.json")
    for code in ("en", "bn", "zh"):
        for row in made[f"msvamp_{code}"]["test"]:
            record = english[int(row["id"].rpartition("-")[2]) - 1]
            assert float(row["answer"]) == float(record["response"])
            assert code != "en" or row["question"] == record["m_query"].strip()


def test_golden_rows(real: tuple[dict[str, Any], Any]) -> None:
    made, _ = real
    row = made["gsm8k_en"]["train"][0]
    assert row["id"] == "gsm8k-train-1" and row["answer"] == "72"
    assert row["solution"].endswith("48+24 = 72 clips altogether in April and May.") and "<<" not in row["text"]
    assert not any("<<" in text or "####" in s for text, s in zip(*(made["gsm8k_en"]["train"][c] for c in ("text", "solution")), strict=True))  # fmt: skip
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", a) for name in made if made[name]["test" if "test" in made[name] else "train"]["ability"][0] == "math"
               for rows in made[name].values() for a in rows["answer"])  # fmt: skip
    # MGSM's questions are GSM8K's test, in the same order, and have its answers.
    gsm8k = made["gsm8k_en"]["test"]
    assert made["mgsm_te"]["test"]["answer"] == made["mgsm_en"]["test"]["answer"] == gsm8k["answer"][:250]
    row = made["exams_bg"]["train"][0]
    assert row["id"] == "exams-bg-35dd69ff-7e71-11ea-9eb1-54bef70b159e" and (row["answer"], len(row["choices"])) == (
        "B",
        4,
    )
    assert row["text"].endswith(f"\nAnswer: B. {row['choices'][1]}")
    row = made["arc_en"]["train"][0]
    assert row["text"].startswith("Question: Which factor will most likely cause a person to develop a fever?\nA. ")
    assert (row["answer"], row["language"], row["ability"]) == ("B", "en", "science")


def test_the_sciences_of_nature_alone() -> None:
    named = re.search(r"subjects: \[(.*)\]", RECIPE.read_text())
    exams = next(s for s in recipe_sources() if s["kind"] == "exams") | {
        "subjects": named[1].split(", ") if named else []
    }
    del exams["parallel"]
    made, report = built(exams, near=None)
    assert AbilitySource.model_validate(exams).subjects and report.counts["records_rejected"] > 12_000
    assert report.counts["train_rows"] > 3000 and "exams_pl" not in made  # Polish has vocational questions alone
