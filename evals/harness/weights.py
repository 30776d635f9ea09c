"""lm-eval's models with every weight from their files: what a checkpoint lacks is an error, not a random draw."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ...inference.loading import CompleteModels


@contextmanager
def complete_models(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let `HFLM` load complete models only; DataError in one line for missing and misshapen weights.

    Args:
        names: local folder -> the model's name in messages.
    """
    from lm_eval.models.huggingface import HFLM

    create = HFLM._create_model

    def create_complete(self: Any, pretrained: str, *args: Any, **options: Any) -> None:
        complete = CompleteModels(self.AUTO_MODEL_CLASS, (names or {}).get(pretrained, ""))
        with mock.patch.object(self, "AUTO_MODEL_CLASS", complete):
            create(self, pretrained, *args, **options)

    with mock.patch.object(HFLM, "_create_model", create_complete):
        yield
