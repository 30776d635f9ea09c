"""Does a document hold a test's question? Runs of words that both have, as is usual for web corpora."""

from collections import defaultdict

from ...hub_sync.context import StepContext
from .decontamination import decontamination_inputs, requests
from .near_duplicates import words

Run = tuple[str, ...]


class Questions:
    """Questions by their runs of words; case, marks and line ends do not count.

    Args:
        length: words of a run. A question with fewer is one run, or none where it has less than half as many: it
            would be found in texts that have nothing to do with it.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._runs: dict[Run, set[Run]] = defaultdict(set)  # by the first half, so that a text is walked through once

    def add(self, question: str) -> None:
        """Take a question up."""
        tokens = _words(question)
        for start in range(max(1, len(tokens) - self.length + 1)):
            run = tokens[start : start + self.length]
            if 2 * len(run) >= self.length:
                self._runs[run[: self.length // 2]].add(run)

    def within(self, text: str) -> bool:
        """Whether a run of any question is in the text."""
        tokens, half = _words(text), self.length // 2
        return any(
            tokens[start : start + len(run)] == run
            for start in range(len(tokens) - half + 1)
            for run in self._runs.get(tokens[start : start + half], ())
        )


def read_questions(context: StepContext, length: int) -> Questions | None:
    """Those of a step's inputs `decontaminate_against` and `decontaminate_against_NAME`; None if there are none.

    Raises DataError if an input has no column of questions.
    """
    sources, questions = decontamination_inputs(context), Questions(length)
    for source in sources:
        for question, _ in requests(source.path, str(source.ref)):
            questions.add(question)
    return questions if sources else None


def _words(text: str) -> Run:
    return tuple(words(text, fold_digits=False))
