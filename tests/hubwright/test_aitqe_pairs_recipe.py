"""recipes/aitqe/aitqe_pairs.yaml: from images with captions to published samples, read back by stock clients."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from coco_parts import coco

from hubwright.builders._lib.context import local_context
from hubwright.builders.image_text import ImageTextConfig, build


def test_recipe_makes_samples_that_stock_clients_read(
    hubwright_in_process, api, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # datasets counts uses of its parquet reader elsewhere
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    source = coco(tmp_path / "in", 40)
    settings = ["--set", f"namespace={namespace}", "--set", f"steps.pairs.with.source={source}"]
    public = ["--set", "steps.pairs.publish.private=false", "--set", "steps.pairs.publish.dataset=public"]
    refused = hubwright_in_process("run", "aitqe_pairs", *settings, *public, "--dry-run")
    assert refused.returncode == 3 and "must not be published in public" in refused.stderr
    done = hubwright_in_process("run", "aitqe_pairs", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = datasets.load_dataset(f"{namespace}/coco-mini-pairs", revision="v1.0.0", cache_dir=str(tmp_path))
    assert set(pairs) == {"train", "validation", "test"} and sum(map(len, pairs.values())) == 80
    samples = datasets.load_dataset(f"{namespace}/aitqe-samples", revision="v1.0.0", cache_dir=str(tmp_path))
    row = samples["train"][0]
    assert row["image"].size == (48, 48) and set(row["scores"]) == {
        "overall",
        "text_quality",
        "matching",
        "object_detail",
        "semantic",
        "text_chart",
    }
    assert not {"colour", "neighbour_caption", "keywords"} & set(samples["train"]["damage"])
    card = Path(api.hf_hub_download(f"{namespace}/aitqe-samples", "README.md", repo_type="dataset")).read_text()
    assert "Samples by damage" in card and "arxiv:2410.16166" in card
    assert api.repo_info(f"{namespace}/aitqe-samples", repo_type="dataset").private


@pytest.mark.slow
def test_photographs_of_coco_go_through(shared_data: Path) -> None:
    context = local_context()
    settings = {"source": str(shared_data / "Obmutescence" / "COCO-MINI"), "format": "coco", "license": "cc-by-4.0"}
    settings |= {"files": "*captions_*2017*.json", "require_image": True, "splits": {"train": 0.8, "test": 0.2}}
    built = build(ImageTextConfig.model_validate(settings), context)
    assert sum(map(len, built.values())) == 1195
    assert len({sha256 for part in built.values() for sha256 in part["sha256"]}) == 239
    counts = context.report.counts
    assert counts["records_read"] == 1590 and counts["rejected: duplicate"] == 395
    assert counts["images_that_look_like_another"] == 0
    # 47 photographs with five captions each, under CC BY 2.0.
    assert (
        sum(row is not None for part in built.values() for row in part["image"]) == counts["rows_with_pixels"] == 235
    )
