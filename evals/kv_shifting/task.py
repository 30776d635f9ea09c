"""Upstream's CMMLU tasks, reading the data set's archive.

On the Hub the data set is a loading script beside an archive, and `datasets` has run no scripts since version 4: the
tasks of lm-eval 0.4.13 fail there. The questions are read from the archive itself, at the commit that the task's YAML
pins; prompts, choices and scores are upstream's.
"""

import csv
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.hub import translate_errors

ARCHIVE = "cmmlu_v1_0_1.zip"
COLUMNS = ("Question", "A", "B", "C", "D", "Answer")


def read_subject(archive: Path, subject: str, split: str) -> list[dict[str, str]]:
    """The questions of one subject, each column as the text that the file has.

    Raises DataError where the archive has no such subject or other columns.
    """
    inner = f"{split}/{subject}.csv"
    try:
        with zipfile.ZipFile(archive) as files:
            text = files.read(inner).decode("utf-8-sig")
    except (KeyError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{ARCHIVE}: {inner} cannot be read ({error}); pull it again") from error
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    missing = [name for name in COLUMNS if not rows or not isinstance(rows[0].get(name), str)]
    if missing:
        raise DataError(f"{ARCHIVE}: {inner} has no column {missing[0]!r}; it is not the archive of CMMLU 1.0.1")
    return [{name: row[name] for name in COLUMNS} for row in rows]


class CMMLUTask(ConfigurableTask):
    """One subject of CMMLU, its data read from the archive at `dataset_kwargs: {revision: COMMIT}`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={k: v for k, v in config.items() if k != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Fetch the archive at the pinned commit and read `dev` and `test` of the subject."""
        from huggingface_hub import hf_hub_download

        repo, subject = str(self.config.dataset_path), str(self.config.dataset_name)
        revision = (dataset_kwargs or {}).get("revision")
        if not revision:
            raise UsageError(f"{self.config.task}: dataset_kwargs has no revision; name the commit to read")
        with translate_errors(f"dataset {repo}@{revision}, file {ARCHIVE}"):
            archive = Path(hf_hub_download(repo, ARCHIVE, repo_type="dataset", revision=revision))
        splits = {split: read_subject(archive, subject, split) for split in ("dev", "test")}
        self.dataset = datasets.DatasetDict(
            {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
        )
