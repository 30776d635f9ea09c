"""Files that cannot be read."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ability_parts import EXAMS, MSVAMP, built, lines, packed, written

from hubwright.hub_sync.errors import DataError, UsageError


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    other = [MSVAMP["German"][0], *MSVAMP["German"][2:]]
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (written(tmp_path / "1", "gsm8k", **{"train.jsonl": b'{"question": "a"'}), DataError, r"train\.jsonl: line 1 is not JSON"),
        (written(tmp_path / "2", "gsm8k", **{"train.jsonl": b"\n"}), DataError, r"train\.jsonl: has no records; fetch"),
        (written(tmp_path / "3", "mgsm", **{"mgsm_en.tsv": b"caf\xe9\t1"}), DataError, r"mgsm_en\.tsv: byte 3 is not UTF-8"),
        (written(tmp_path / "4", "mgsm", **{"mgsm_en.tsv": b"a\nb\nc\t1\n"}), DataError,
         r"mgsm_en\.tsv: 2 of 3 records are rejected \(not in the form of its source: 2; the first is record 1: it has 1 cells "
         r"instead of 2\), more than max_rejected_share 0\.5"),
        (written(tmp_path / "5", "msvamp", **{"test_German.json": lines(other)}), DataError,
         r"test_English\.json: line 2: query 'julia has 9 old coins .* fetch the files of one version"),
        (written(tmp_path / "6", "exams", **{"dev.jsonl.tar.gz": b"no archive"}), DataError,
         r"dev\.jsonl\.tar\.gz: cannot be read as a \.tar\.gz archive"),
        (written(tmp_path / "7", "exams", **{"dev.jsonl.tar.gz": packed("d", lines(EXAMS["dev"]))[:60]}), DataError,
         r"dev\.jsonl\.tar\.gz: cannot be read"),
        (written(tmp_path / "8", "exams") | {"subjects": ["Biolgy"]}, DataError,
         r"EXAMS: subjects: no row has 'Biolgy'; use some of Biology, History"),
        (written(tmp_path / "9", "arc", **{"arc_easy.csv": b'a,"b\n'}), DataError, r"arc_easy\.csv: 1 of 1 records are rejected"),
        (written(tmp_path / "10", "arc") | {"expect_sha256": {"arc_hard.csv": "0" * 64}}, DataError,
         r"arc_hard\.csv: sha256 is [0-9a-f]{64}, expected 0{64}"),
        (written(tmp_path / "11", "mgsm") | {"languages": ["fr"]}, UsageError, "no such file"),
    ]  # fmt: skip
    for source, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            built(source)
        assert "\n" not in str(caught.value)
    empty = tarfile_without_files()
    with pytest.raises(DataError, match="the archive holds no file"):
        built(written(tmp_path / "12", "exams", **{"train.jsonl.tar.gz": empty}))


def tarfile_without_files() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz"):
        pass
    return made.getvalue()
