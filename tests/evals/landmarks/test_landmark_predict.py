"""Names for images by an encoder, a probe and a model that speaks: formulas, thresholds, and every image accounted for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from column_parts import check_columns
from landmark_eval_parts import PARENTS, landmarks, pairs, photograph, questions, save, save_all, step_context
from pydantic import ValidationError

from hubwright.evals._lib.data import read_split
from hubwright.evals.landmarks.confidence import gap
from hubwright.evals.landmarks.predict import LandmarkPredictConfig, predict
from hubwright.evals.landmarks.score import LandmarkScoreConfig, score
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("data"), each=6)


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vision_parts import make_tower

    return make_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[2] / "builders" / "image_text_signals"))
    from signal_parts import make_clip

    return make_clip(tmp_path_factory.mktemp("clip"))


def settings(**more: Any) -> LandmarkPredictConfig:
    return LandmarkPredictConfig(**{"device": "cpu", "splits": ["test", "unseen"], **more})


def output(context: StepContext, split: str) -> list[dict[str, Any]]:
    return list(read_split(context.output, split))


def test_a_probe_names_what_it_was_trained_on_and_nothing_else(tmp_path: Path, data: Path, tower: Path) -> None:
    context = step_context(tmp_path / "a", dataset=data, landmarks=data, tower=tower)
    refs = dict(context.inputs)
    refs["landmarks"] = refs["dataset"]  # one data set in both roles
    context.inputs = refs
    predict(settings(), context)
    check_columns("landmark_predict", context.output, context.report)
    rows, metrics = output(context, "test"), context.report.metrics
    assert [row["image_id"] for row in rows] == [pair["image_id"] for pair in pairs("test", 6)]
    facts = {one["landmark_id"]: one for one in landmarks()}
    for row in rows:
        assert 1 / 6 < row["confidence"] <= 1 and row["fault"] is None
        assert {name: row[name] for name in ("name", *PARENTS)} == {
            name: facts[row["landmark_id"]][name] for name in ("name", *PARENTS)
        }  # fmt: skip
        assert row["abstained"] == (row["confidence"] < metrics["threshold"])
    assert metrics["test/accuracy"] > 0.8 and metrics["unseen/accuracy"] == metrics["unseen/gap"] == 0
    right = np.array([row["right"] for row in rows])
    assert metrics["test/gap"] == pytest.approx(gap([row["confidence"] for row in rows], right, len(rows)))
    assert right.tolist() == [row["name"] == row["label"] for row in rows]
    assert metrics["dev_precision"] > 0.8 and context.report.counts["train images"] == 36
    assert (context.output / "images-right.png").is_file()
    scored = step_context(
        tmp_path / "b", dataset=save(tmp_path / "q", {"questions": {split: questions(split, 6) for split in
                                                                    ("test", "unseen")}}),
        replies_probe=context.output,
    )  # fmt: skip
    score(LandmarkScoreConfig(bootstrap=20), scored)
    total = (right.sum()) / (len(rows) + 12)
    assert scored.report.metrics["probe/accuracy"] == pytest.approx(total)
    assert scored.report.metrics["probe/consistency"] == 1


def test_the_nearest_name_has_its_share_of_the_softmax(tmp_path: Path, data: Path, encoder: Path) -> None:
    from hubwright.builders.entity_ranks.measures import measure
    from hubwright.inference.media.embeddings import Embedder
    from hubwright.inference.media.images import open_image

    context = step_context(tmp_path, dataset=data, landmarks=data, encoder=encoder)
    predict(settings(templates=["{name}"], threshold=0.5), context)
    rows = output(context, "unseen")
    names = [one["name"] for one in landmarks()]
    embedder = Embedder.load(encoder, "clip", device="cpu")
    images = [open_image(pair["image"]) for pair in pairs("unseen", 6)]
    cosines = embedder.images(images) @ embedder.texts(names).T
    best = np.array([names.index(row["name"]) for row in rows])
    assert cosines[np.arange(len(rows)), best] == pytest.approx(cosines.max(axis=1))  # names may tie
    expected = measure(cosines, best, np.ones(cosines.shape, bool), embedder.scale).probability
    assert [row["confidence"] for row in rows] == pytest.approx(expected.tolist(), rel=1e-3)
    assert "dev_precision" not in context.report.metrics and context.report.metrics["threshold"] == 0.5
    assert all(row["abstained"] == (row["confidence"] < 0.5) for row in rows)


def test_a_folder_of_ones_own_with_files_of_all_kinds(tmp_path: Path, data: Path, encoder: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    good = photograph(landmarks()[0], 1)
    for name, content in {
        "b.png": good, "A.JPG": good, "sub/ảnh 1.png": good, "empty.png": b"", "page.jpg": b"<!doctype html><p>404",
        "cut.png": good[:60], "notes.txt": b"x", "sub/.hidden/c.png": good, "drawing.svg": b"<svg/>",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    context = step_context(tmp_path / "step", landmarks=data, encoder=encoder)
    predict(LandmarkPredictConfig(source=str(folder), device="cpu"), context)
    rows = output(context, "train")
    assert [row["image_id"] for row in rows] == ["A.JPG", "b.png", "cut.png", "empty.png", "page.jpg", "sub/ảnh 1.png"]
    faults = {row["image_id"]: row["fault"] for row in rows if row["fault"]}
    assert faults == {
        "cut.png": "a truncated image", "empty.png": "an image file without content", "page.jpg": "a page of HTML in place of an image"
    }  # fmt: skip
    assert all((row["name"] is None) == (row["fault"] is not None) for row in rows)
    assert all(row["right"] is None and row["label"] is None for row in rows)
    assert all((row["abstained"] is None) == (row["fault"] is not None) for row in rows)
    counts = context.report.counts
    assert counts["images"] == 6 and counts["with a name"] == 3 and counts["files that are not images"] == 2
    assert sum(n for name, n in counts.items() if name.startswith("without a prediction")) == 3
    assert not list(context.output.glob("images-*.png")), "pixels of a folder are not published unless gallery says so"
    published = " ".join(str(one) for one in (context.report.summary, context.report.tables, context.report.counts))
    assert str(tmp_path) not in published


def test_images_without_a_landmark_count_where_they_get_a_name(tmp_path: Path, data: Path, tower: Path) -> None:
    """98 % of the images of Google Landmarks' test show none."""
    some = pairs("test", 1)
    nothing = [
        {**dict.fromkeys(some[0]), "image": photograph(landmarks()[n % 8], 60 + n), "image_id": f"n{n}", "aliases": [],
         "fold": 0, "text": "x"}
        for n in range(30)
    ]  # fmt: skip
    mixed = save(
        tmp_path / "mixed", {"pairs": {"test": some + nothing, "validation": pairs("validation", 1) + nothing}}
    )
    context = step_context(tmp_path, dataset=mixed, landmarks=data, tower=tower)
    predict(settings(splits=["test"], threshold=0.0), context)
    rows, metrics = output(context, "test"), context.report.metrics
    assert all(row["right"] is False and row["label"] is None for row in rows if row["image_id"].startswith("n"))
    right = np.array([row["right"] for row in rows])
    assert metrics["test/gap"] == pytest.approx(gap([row["confidence"] for row in rows], right, 6))
    assert metrics["test/precision"] == pytest.approx(right.sum() / 36) and metrics["test/gap"] < 1
    dev = step_context(tmp_path / "dev", dataset=data, landmarks=data, dev=mixed, tower=tower)
    predict(settings(precision=0.16, splits=["test"]), dev)
    chosen = dev.report.metrics
    assert chosen["dev_precision"] >= 0.16 and 0 < chosen["dev_recall"] <= 1


