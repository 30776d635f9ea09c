"""Adapters: repositories that hold changes of a model, and name the model in `adapter_config.json`."""

import json
import re
from collections.abc import Iterable

from .errors import DataError, UsageError
from .pull import list_remote_files, pull
from .refs import ArtifactRef

CONFIG = "adapter_config.json"
_WEIGHTS = re.compile(r"(?!adapter_)[^/]*\.safetensors(\.index\.json)?|pytorch_model[^/]*\.bin(\.index\.json)?")
"""Files of a model's weights."""


def holds_adapter(files: Iterable[str]) -> bool:
    """True if these files, at the root of a repository, are an adapter and no model. A `config.json` makes no model:
    trainers of adapters save their base's beside them. Weights do."""
    names = set(files)
    return CONFIG in names and not any(map(_WEIGHTS.fullmatch, names))


def adapter_base(ref: ArtifactRef) -> ArtifactRef | None:
    """The model that an adapter belongs to, as it names it; None if `ref` is no adapter. Raises DataError in one line
    if it names none, a folder, or another adapter."""
    if not holds_adapter(list_remote_files(ref)):
        return None
    try:
        config = json.loads((pull(ref, [CONFIG]) / CONFIG).read_text(encoding="utf-8"))
        base = ArtifactRef.parse(f"{config['base_model_name_or_path']}@{config.get('revision') or 'main'}", "model")
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise DataError(
            f"{ref} is an adapter, and base_model_name_or_path in its {CONFIG} names no repository "
            f"({error}): write the repository that it was trained on"
        ) from error
    if holds_adapter(list_remote_files(base)):
        raise DataError(f"{ref} is an adapter of {base}, which is an adapter itself: merge that one first")
    return base
