"""recipes/aitqe as they are shipped, at toy size: from photographs to scorers, and a messy folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from coco_parts import coco
from trainer_parts import make_model
from url_parts import picture
from vision_parts import make_text_tower, make_tower

from hubwright.recipe import shipped_recipes
from hubwright.trainers.aitqe import enhance, rating

BASES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "tiny-lm", "facebook/dinov2-small": "tiny-tower",
    "sentence-transformers/all-MiniLM-L6-v2": "tiny-words",
}  # fmt: skip
FEW = {"max_steps": 2, "use_cpu": True, "bf16": False, "threads": 1}


def shipped(name: str, folder: Path, namespace: str) -> tuple[Path, dict[str, Any]]:
    """A shipped recipe in our namespace, with few steps and tiny models."""
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    for base, tiny in BASES.items():
        text = text.replace(base, f"{namespace}/{tiny}")
    plan = yaml.safe_load(text.replace("me/aitqe", f"{namespace}/aitqe")) | {"namespace": namespace}
    for step in plan["steps"].values():
        settings = step.setdefault("with", {})
        if "max_steps" in settings:
            settings |= FEW
        if "image_size" in settings:
            settings["image_size"] = 28
        if step["uses"] in ("aitqe_rate", "aitqe_enhance"):
            settings |= {"use_cpu": True, "threads": 1, "batch_size": 8}
    path = folder / f"{name}.yaml"
    return path, plan


def photographs(folder: Path) -> None:
    """Images with texts as people have them: nested, without a text, cut in half, of capitals, with a book for a text."""
    (folder / "holidays" / "2024").mkdir(parents=True)
    for number in range(12):
        place = folder / ("" if number % 3 else "holidays" if number % 2 else "holidays/2024") / f"image {number}.png"
        place.write_bytes(picture(number))
        place.with_suffix(".txt").write_text(f"A red car in Rome, number {number}.", encoding="utf-8")
    (folder / "lonely.png").write_bytes(picture(20))
    (folder / "silent.png").write_bytes(picture(21))
    (folder / "silent.txt").write_text("")
    (folder / "cut.jpg").write_bytes(picture(22, "JPEG")[:-200])
    (folder / "cut.txt").write_text("A cut image")
    (folder / "LOUD.JPG").write_bytes(picture(23, "JPEG"))
    (folder / "LOUD.TXT").write_text("A loud image")
    (folder / "book.png").write_bytes(picture(24))
    (folder / "book.txt").write_text("word " * 1999 + "words")
    (folder / "nobody.txt").write_text("A text of no image")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scorers_are_trained_and_a_folder_is_enhanced(
    hubwright_in_process: Any, api: Any, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(datasets.config, "USE_PARQUET_EXPORT", False)  # the viewer of a hub, which ours does not have
    for module in (enhance, rating):
        monkeypatch.setattr(module, "LEAST_MASS", 0)  # two steps teach nobody to write numbers
    made = {"tiny-lm": make_model(tmp_path / "lm"), "tiny-tower": make_tower(tmp_path / "tower"),
            "tiny-words": make_text_tower(tmp_path / "words", "two small dogs near a red car large number and")}  # fmt: skip
    for name, folder in made.items():
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)

    path, plan = shipped("aitqe", tmp_path, namespace)
    plan["steps"]["pairs"]["with"]["source"] = str(coco(tmp_path / "in", 40))
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    check_cards(api, plan, namespace)
    check_second_run(hubwright_in_process, api, path, plan, namespace)

    photographs(tmp_path / "photographs")
    path, plan = shipped("aitqe_enhance", tmp_path, namespace)
    plan["steps"]["pairs"]["with"]["source"] = "photographs"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    check_cards(api, plan, namespace)
    card = Path(api.hf_hub_download(f"{namespace}/photographs", "README.md", repo_type="dataset")).read_text()
    for reason in ("an image without a text", "a truncated image", "a text without an image"):
        assert reason in card, reason
    pairs, decisions, enhanced = (
        datasets.load_dataset(f"{namespace}/{name}", *config, split="train", cache_dir=str(tmp_path / "cache"))
        for name, config in (
            ("photographs", ()), ("photographs-enhanced", ("decisions",)), ("photographs-enhanced", ("enhanced",)),
        )
    )  # fmt: skip
    texts = list(pairs["text"])
    assert len(texts) == 14 and "A loud image" in texts and max(map(len, texts)) == 10_000
    assert list(decisions["id"]) == list(pairs["id"]) and set(decisions["decision"]) <= {"keep", "rewrite", "drop"}
    (book,) = [row for row in decisions if len(row["raw_text"]) == 10_000]
    assert book["decision"] == "drop" and "longer than max_length" in book["reason"]
    assert len(enhanced) == sum(decision != "drop" for decision in decisions["decision"])
    assert all(row["text"] == row["raw_text"] for row in decisions if row["decision"] == "keep")
    assert enhanced[0]["image"].size == (48, 48)
    check_second_run(hubwright_in_process, api, path, plan, namespace)


def published(plan: dict[str, Any], namespace: str) -> list[tuple[str, str]]:
    """(type, repository) of every step."""
    steps = [step["publish"] for step in plan["steps"].values()]
    return [
        ("model" if "model" in one else "dataset", f"{namespace}/{one.get('model') or one['dataset']}")
        for one in steps
    ]


def check_cards(api: Any, plan: dict[str, Any], namespace: str) -> None:
    for kind, repo in published(plan, namespace):
        card = Path(api.hf_hub_download(repo, "README.md", repo_type=kind)).read_text(encoding="utf-8")
        assert card.startswith("---") and len(card) > 500, repo
        assert api.repo_info(repo, repo_type=kind).private, repo


def check_second_run(run: Any, api: Any, path: Path, plan: dict[str, Any], namespace: str) -> None:
    """Nothing is made or committed again."""
    before = [api.repo_info(repo, repo_type=kind).sha for kind, repo in published(plan, namespace)]
    done = run("run", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [api.repo_info(repo, repo_type=kind).sha for kind, repo in published(plan, namespace)] == before
