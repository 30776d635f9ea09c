"""recipes/landmarks as they are shipped, at toy size: from photographs to questions and ranks, read by stock clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from landmark_parts import photograph, write_csv
from trainer_parts import make_model
from vision_parts import make_text_tower, make_tower

from hubwright.builders._lib.context import local_context
from hubwright.builders.landmarks import LandmarksConfig, build
from hubwright.recipe import shipped_recipes

LABELS = ("colosseum", "pantheon", "rialto_bridge", "hagia_sophia")


def labelled(folder: Path, images: int = 48) -> Path:
    """Photographs with a table of labels, of which some have none."""
    folder.mkdir(parents=True)
    for n in range(images):
        (folder / f"{n:05d}.png").write_bytes(photograph(n, "PNG"))
    rows = [(f"{n:05d}.png", "train", "" if n % 12 == 11 else LABELS[n % 4]) for n in range(images)]
    write_csv(folder / "landmarks.csv", ("filename", "partition", "semantic_label"), rows)
    return folder


def shipped(name: str, folder: Path, namespace: str, **changes: dict[str, Any]) -> Path:
    """A shipped recipe in our namespace, with changed settings by step."""
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    for base, tiny in {
        "facebook/dinov2-small": "tiny-tower",
        "sentence-transformers/all-MiniLM-L6-v2": "tiny-words",
    }.items():
        text = text.replace(base, f"{namespace}/{tiny}")
    plan = yaml.safe_load(text) | {"namespace": namespace}
    for step, settings in changes.items():
        plan["steps"][step].setdefault("with", {}).update(settings)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def test_questions_are_published_and_read_by_stock_clients(
    hubwright_in_process: Any, api: Any, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    source = labelled(tmp_path / "in")
    for n in range(20):
        place = tmp_path / "vn" / ("train" if n % 2 else "test") / ("halong_bay" if n % 3 else "hoian_town")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"photo ({n}).jpg").write_bytes(photograph(100 + n))
    path = shipped(
        "landmarks", tmp_path, namespace, landmarks={"source": str(source)}, vietnam={"source": str(tmp_path / "vn")}
    )
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    pairs, questions, landmarks = (
        datasets.load_dataset(
            f"{namespace}/ten-landmarks", config, revision="v1.0.0", cache_dir=str(tmp_path / "cache")
        )
        for config in ("pairs", "questions", "landmarks")
    )
    assert set(pairs) == set(questions) == {"train", "validation", "test", "unseen"} and set(landmarks) == {"train"}
    assert sum(map(len, pairs.values())) == 44 and sum(map(len, questions.values())) == 44 * 5
    row = questions["test"][0]
    assert row["image"].size == (48, 48) and row["messages"][0]["content"].startswith("<image>")
    assert {row["name"] for row in landmarks["train"]} == {"Colosseum", "Pantheon", "Rialto Bridge", "Hagia Sophia"}
    card = Path(api.hf_hub_download(f"{namespace}/ten-landmarks", "README.md", repo_type="dataset")).read_text()
    assert (
        "an image without a landmark" in card
        and "Leakage" in card
        and "arxiv:2411.16824" in card
        and "landmarks.png" in card
    )
    assert api.repo_info(f"{namespace}/ten-landmarks", repo_type="dataset").private
    public = ["--set", "steps.landmarks.publish.private=false", "--set", "steps.landmarks.publish.dataset=public"]
    refused = hubwright_in_process("run", str(path), *public, "--dry-run")
    assert refused.returncode == 3 and "must not be published in public" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_encoders_are_cross_fitted_and_questions_train_a_model_that_speaks(
    hubwright_in_process: Any, api: Any, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    words = make_text_tower(
        tmp_path / "words", "a photo of This shows seen in Colosseum Pantheon Rialto Bridge Hagia Sophia . ,"
    )
    towers = {
        "tiny-tower": make_tower(tmp_path / "tower"),
        "tiny-words": words,
        "tiny-lm": make_model(tmp_path / "lm"),
    }
    for name, folder in towers.items():
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)
    few = {
        "max_steps": 2,
        "image_size": 28,
        "use_cpu": True,
        "bf16": False,
        "threads": 1,
        "per_device_train_batch_size": 8,
    }
    encoders = {f"names_{fold}": few for fold in range(3)}
    source = labelled(tmp_path / "in")
    path = shipped("landmark_ranks", tmp_path, namespace, landmarks={"source": str(source)}, **encoders)
    plan = yaml.safe_load(path.read_text())
    plan["steps"]["speaks"] = {
        "uses": "vision_sft", "publish": {"model": "speaks", "private": True},
        "inputs": {"language_model": f"{namespace}/tiny-lm", "vision_tower": f"{namespace}/tiny-tower",
                   "dataset": "steps.landmarks"},
        "with": few | {"dataset_configs": ["questions"], "chat_template": "chatml_tools", "eval_split": "test"},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = datasets.load_dataset(
        f"{namespace}/ten-landmarks-ranks", revision="v1.0.0", cache_dir=str(tmp_path / "cache")
    )
    rows = [row for split in ranks.values() for row in split]
    assert len(rows) == 44 and all(row["fault"] is None and 1 <= row["rank"] <= 4 for row in rows)
    assert all(row["encoder"] == f"encoder_{row['fold']}" for row in rows)
    assert api.model_info(f"{namespace}/speaks").id == f"{namespace}/speaks"


def test_both_sets_of_photographs_go_through(shared_data: Path) -> None:
    source = shared_data / "huynhtiennhat0403" / "vietnamese-landmark-classifier" / "data.tar"
    context = local_context()
    settings = {"format": "folder", "license": "other", "unlicensed_pixels": "local", "hierarchy": "builtin"}
    built = build(LandmarksConfig.model_validate({"source": str(source)} | settings), context)
    counts = context.report.counts
    assert counts["records_read"] == 268 and sum(map(len, built["pairs"].values())) == 268 - counts["records_rejected"]
    assert len(built["landmarks"]["train"]) == 5 and context.report.metrics["leaks"] == 0
    assert context.report.metrics["coverage_supercategory"] == 1


@pytest.mark.slow
def test_ten_landmarks_go_through(shared_data: Path) -> None:
    context = local_context()
    source = shared_data / "itsandywang" / "landmark-classification" / "data"
    settings = {
        "format": "table",
        "license": "other",
        "unlicensed_pixels": "local",
        "hierarchy": "builtin",
        "unseen": 0.2,
    }
    built = build(LandmarksConfig.model_validate({"source": str(source)} | settings), context)
    counts = context.report.counts
    assert counts["records_read"] == 5152 and counts["rejected: an image without a landmark"] == 280
    assert sum(map(len, built["pairs"].values())) == 4872 and len(built["landmarks"]["train"]) == 10
    assert context.report.metrics["leaks"] == 0
