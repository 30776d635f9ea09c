"""Every kind of source by hand: rows, splits, what is left out, settings and the card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ability_parts import COLUMNS, GSM8K, MSVAMP, built, lines, sizes, written
from column_parts import check_columns
from pydantic import ValidationError

from hubwright.builders.ability import AbilityConfig
from hubwright.hub_sync.errors import DataError


def test_gsm8k_rows_without_the_calculators_notes(tmp_path: Path) -> None:
    made, report = built(written(tmp_path, "gsm8k"))
    first, second = made["gsm8k_en"]["train"]
    check_columns("ability", made, report)
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
