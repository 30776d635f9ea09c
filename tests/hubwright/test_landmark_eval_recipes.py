"""recipes/landmarks that compare models and name a folder's images, as they are shipped, from and to an embedded hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from landmark_eval_parts import landmarks, photograph, save_all
from vision_parts import make_text_tower, make_tower

from hubwright.recipe import shipped_recipes

WORDS = "Red Green Blue White Tower Bridge Peak Lake Hanoi A a photo of ( ) ."


def shipped(name: str, folder: Path, namespace: str) -> tuple[Path, dict[str, Any]]:
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    text = text.replace("facebook/dinov2-small", "me/tiny-tower").replace("me/", f"{namespace}/")
    plan = yaml.safe_load(text) | {"namespace": namespace}
    for step in plan["steps"].values():
        if step["uses"] in ("landmark_predict", "landmark_answers", "entity_ranks"):
            step["with"] = {**step.get("with", {}), "device": "cpu"}
        if "encoder" in step["inputs"]:
            step["with"]["templates"] = ["A photo of {name}."]  # what the small encoder has read
        if step["uses"] == "landmark_answers":
            step["with"]["max_new_tokens"] = 3
    return folder / f"{name}.yaml", plan


def publish(api: Any, repo: str, folder: Path, kind: str) -> None:
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else "---\n---\n"
    readme.write_text(text.replace("---\n", "---\nlicense: mit\n", 1), encoding="utf-8")
    api.create_repo(repo, repo_type=kind)
    api.upload_folder(repo_id=repo, folder_path=folder, repo_type=kind)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_encoder_is_trained_and_models_are_compared_on_the_hub(
    hubwright_in_process: Any, api: Any, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aitqe_parts import make_base
    from trainer_parts import context

    from hubwright.trainers import dual_encoder

    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(datasets.config, "USE_PARQUET_EXPORT", False)  # the viewer of a hub, which ours does not have
    data = save_all(tmp_path / "data", each=6)
    from landmark_eval_parts import pairs, save

    captions = save(tmp_path / "captions", {"default": {"train": pairs("train", 9) + pairs("unseen", 9)}})
    inputs = {"vision_tower": make_tower(tmp_path / "t"), "text_tower": make_text_tower(tmp_path / "w", WORDS),
              "dataset": captions}  # fmt: skip
    step = context(tmp_path, inputs, "encoder")
    settings = {"max_steps": 200, "per_device_train_batch_size": 36, "learning_rate": 3e-3, "use_cpu": True}
    dual_encoder.train(dual_encoder.DualEncoderConfig(**settings), step)
    publish(api, f"{namespace}/landmarks", data, "dataset")
    publish(api, f"{namespace}/landmark-encoder", step.output, "model")
    publish(api, f"{namespace}/landmark-model", make_base(tmp_path / "vlm"), "model")
    publish(api, f"{namespace}/tiny-tower", make_tower(tmp_path / "tower"), "model")

    path, plan = shipped("landmark_names", tmp_path, namespace)
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr
    scores = Path(api.snapshot_download(f"{namespace}/landmark-scores", repo_type="dataset"))
    rows = json.loads((scores / "scores.json").read_text())["figures"]
    value = {(r["method"], r["level"], r["part"], r["figure"]): r["value"] for r in rows}
    assert value["probe", "name", "split test", "accuracy"] > 0.8
    assert value["probe", "name", "split unseen", "accuracy"] == 0 and value["model", "name", "all", "accuracy"] == 0
    assert value["nearest", "name", "all", "accuracy"] > 0.9 and value["nearest", "overall", "all", "consistency"] == 1
    assert ("nearest", "name", "bucket known", "accuracy") in value and ("model", "name", "all", "choice") in value
    assert value["nearest", "name", "bucket known", "accuracy"] == 1
    card = (scores / "README.md").read_text(encoding="utf-8")
    for text in ("Confusion by granularity", "images-known.png", "kinds-1.png", "descriptive", "p (McNemar)"):
        assert text in card
    assert (scores / "images-known.png").is_file() and (scores / "plots" / "confusion-by-granularity.png").is_file()

    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, one in enumerate(landmarks()):
        (folder / f"{number} {one['name']}.png").write_bytes(photograph(one, 3))
    (folder / "cut.png").write_bytes(b"\x89PNG")
    path, plan = shipped("landmark_folder", tmp_path, namespace)
    plan["steps"]["names"]["with"] |= {"source": str(folder), "precision": 0.2}
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    done = hubwright_in_process("run", str(path))
    assert done.returncode == 0, done.stderr
    result = datasets.load_dataset(f"{namespace}/photographs-landmarks", split="train")
    assert len(result) == 9 and "image" not in result.column_names
    assert [row["fault"] is None for row in result] == [row["image_id"] != "cut.png" for row in result]
    published = Path(api.snapshot_download(f"{namespace}/photographs-landmarks", repo_type="dataset"))
    texts = "".join(
        p.read_text(encoding="utf-8") for p in published.rglob("*") if p.suffix in (".md", ".json", ".yaml")
    )
    assert str(tmp_path) not in texts and not list(published.rglob("images-*.png"))
