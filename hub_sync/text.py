"""Text from outside that may hold half a surrogate pair, as JSON's `"\\ud83d"` gives: Python takes it, UTF-8 does not.

`utf8` is for hashes and sizes, where nothing may be changed; `well_formed` is for what is stored or shown. A record of
a data set that is built is refused instead (`is_well_formed`), with a reason that is counted.
"""

from typing import TypeVar

T = TypeVar("T")


def utf8(text: str) -> bytes:
    """UTF-8 of any text; half a surrogate pair as its three bytes, so that different texts have different bytes."""
    return text.encode("utf-8", "surrogatepass")


def is_well_formed(text: str) -> bool:
    """True where the text has a UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def well_formed(value: T) -> T:
    """The JSON value with texts that have a UTF-8 form: halves that follow one another become their character, a
    lone one U+FFFD, as ECMAScript's `toWellFormed` does.

        >>> well_formed(["a\\ud83d", "\\ud83d\\ude00"]) == ["a\\ufffd", "\\U0001f600"]
        True
    """
    result: object = value
    if isinstance(value, str) and not is_well_formed(value):
        result = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    elif isinstance(value, dict):
        result = {well_formed(key): well_formed(item) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        result = type(value)(well_formed(item) for item in value)
    return result  # type: ignore[return-value]
