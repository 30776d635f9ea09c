"""Looks into artifacts on the hub without fetching the whole: the tokenizer of a model, the columns of a data set."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from .adapters import adapter_base
from .errors import DataError, first_line
from .pull import list_remote_files, pull
from .refs import ArtifactRef

if TYPE_CHECKING:
    import pyarrow as pa

_TOKENIZER = [
    "tokenizer*", "*.jinja", "additional_chat_templates/*", "vocab*", "merges.txt", "*.tiktoken", "added_tokens.json",
    "special_tokens_map.json", "config.json", "spiece.model",
]  # fmt: skip


def tokenizer_folder(ref: ArtifactRef) -> Path:
    """A folder with the tokenizer of a model, its weights left out; an adapter without one has its base's."""
    if "tokenizer_config.json" not in list_remote_files(ref) and (base := adapter_base(ref)) is not None:
        ref = base
    return pull(ref, _TOKENIZER)


def has_chat_template(ref: ArtifactRef) -> bool:
    """Whether the tokenizer of a model has a chat template, as transformers stores one."""
    folder = tokenizer_folder(ref)
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    return bool(config.get("chat_template")) or any(folder.glob("chat_template.jinja"))


def columns(ref: ArtifactRef, config: str | None, split: str) -> "dict[str, pa.DataType] | None":
    """Columns and types of a split, from the footer of its first Parquet file; None if they cannot be told by that.

    Args:
        config: of the data set; None for the default one.

    Raises DataError in one line if the data set has no such config or split.
    """
    import datasets
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    try:
        with mock.patch.object(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False):  # nobody is told of a look
            builder = datasets.load_dataset_builder(ref.repo_id, config, revision=ref.revision)
    except ValueError as error:
        if "BuilderConfig" in str(error) or "Config name is missing" in str(error):
            raise DataError(f"{ref}: {first_line(error)}") from error
        return None
    except Exception:  # datasets raises classes of its own; the step that reads the rows names what is wrong
        return None
    files = builder.config.data_files or {}
    if files and re.fullmatch(r"\w+(\.\w+)*", split) and split not in files:
        chosen = f" of config {config!r}" if config else ""
        raise DataError(f"{ref}: no split {split!r}{chosen}: its splits are {', '.join(map(str, files))}")
    if builder.name != "parquet" or split not in files:
        return None
    try:
        with HfFileSystem().open(str(files[split][0])) as file:
            schema = pq.read_schema(file)
    except (OSError, ValueError):  # the network's and pyarrow's: the step that reads the rows says more
        return None
    return dict(zip(schema.names, schema.types, strict=True))
