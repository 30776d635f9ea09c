"""Looks into artifacts on the hub without fetching the whole: the tokenizer of a model, the columns of a data set."""

import json
import posixpath
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from .adapters import adapter_base
from .card_yaml import parse_metadata, split_card
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
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    files = _files_by_card(ref, config)
    if files is None:
        files = _files_by_datasets(ref, config)
    if files and re.fullmatch(r"\w+(\.\w+)*", split) and split not in files:
        chosen = f" of config {config!r}" if config else ""
        raise DataError(f"{ref}: no split {split!r}{chosen}: its splits are {', '.join(map(str, files))}")
    if split not in files or not files[split].endswith(".parquet"):
        return None
    try:
        with HfFileSystem().open(files[split]) as file:
            schema = pq.read_schema(file)
    except (OSError, ValueError):  # the network's and pyarrow's: the step that reads the rows says more
        return None
    return dict(zip(schema.names, schema.types, strict=True))


def _files_by_card(ref: ArtifactRef, config: str | None) -> dict[str, str] | None:
    """Split -> its first file, as the card of a data set lists them; None where datasets has to work them out.

    Read are cards as hubwright writes them, with one pattern of Parquet files per split. Importing datasets takes a
    second.
    """
    remote = list_remote_files(ref)
    if "README.md" not in remote:
        return None
    try:
        head, _ = split_card((pull(ref, ["README.md"]) / "README.md").read_text(encoding="utf-8-sig"))
        configs = parse_metadata(head)["configs"]
        if config is not None:
            configs = [one for one in configs if one["config_name"] == config]
        elif len(configs) > 1:
            configs = [one for one in configs if one.get("default") or one["config_name"] == "default"]
        (one,) = configs
        patterns = {entry["split"]: entry["path"] for entry in one["data_files"]}
        if one.keys() - {"config_name", "default", "data_files"} or len(patterns) < len(one["data_files"]):
            return None
        files = {}
        for split, pattern in patterns.items():
            folder, name = posixpath.split(pattern)
            if re.search(r"[*?\[\]{}]", folder) or not re.fullmatch(r"[\w.*-]+\.parquet", name):
                return None
            paths = [p for p in remote if posixpath.dirname(p) == folder and fnmatchcase(posixpath.basename(p), name)]
            files[split] = f"datasets/{ref.repo_id}@{ref.revision}/{min(paths)}"
    except (LookupError, TypeError, ValueError, AttributeError, OSError):  # another form, or a file that is absent
        return None
    return files


def _files_by_datasets(ref: ArtifactRef, config: str | None) -> dict[str, str]:
    """Split -> its first file, as datasets finds them; empty where it finds none. Raises as `columns`."""
    import datasets

    try:
        with mock.patch.object(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False):  # nobody is told of a look
            builder = datasets.load_dataset_builder(ref.repo_id, config, revision=ref.revision)
    except ValueError as error:
        if "BuilderConfig" in str(error) or "Config name is missing" in str(error):
            raise DataError(f"{ref}: {first_line(error)}") from error
        return {}
    except Exception:  # datasets raises classes of its own; the step that reads the rows names what is wrong
        return {}
    files = {str(split): str(paths[0]) for split, paths in (builder.config.data_files or {}).items()}
    return files if builder.name == "parquet" else dict.fromkeys(files, "")
