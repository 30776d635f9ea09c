"""Ranks of entities: formulas against a slow reading of them, subsets of equal counts, every row accounted for."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders.entity_ranks import EntityRanksConfig, build
from hubwright.builders.entity_ranks.measures import KNOWN, UNKNOWN, Measures, buckets, measure, subsets
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef


@given(st.integers(0, 10**6), st.integers(2, 7), st.floats(0.5, 50))
def test_measures_are_those_of_their_formulas(seed: int, names: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    cosines = np.round(rng.uniform(-1, 1, (5, names)), 1)  # ties are usual
    true = rng.integers(0, names, 5)
    candidates = rng.random((5, names)) < 0.7
    candidates[np.arange(5), true] = candidates[np.arange(5), (true + 1) % names] = True
    result = measure(cosines, true, candidates, scale)
    for i in range(5):
        own, rest = cosines[i, true[i]], [cosines[i, c] for c in range(names) if candidates[i, c] and c != true[i]]
        assert result.rank[i] == 1 + sum(other >= own for other in rest)
        assert result.margin[i] == pytest.approx(own - max(rest))
        assert result.probability[i] == pytest.approx(1 / (1 + sum(np.exp(scale * (other - own)) for other in rest)))


def test_an_encoder_for_which_all_names_are_the_same_knows_none() -> None:
    result = measure(np.zeros((2, 3)), np.array([0, 2]), np.ones((2, 3), bool), 100.0)
    assert result.rank.tolist() == [3, 3]
    assert result.probability == pytest.approx([1 / 3, 1 / 3])


@given(st.integers(0, 10**6), st.floats(0.1, 0.9))
def test_subsets_have_as_many_images_of_each_entity(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    entity = rng.integers(0, 4, 40)
    measures = Measures(rng.integers(1, 4, 40), *(rng.random(40) for _ in range(3)))
    bucket = buckets(measures.rank, measures.probability, 0.4, 2)
    chosen = subsets(measures, bucket, entity, rng.random(40), share)
    counts = {name: Counter(entity[mask].tolist()) for name, mask in chosen.items()}
    assert counts["known"] == counts["unknown"] == counts["mixed"]
    assert counts["high_probability"] == counts["low_probability"] == counts["high_similarity"] == counts["random"]
    assert set(bucket[chosen["known"]]) <= {KNOWN}
    assert set(bucket[chosen["unknown"]]) <= {UNKNOWN}
    for number in range(4):
        own = entity == number
        low, rest = chosen["low_probability"] & own, ~chosen["low_probability"] & own
        assert not rest.any() or measures.probability[low].max() <= measures.probability[rest].min()


def test_subsets_of_nothing() -> None:
    empty = np.zeros(0)
    assert not subsets(Measures(empty, empty, empty, empty), empty, empty, empty, 0.5)["known"].any()


def photograph(number: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (40 * number % 256, 90, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(number: int = 8) -> list[dict[str, Any]]:
    return [
        {"image_id": f"i{n}", "image": photograph(n), "landmark_id": n % 4, "name": f"Tower {n % 4}",
         "supercategory": "tower" if n % 4 < 2 else "bridge", "fold": n % 2, "question": "What is it?"}
        for n in range(number)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    import sys

    import torch
    from transformers import CLIPModel

    sys.path.insert(0, str(Path(__file__).parents[1] / "image_text_signals"))
    from signal_parts import make_clip

    first = make_clip(tmp_path_factory.mktemp("clip"))
    second = make_clip(tmp_path_factory.mktemp("clip"))
    model = CLIPModel.from_pretrained(second)
    with torch.no_grad():
        model.visual_projection.weight.mul_(-1)
    model.save_pretrained(second)
    return [first, second]


def context(folder: Path, data: list[dict[str, Any]], **encoders: Path) -> StepContext:
    from datasets import Dataset, Features, Image, List, Value

    kinds: dict[str, Any] = {
        "names": List(Value("string")),
        "landmark_id": Value("int64"),
        "fold": Value("int64"),
        "image": Image(),
    }
    features = Features({name: kinds.get(name, Value("string")) for name in data[0]})
    table = [row | {"image": None if row["image"] is None else {"bytes": row["image"], "path": None}} for row in data]
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(table, features=features).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    inputs = {"dataset": Input(ArtifactRef("dataset", "me/landmarks", "0" * 40), folder)}
    inputs |= {role: Input(ArtifactRef("model", f"me/{role}", "0" * 40), path) for role, path in encoders.items()}
    (folder / "out").mkdir()
    return StepContext("ranks", folder / "work", folder / "out", inputs)


def test_every_row_is_ranked_and_described(tmp_path: Path, clips: list[Path]) -> None:
    step = context(tmp_path, rows(), encoder=clips[0])
    result = build(EntityRanksConfig(device="cpu"), step)
    check_columns("entity_ranks", result, step.report)
    table = result["train"]
    assert [row["image_id"] for row in table] == [f"i{n}" for n in range(8)]
    assert table[0]["image"].size == (20, 20)
    assert all(1 <= rank <= 4 for rank in table["rank"])
    assert step.report.counts["images"] == step.report.counts["rows"] == 8
    assert sum(step.report.counts[name] for name in step.report.counts if name.startswith("images ")) == 8
    again = build(EntityRanksConfig(device="cpu", batch=3), context(tmp_path / "again", rows(), encoder=clips[0]))
    assert again["train"]["rank"] == table["rank"]
    assert again["train"]["subsets"] == table["subsets"]


def test_each_fold_is_ranked_by_its_encoder(tmp_path: Path, clips: list[Path]) -> None:
    alone = [
        build(EntityRanksConfig(device="cpu"), context(tmp_path / str(n), rows(), encoder=clip))["train"]
        for n, clip in enumerate(clips)
    ]
    step = context(tmp_path / "both", rows(), encoder_0=clips[0], encoder_1=clips[1])
    both = build(EntityRanksConfig(device="cpu", fold="fold"), step)["train"]
    assert both["encoder"] == ["encoder_0", "encoder_1"] * 4
    assert both["similarity"] == pytest.approx([alone[n % 2]["similarity"][n] for n in range(8)], abs=1e-5)
    assert both["similarity"] != pytest.approx(alone[0]["similarity"], abs=1e-5)


def test_questions_on_an_image_share_its_rank(tmp_path: Path, clips: list[Path]) -> None:
    twice = [row | {"question": text} for row in rows() for text in ("What is it?", "Where is it?")]
    step = context(tmp_path / "twice", twice, encoder=clips[0])
    result = build(EntityRanksConfig(device="cpu"), step)["train"]
    once = build(EntityRanksConfig(device="cpu"), context(tmp_path / "once", rows(), encoder=clips[0]))["train"]
    assert step.report.counts["images"] == 8
    assert result["rank"] == [rank for rank in once["rank"] for _ in range(2)]
    assert result["subsets"] == [names for names in once["subsets"] for _ in range(2)]


def test_candidates_of_a_group(tmp_path: Path, clips: list[Path]) -> None:
    result = build(
        EntityRanksConfig(device="cpu", group="supercategory"), context(tmp_path, rows(), encoder=clips[0])
    )["train"]
    assert max(result["rank"]) <= 2


BROKEN = {
    "no image": ({"image": None}, "its pixels are not in the data set"),
    "empty image": ({"image": b""}, "without content"),
    "truncated image": ({"image": photograph(3)[:60]}, ""),
    "svg": ({"image": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, ""),
    "no entity": ({"landmark_id": None}, "no entity, or no name of it"),
    "no group": ({"supercategory": None, "landmark_id": 9, "name": "Hut"}, "no supercategory"),
    "alone in its group": ({"supercategory": "hut", "landmark_id": 9, "name": "Hut"}, "no other name to compare with"),
    "no encoder of its fold": ({"fold": 7}, "no encoder ranks its fold"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_row_that_cannot_be_ranked_says_why(case: str, tmp_path: Path, clips: list[Path]) -> None:
    change, reason = BROKEN[case]
    data = rows()
    data[3] = data[3] | change
    settings: dict[str, Any] = {"device": "cpu", "group": "supercategory", "fold": "fold"}
    step = context(tmp_path, data, encoder_0=clips[0], encoder_1=clips[1])
    result = build(EntityRanksConfig.model_validate(settings), step)["train"]
    assert [row["rank"] is None for row in result] == [n == 3 for n in range(8)]
    assert reason in result[3]["fault"]
    assert result[3]["bucket"] is None
    assert result[3]["subsets"] == []
    assert step.report.counts[f"rows without a rank: {result[3]['fault']}"] == 1


WRONG: dict[str, tuple[dict[str, Any], Any, str]] = {
    "absent column": ({"name": "title"}, None, "no column 'title'; it has image_id"),
    "two names": ({}, {"name": "Another"}, "row 5: landmark_id 1 is 'Another' here and 'Tower 1' before"),
    "one name": ({}, "same", "fewer than two names in 'name'"),
    "names in lists": ({"name": "names"}, {"names": ["Tower"]}, "column 'names' holds lists or records"),
    "no image at all": ({}, {"image": None}, "no image can be ranked (its pixels are not in the data set)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_data_that_cannot_be_ranked_are_refused(case: str, tmp_path: Path, clips: list[Path]) -> None:
    settings, change, message = WRONG[case]
    data = rows()
    if case == "two names":
        data[5] = data[5] | change
    elif change == "same":
        data = [row | {"name": "Tower"} for row in data]
    elif change:
        data = [row | change for row in data]
    with pytest.raises(DataError, match=r"local|me/landmarks") as error:
        build(EntityRanksConfig(device="cpu", **settings), context(tmp_path, data, encoder=clips[0]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_encoder_that_has_diverged_knows_nothing(tmp_path: Path, clips: list[Path]) -> None:
    import torch
    from transformers import CLIPModel

    broken = tmp_path / "broken"
    shutil.copytree(clips[0], broken)
    model = CLIPModel.from_pretrained(broken)
    with torch.no_grad():
        model.visual_projection.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(DataError, match="input encoder: its vectors are not finite"):
        build(EntityRanksConfig(device="cpu"), context(tmp_path / "data", rows(), encoder=broken))


def test_a_column_of_lists_of_images_is_one_line(tmp_path: Path, clips: list[Path]) -> None:
    from datasets import Dataset, Features, Image, List, Value

    step = context(tmp_path, rows(), encoder=clips[0])
    table = [{**row, "image": [{"bytes": row["image"], "path": None}]} for row in rows()]
    kinds = {"landmark_id": Value("int64"), "fold": Value("int64"), "image": List(Image())}
    features = Features({name: kinds.get(name, Value("string")) for name in table[0]})
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    Dataset.from_list(table, features=features).to_parquet(str(path))
    with pytest.raises(DataError, match=r"column `image` holds .* and no image per row"):
        build(EntityRanksConfig(device="cpu"), step)


def test_from_a_recipe(
    hubwright_in_process: Any,
    tmp_path: Path,
    clips: list[Path],
    namespace: str,
    api: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    # datasets counts uses of its parquet reader elsewhere
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    (tmp_path / "rows").mkdir()
    step = context(tmp_path / "rows", rows(), encoder=clips[0])
    for kind, name, folder in (
        ("dataset", "towers", step.inputs["dataset"].path / "data"),
        ("model", "clip", clips[0]),
    ):
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}", repo_type=kind)
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder, repo_type=kind,
                          path_in_repo="data" if kind == "dataset" else None)  # fmt: skip
        if kind == "dataset":
            api.upload_file(repo_id=f"{namespace}/{name}", path_or_fileobj=folder / "README.md", repo_type=kind,
                            path_in_repo="README.md")  # fmt: skip
    recipe = {"name": "ranks", "steps": {"ranks": {
        "uses": "entity_ranks", "inputs": {"dataset": f"{namespace}/towers", "encoder": f"{namespace}/clip"},
        "publish": {"dataset": "ranks", "tag": "v1"},
    }}}  # fmt: skip
    (tmp_path / "ranks.yaml").write_text(json.dumps(recipe))
    done = hubwright_in_process("run", str(tmp_path / "ranks.yaml"), "--set", f"namespace={namespace}")
    assert done.returncode == 0, done.stderr[-2000:]
    rows_read = datasets.load_dataset(f"{namespace}/ranks", split="train", revision="v1", cache_dir=str(tmp_path))
    assert rows_read.num_rows == 8 and rows_read[0]["image"].size == (20, 20)
    card = Path(api.hf_hub_download(f"{namespace}/ranks", "README.md", repo_type="dataset")).read_text()
    assert "VisPRE" in card and "By entity" in card and "unknown.png" in card


@pytest.mark.parametrize(("fold", "inputs", "message"), [
    (None, [], "name a dual encoder as `encoder`"),
    (None, ["encoder_0", "encoder_1"], "no fold says which ranks what"),
    ("fold", ["encoder"], "each fold has an encoder that was not trained on it"),
])  # fmt: skip
def test_encoders_that_do_not_go_with_the_fold(fold: str | None, inputs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EntityRanksConfig(fold=fold).check_inputs(["dataset", *inputs])


def test_a_template_names_its_place() -> None:
    with pytest.raises(ValueError, match=r"'a photo' has no \{name\}"):
        EntityRanksConfig(templates=("a photo",))