def test_a_precision_that_none_has_is_refused(tmp_path: Path, data: Path, encoder: Path) -> None:
    context = step_context(tmp_path, dataset=data, landmarks=data, encoder=encoder)
    context.inputs = {**context.inputs, "dataset": step_context(tmp_path, other=data).inputs["other"]}
    with pytest.raises(
        DataError, match=r"precision: no threshold has 1 on validation; the largest there is 0\.\d+"
    ) as e:
        predict(settings(precision=1.0), context)
    assert "\n" not in str(e.value)


def test_a_model_that_writes(tmp_path: Path, data: Path) -> None:
    from aitqe_parts import make_base

    model = make_base(tmp_path / "m")
    context = step_context(tmp_path / "a", dataset=data, model=model)
    predict(settings(max_new_tokens=3, splits=["unseen"]), context)
    rows = output(context, "unseen")
    assert len(rows) == 12 and all(0 <= row["confidence"] <= 1 and row["abstained"] is None for row in rows)


def test_replies_become_landmarks_and_refusals_stay_without_a_name() -> None:
    from hubwright.evals.landmarks.predictors import Speaker
    from hubwright.evals.landmarks.seeing import Reply

    class Written:
        def prompt(self, question: str) -> str:
            return question

        def ask(self, prompts: list[str], images: list[str]) -> list[Reply]:
            return [Reply(text, 0.5) for text in images]

    twice = [*landmarks(), landmarks()[0] | {"landmark_id": "L9", "hierarchical_label": "ruins"}]
    texts = ["It is the tháp xanh!", "I don't know", "Big Ben", "Green Bridge or Red Bridge", "red tower"]
    blue, silent, other, two, red = Speaker(Written(), "?", twice)(texts)
    assert (blue.name, blue.landmark_id, blue.parents[0]) == ("Blue Tower (Hanoi)", "L2", "tower")
    assert silent.name is None and other[:3] == ("Big Ben", 0.5, None) and two.name == texts[3]
    assert red.name == "Red Tower" and red.landmark_id is None and red.parents == ("tower", None, "human-made")


