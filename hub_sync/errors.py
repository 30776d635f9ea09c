"""Errors a user can act on. Each is one line that says what was wrong, where, and what to do.

The exit codes are part of the command line's contract (docs/reference/exit-codes.md):

| code | class | meaning |
|---|---|---|
| 0 | – | done |
| 1 | – | a defect of hubwright: please report it with the traceback |
| 2 | UsageError | a recipe, an option or a config value is wrong; nothing was started |
| 3 | DataError | rows, files or verdicts fail validation; nothing was published |
| 4 | HubError | the hub refused or could not be reached |
| 5 | ConflictError | a tag, lock or branch already says something else |
| 6 | StorageError | the disk is full or a file cannot be written |
| 130 | – | interrupted; run the same command again to continue |
"""

from collections.abc import Iterable
from difflib import get_close_matches


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its class if it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The end of an error about an unknown word: "; did you mean 'x'?" if a known word is near it.

    Args:
        otherwise: the end if none is near; None: "; known: " and all of them.
    """
    words = list(known)
    if near := get_close_matches(word, words, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(words)}" if otherwise is None else otherwise


class RowRejected(ValueError):
    """A row that cannot be used: the caller counts it by its reason, or ends in one line that names it.

    Args:
        reason: a phrase that is counted, the same for all rows of the kind.
        detail: the offending value or what is wrong with it, for the message about one such row.
    """

    def __init__(self, reason: str, detail: object = None) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason if detail is None else f"{reason} ({detail!r:.80})")


class HubwrightError(Exception):
    """Base of every error that is the user's to mend; `exit_code` is the process's exit status."""

    exit_code = 1


class SeveralErrors(HubwrightError):
    """Errors that the command line prints one per line; the exit code is that of the first."""

    def __init__(self, errors: Iterable[HubwrightError]) -> None:
        self.errors = list(errors)
        self.exit_code = self.errors[0].exit_code
        super().__init__("; ".join(map(str, self.errors)))


class UsageError(HubwrightError):
    """A recipe, an option or a config value is wrong; nothing was started."""

    exit_code = 2


class DataError(HubwrightError):
    """Rows, files or verdicts fail validation; nothing was published."""

    exit_code = 3


class HubError(HubwrightError):
    """The hub refused or could not be reached."""

    exit_code = 4


class ConflictError(HubwrightError):
    """A tag, lock or branch already says something else."""

    exit_code = 5


class StorageError(HubwrightError):
    """The disk is full or a file cannot be written."""

    exit_code = 6
