"""The tokenizer of the model that is evaluated, for metrics per token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ...hub_sync.errors import UsageError, first_line

_SOURCE: ContextVar[str] = ContextVar("tokenizer_source", default="")


@contextmanager
def model_tokenizer(source: str) -> Iterator[None]:
    """Tasks that run within know the model's tokenizer: a local folder."""
    token = _SOURCE.set(source)
    try:
        yield
    finally:
        _SOURCE.reset(token)


def load_tokenizer(task: str, metadata: Mapping[str, Any] | None) -> Any:
    """The tokenizer that a task counts with: `metadata.tokenizer` (`org/name@revision` or a folder), else that of the
    evaluated model, which a recipe's step and the command's --model_args pretrained= tell.

    Raises UsageError in one line if none is known or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    named = metadata or {}
    source = str(named.get("tokenizer") or _SOURCE.get() or named.get("pretrained") or "")
    if not source:
        raise UsageError(f"task {task}: counts tokens and knows no tokenizer; name it by metadata.tokenizer")
    name, _, revision = source.rpartition("@") if "@" in source else (source, "", None)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision or named.get("revision"))
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"task {task}: tokenizer {source} cannot be loaded ({first_line(error)})") from error
