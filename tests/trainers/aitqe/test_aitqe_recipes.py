"""The shipped recipes from end to end with models in miniature: from COCO's files to compared scorers, and from a
user's own folder to texts that are kept, rewritten or dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import HfApi
from trainer_parts import make_model
from vision_parts import drawing, encoded, make_text_tower, make_tower

from hubwright.recipe import shipped_recipes

COLOURS, SHAPES = ("red", "green", "blue", "white"), ("square", "circle", "bar", "cross")


def coco(folder: Path, images: int) -> Path:
    """Drawings of different sizes with two captions each."""
    (folder / "annotations").mkdir(parents=True)
    listed, captions = [], []
    for number in range(images):
        colour, shape = COLOURS[number % 4], SHAPES[number // 4 % 4]
        (folder / f"{number:012d}.png").write_bytes(encoded(drawing(colour, shape, 40 + number)))
        listed.append(
            {"id": number, "file_name": f"{number:012d}.png", "license": 1, "coco_url": f"http://a.test/{number}"}
        )
        for text in (
            f"A {colour} {shape} with two small dogs, number {number}.",
            f"Two dogs near a {colour} {shape}.",
        ):
            captions.append({"id": len(captions), "image_id": number, "caption": text})
    licences = [{"id": 1, "url": "http://creativecommons.org/licenses/by/2.0/"}]
    value = {"images": listed, "annotations": captions, "licenses": licences}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(value))
    return folder


def own_folder(folder: Path) -> Path:
    """What a user has: nested folders, capitals, and pairs that lack something."""
    (folder / "trip" / "day 2").mkdir(parents=True)
    for number in range(24):
        place = folder / ("trip/day 2" if number % 2 else "")
        image = encoded(drawing(COLOURS[number % 4], SHAPES[number // 4 % 4], 60 + number), "JPEG")
        (place / f"IMG_{number}.{'JPG' if number % 3 else 'jpeg'}").write_bytes(image)
        (place / f"IMG_{number}.txt").write_text(f"A {COLOURS[number % 4]} {SHAPES[number // 4 % 4]}, {number}.\n")
    (folder / "alone.png").write_bytes(encoded(drawing("red", "bar")))
    (folder / "empty.png").write_bytes(encoded(drawing("red", "bar", 90)))
    (folder / "empty.txt").write_text("")
    (folder / "broken.png").write_bytes(encoded(drawing("red", "bar", 91))[:80])
    (folder / "broken.txt").write_text("A red bar.")
    (folder / "long.png").write_bytes(encoded(drawing("red", "bar", 92)))
    (folder / "long.txt").write_text("A red bar. " * 1000)
    return folder


@pytest.fixture
def small(tmp_path: Path, api: HfApi, namespace: str) -> Callable[[str], Path]:
    """A shipped recipe with models in miniature, which are published, and few steps."""
    names = {"facebook/dinov2-small": "tower", "sentence-transformers/all-MiniLM-L6-v2": "text",
             "HuggingFaceTB/SmolLM2-135M-Instruct": "lm"}  # fmt: skip
    folders = {"tower": make_tower(tmp_path / "tower"), "text": make_text_tower(tmp_path / "text"),
               "lm": make_model(tmp_path / "lm")}  # fmt: skip
    for name, folder in folders.items():
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)

    def write(recipe: str) -> Path:
        text = shipped_recipes()[recipe].read_text()
        for official, name in names.items():
            text = text.replace(official, f"{namespace}/{name}")
        for old in ("max_steps: 60", "max_steps: 100"):
            text = text.replace(old, "max_steps: 2")
        path = tmp_path / f"{recipe}.yaml"
        path.write_text(text.replace("image_size: 112", "image_size: 28").replace("max_length: 512", "max_length: 1000")
                        .replace("max_length: 256", "max_length: 1000"))  # fmt: skip
        return path

    return write


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_photographs_to_scorers_to_an_own_folder(
    hubwright_in_process: Callable[..., Any],
    small: Callable[[str], Path],
    tmp_path: Path,
    api: HfApi,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    recipe = small("aitqe")
    settings = ["--set", f"namespace={namespace}", "--set", f"steps.pairs.with.source={coco(tmp_path / 'in', 40)}"]
    done = hubwright_in_process("run", recipe.name, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    compared = datasets.load_dataset(f"{namespace}/aitqe-compared", cache_dir=str(tmp_path / "cache"))
    assert compared.num_rows
    for name in ("aitqe-generative-scores", "aitqe-head-scores", "coco-mini-signals"):
        test = datasets.load_dataset(f"{namespace}/{name}", split="test", cache_dir=str(tmp_path / "cache"))
        samples = datasets.load_dataset(f"{namespace}/aitqe-samples", split="test", cache_dir=str(tmp_path / "cache"))
        assert test["id"] == samples["id"]
    card = Path(api.hf_hub_download(f"{namespace}/aitqe-compared", "README.md", repo_type="dataset")).read_text()
    assert "Twins in order, by damage" in card
    commits = {name: api.repo_info(f"{namespace}/{name}").sha for name in ("aitqe-generative", "aitqe-head")}
    again = hubwright_in_process("run", recipe.name, *settings)
    assert again.returncode == 0, again.stderr[-3000:]
    assert commits == {name: api.repo_info(f"{namespace}/{name}").sha for name in commits}

    recipe = small("aitqe_enhance")
    # Two steps teach no tokens of numbers, and a scorer without them is refused: the head scores, the other one writes.
    inputs = {"model": f"{namespace}/aitqe-head", "second": f"{namespace}/aitqe-head",
              "rewriter": f"{namespace}/aitqe-generative"}  # fmt: skip
    settings = [
        "--set", f"namespace={namespace}", "--set", f"steps.pairs.with.source={own_folder(tmp_path / 'photographs')}",
        *(part for role, ref in inputs.items() for part in ("--set", f"steps.enhanced.inputs.{role}={ref}")),
        "--set", "steps.enhanced.with.max_new_tokens=8", "--set", "steps.enhanced.with.max_length=1000",
        "--set", "steps.pairs.with.max_rejected_share=0.2",
    ]  # fmt: skip
    done = hubwright_in_process("run", recipe.name, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    place = f"{namespace}/photographs-enhanced"
    decisions = datasets.load_dataset(place, "decisions", split="train", cache_dir=str(tmp_path / "cache"))
    enhanced = datasets.load_dataset(place, "enhanced", split="train", cache_dir=str(tmp_path / "cache"))
    kinds = Counter(row["decision"] for row in decisions)
    assert len(decisions) == 25 and kinds["drop"] == 1  # the text that is too long to be scored
    assert [row["reason"] for row in decisions if row["decision"] == "drop"] == [
        "not scored: image and text are longer than max_length 1000 tokens"
    ]
    assert len(enhanced) == 24 and enhanced[0]["image"].size[0] >= 60
    whole = {row["id"]: row for row in decisions}
    assert all(row["text"] == whole[row["id"]]["text"] for row in enhanced)
    assert all(row["text"] == row["raw_text"] for row in decisions if row["decision"] == "keep")
    record = json.loads(
        Path(api.hf_hub_download(f"{namespace}/photographs", "provenance.json", repo_type="dataset")).read_text()
    )
    counts = record["records"][0]["report"]["counts"]
    assert counts["rows"] == 25, counts
    again = hubwright_in_process("run", recipe.name, *settings)
    assert again.returncode == 0, again.stderr[-3000:]
