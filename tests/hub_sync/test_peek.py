"""Looks into data sets on the hub: what the card says is what datasets finds, or is left to datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hubwright.hub_sync import peek
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.refs import ArtifactRef

NAMES = (
    "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet",
    "more/train-00000-of-00001.parquet", "deep/er/train-0.parquet",
)  # fmt: skip
TRAIN = {"split": "train", "path": "data/train-*.parquet"}
TEST = {"split": "test", "path": "data/test-*.parquet"}
DEFAULT = {"config_name": "default", "data_files": [TRAIN, TEST]}
MORE = {"config_name": "more", "data_files": [{"split": "train", "path": "more/train-*.parquet"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peek")
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({f"column_{number}": [1]}), folder / name)
    return folder


def published(api: Any, namespace: str, folder: Path, card: str | None) -> ArtifactRef:
    repo_id = f"{namespace}/rows"
    api.create_repo(repo_id, repo_type="dataset")
    api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder)
    if card is not None:
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo_id, repo_type="dataset")
    return ArtifactRef("dataset", repo_id, api.dataset_info(repo_id).sha)


def card_of(*configs: Any) -> str:
    return f"---\n{yaml.safe_dump({'license': 'mit', 'configs': list(configs)})}---\n\n# Rows\n"


@pytest.mark.parametrize(
    ("configs", "config", "read"),
    [
        ([DEFAULT], None, True),
        ([DEFAULT], "default", True),
        ([DEFAULT | {"default": True}, MORE], None, True),
        ([DEFAULT, MORE | {"default": True}], None, False),  # datasets refuses two
        ([DEFAULT, MORE], "more", True),
        ([DEFAULT, MORE], None, True),
        ([{"config_name": "one", "data_files": [{"split": "train", "path": ["data/train-*.parquet"]}]}], None, False),
        ([{"config_name": "one", "data_files": "data/train-*.parquet"}], None, False),
        ([{"config_name": "one", "data_files": [{"split": "train", "path": "**/train-*.parquet"}]}], None, False),
        ([{"config_name": "one", "data_files": [{"split": "train", "path": "*/train-*.parquet"}]}], None, False),
        ([{"config_name": "one", "data_dir": "more"}], None, False),
        ([{"config_name": "one", "data_files": [TRAIN, {"split": "train", "path": TEST["path"]}]}], None, False),
    ],
)
def test_the_card_names_the_files_that_datasets_finds(
    api: Any, namespace: str, folder: Path, configs: list[Any], config: str | None, read: bool
) -> None:
    ref = published(api, namespace, folder, card_of(*configs))
    files = peek._files_by_card(ref, config)
    assert (files is not None) == read
    if files is not None:
        assert files == {
            split: path.replace("hf://", "") for split, path in peek._files_by_datasets(ref, config).items()
        }


@pytest.mark.parametrize(
    "card",
    [
        None,
        "no head",
        "---\nlicense: mit\n---\n",
        "---\nconfigs: [a, b]\n---\n",
        "---\nconfigs:\n- config_name: one\n---\n",
        card_of({"config_name": "one", "data_files": [{"split": "train", "path": "data/absent-*.parquet"}]}),
        card_of({"config_name": "one", "data_files": [{"split": "train", "path": 5}]}),
        card_of({"config_name": "one", "data_files": [{"split": "train", "path": "data/train-*.json"}]}),
    ],
)
def test_a_card_of_another_form_is_left_to_datasets(api: Any, namespace: str, folder: Path, card: str | None) -> None:
    assert peek._files_by_card(published(api, namespace, folder, card), None) is None


def test_columns_of_a_split_and_what_is_absent(api: Any, namespace: str, folder: Path) -> None:
    ref = published(api, namespace, folder, card_of(DEFAULT | {"default": True}, MORE))
    assert peek.columns(ref, None, "train") == {"column_0": pa.int64()}
    assert peek.columns(ref, None, "test") == {"column_2": pa.int64()}
    assert peek.columns(ref, "more", "train") == {"column_3": pa.int64()}
    with pytest.raises(DataError, match="no split 'test' of config 'more': its splits are train"):
        peek.columns(ref, "more", "test")
    with pytest.raises(DataError, match="BuilderConfig 'none' not found"):
        peek.columns(ref, "none", "train")
