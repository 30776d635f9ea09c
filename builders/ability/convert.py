"""From a source's record to a row: question, choices, answer, solution, and the text to train on."""

import re
from typing import Any

from ...hub_sync.errors import RowRejected
from .._lib.choices import LETTERS, choice_row, shown, text_cell
from .read import NAMES

# GSM8K's notes for a calculator, "<<48/2=24>>24", are no part of what a person would write.
_CALCULATOR = re.compile(r"<<[^<>]*>>")
# Western digits alone: every source writes its answers so, whatever the language of the question.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?")
CODES = {name: code for code, name in NAMES.items()}

Row = dict[str, Any]


def convert(kind: str, record: Any) -> Row:
    """The part of a row that the record says: question, choices, answer, solution.

    With `id`, `language` and `subject` where the record has them (EXAMS), `english` where it repeats the English
    question (MSVAMP). Raises RowRejected.
    """
    try:
        return _KINDS[kind](record)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else "another form"
        raise RowRejected("not in the form of its source", f"it has {reason}") from error


def _gsm8k(record: Any) -> Row:
    written, mark, final = record["answer"].rpartition("####")
    if not mark:
        raise RowRejected("no final answer", f"answer {shown(final)} has no '####'")
    return _free(record["question"], "answer", final) | {"solution": _CALCULATOR.sub("", written).strip()}


def _mgsm(cells: Any) -> Row:
    if len(cells) != 2:
        raise RowRejected("not in the form of its source", f"it has {len(cells)} cells instead of 2")
    return _free(cells[0], "answer", cells[1])


def _msvamp(record: Any) -> Row:
    english = record.get("query", record["m_query"])
    return _free(record["m_query"], "response", record["response"]) | {"english": text_cell(english, "query")}


def _exams(record: Any) -> Row:
    question, info = record["question"], record["info"]
    labels = [choice["label"] for choice in question["choices"]]
    if labels != list(LETTERS[: len(labels)]):
        raise RowRejected("choices not lettered from A", f"question.choices has the labels {shown(labels)}")
    if info["language"] not in CODES:
        raise RowRejected("unknown language", f"info.language is {shown(info['language'])}")
    row = choice_row(question["stem"], [choice["text"] for choice in question["choices"]], record["answerKey"])
    named = {field: text_cell(value, field) for field, value in (("id", record["id"]), ("subject", info["subject"]))}
    return row | named | {"language": CODES[info["language"]], "solution": ""}


def _arc(cells: Any) -> Row:
    if len(cells) != 6:
        raise RowRejected("not in the form of its source", f"it has {len(cells)} cells instead of 6")
    return choice_row(cells[0], list(cells[1:5]), cells[5]) | {"solution": ""}


_KINDS = {"gsm8k": _gsm8k, "mgsm": _mgsm, "msvamp": _msvamp, "exams": _exams, "arc": _arc}


def _free(question: Any, field: str, answer: Any) -> Row:
    return {
        "question": text_cell(question, "question"),
        "choices": [],
        "answer": number(answer, field),
        "solution": "",
    }


def number(value: Any, field: str) -> str:
    """A number as text: no thousands separators, no sign +, no zeros that say nothing ("2,125.50" -> "2125.5").

    Raises RowRejected for what is none.
    """
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _NUMBER.fullmatch(text):
        raise RowRejected("answer is not a number", f"{field} is {shown(value)}")
    whole, _, fraction = text.replace(",", "").lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    digits = f"{whole}.{fraction}" if fraction else whole
    return f"-{digits}" if text[0] == "-" and digits != "0" else digits


def training_text(row: Row) -> str:
    """What a language model is trained on. The words around question and answer are English for every language.

    The form is our choice; the mark "####" between a solution and its number is GSM8K's.
    """
    if row["choices"]:
        lettered = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)]
        right = lettered[LETTERS.index(row["answer"])]
        return "\n".join([f"Question: {row['question']}", *lettered, f"Answer: {right}"])
    worked = f"{row['solution']}\n#### " if row["solution"] else ""
    return f"Question: {row['question']}\nAnswer: {worked}{row['answer']}"