@pytest.mark.parametrize(
    ("config", "roles", "error", "message"),
    [
        ({}, ("dataset", "landmarks"), UsageError, "name one of encoder"),
        ({}, ("dataset", "landmarks", "encoder", "tower"), UsageError, "name one of encoder"),
        ({}, ("landmarks", "encoder"), UsageError, "as the input `dataset` or as `source`"),
        ({"source": "x"}, ("dataset", "landmarks", "encoder"), UsageError, "as the input `dataset` or as `source`"),
        ({}, ("dataset", "encoder"), UsageError, "encoder: the input `landmarks` has the names"),
        ({"source": "nowhere/at/all"}, ("landmarks", "encoder"), UsageError, "'nowhere/at/all' is not a folder here"),
        ({"splits": ["dev"]}, ("dataset", "landmarks", "encoder"), DataError, "has no split 'dev'; it has train"),
        ({"config": "landmarks", "splits": []}, ("dataset", "landmarks", "encoder"), DataError, "no column 'image'"),
        ({"precision": 0.9, "dev_split": "dev"}, ("dataset", "landmarks", "encoder"), UsageError, "has no split 'dev' to"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_go_together_are_refused(
    tmp_path: Path, data: Path, encoder: Path, tower: Path, config: Any, roles: Any, error: Any, message: str
) -> None:
    paths = {"dataset": data, "landmarks": data, "encoder": encoder, "tower": tower}
    with pytest.raises(error, match=message) as caught:
        predict(settings(**config), step_context(tmp_path, **{role: paths[role] for role in roles}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "message"), [([], "probe is trained on train"), (["validation"], "is chosen on val")]
)
def test_nothing_is_chosen_or_trained_on_what_is_predicted(
    tmp_path: Path, data: Path, tower: Path, splits: list[str], message: str
) -> None:
    context = step_context(tmp_path, dataset=data, landmarks=data, tower=tower)
    context.inputs = {**context.inputs, "landmarks": context.inputs["dataset"]}
    with pytest.raises(UsageError, match=message):
        predict(settings(splits=splits), context)


@pytest.mark.parametrize("wrong", [{"threshold": 0.5, "precision": 0.9}, {"templates": ["a photo"]}, {"threshold": 2}])
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": None}, "row 1: no image_id"),
        ({"name": " "}, "name is not a text: ' '"),
        ({"image_id": "L0-20"}, "image 'L0-20' has another name before"),
    ],
)
def test_rows_that_are_none_are_refused(
    tmp_path: Path, data: Path, encoder: Path, change: dict[str, Any], message: str
) -> None:
    rows = pairs("test", 1)
    rows[1] |= change
    own = save(tmp_path / "own", {"pairs": {"test": rows}})
    with pytest.raises(DataError, match=message) as caught:
        predict(settings(splits=["test"]), step_context(tmp_path, dataset=own, landmarks=data, encoder=encoder))
    assert "\n" not in str(caught.value)


def test_what_is_done_is_not_predicted_again(tmp_path: Path, data: Path, encoder: Path) -> None:
    """A second run after a kill finds all shards, and so loads no model."""
    context = step_context(tmp_path, dataset=data, landmarks=data, encoder=encoder)
    predict(settings(threshold=0.2), context)
    rows = output(context, "test")
    again = step_context(tmp_path, dataset=data, landmarks=data, encoder=tmp_path / "nothing")
    predict(settings(threshold=0.4), again)
    assert [row | {"abstained": None} for row in output(again, "test")] == [row | {"abstained": None} for row in rows]
    with pytest.raises(DataError, match="org/encoder"):
        predict(settings(threshold=0.2, templates=["{name}!"]), again)
