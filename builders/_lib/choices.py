"""Multiple-choice questions of any source as rows."""

from typing import Any

from ...hub_sync.errors import RowRejected

LETTERS = "ABCDEFGHIJ"


def choice_row(question: Any, choices: list[Any], answer: Any) -> dict[str, Any]:
    """Question, choices and the answer's letter, no blanks around.

        >>> choice_row(" Which one? ", ["iron", "water"], "B")
        {'question': 'Which one?', 'choices': ['iron', 'water'], 'answer': 'B'}

    Raises RowRejected for what cannot be scored.
    """
    choices = [text_cell(choice, "a choice") for choice in choices]
    if len(choices) < 2:
        raise RowRejected("fewer than two choices", f"it has {len(choices)} choices")
    letters = LETTERS[: len(choices)]
    if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
        raise RowRejected("answer is none of the choices", f"the answer {shown(answer)} is none of {letters}")
    # With the right choice there twice, two letters are right and one of them counts. Equal wrong choices do no harm.
    if choices.count(choices[letters.index(answer)]) > 1:
        raise RowRejected("right choice is there twice", f"choice {answer} {shown(choices[letters.index(answer)])}")
    return {"question": text_cell(question, "question"), "choices": choices, "answer": answer}


def text_cell(value: Any, field: str) -> str:
    """A text without blanks around. Raises RowRejected for another type, or nothing but blanks."""
    if not isinstance(value, str) or not value.strip():
        raise RowRejected(f"{field} is not text", f"{field} is {shown(value)}")
    return value.strip()


def shown(value: Any) -> str:
    """A value for an error's line, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
