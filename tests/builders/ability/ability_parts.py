"""Small files of every kind of source, and builds of them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from hubwright.builders import local_context
from hubwright.builders.ability import AbilityConfig, build
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
    context = local_context()
    return build(config, context), context.report


def sizes(made: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: {split: len(rows) for split, rows in splits.items()} for name, splits in made.items()}
