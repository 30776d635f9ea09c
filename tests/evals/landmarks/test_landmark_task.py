"""The tasks through lm-eval: right and wrong models, rows that are no questions, and a real model of text."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from landmark_eval_parts import ASK, landmarks, photograph, questions, save, save_all

from hubwright.evals._lib.data import tasks_dir
from hubwright.hub_sync.errors import DataError


def evaluated(data: Path, model: Any, task: str, **settings: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    result = lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=manager, bootstrap_iters=0,
        **{"apply_chat_template": task != "landmark_text_only", **settings},
    )  # fmt: skip
    values = {name.removesuffix(",none"): value for name, value in result["results"][task].items()}
    return {"samples": result["samples"][task], **values}


def scripted(write: Callable[[Any], str]) -> Any:
    from lm_eval.api.model import LM

    class Scripted(LM):
        MULTIMODAL = True
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [write(request) for request in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    return Scripted()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("landmarks"))


def test_names_and_images_reach_the_model_and_its_replies_are_scored(data: Path) -> None:
    from PIL import Image

    seen = []

    def write(request: Any) -> str:
        ((turn,), (image,)) = json.loads(request.args[0]), request.args[2]["visual"]
        seen.append((turn["content"], image.tobytes()))
        name = request.doc["name"]
        return {"Red Tower": "the red tower.", "Green Tower": "It is the Green Tower", "Red Bridge": "unknown"}.get(
            name, name
        )

    values = evaluated(data, scripted(write), "landmark_name")
    rows = questions("test", levels=["name"])
    pictures = [Image.open(io.BytesIO(row["image"])).convert("RGB").tobytes() for row in rows]
    assert seen == [("<image>" + ASK["name"], picture) for picture in pictures] and len(rows) == 12
    assert values["acc"] == pytest.approx(4 / 6) and values["contains"] == pytest.approx(5 / 6)
    assert values["refusal"] == pytest.approx(1 / 6) and values["f1"] == pytest.approx((4 + 4 / 7) / 6)
    assert values["acc_ci_low"] < values["acc"] < values["acc_ci_high"] <= 1
    assert "consistency" not in values and "acc_known" not in values
    assert all("image" not in sample["doc"] for sample in values["samples"])


def test_levels_and_whether_they_agree(data: Path) -> None:
    def write(request: Any) -> str:
        doc = request.doc
        if doc["name"] == "Red Tower" and doc["level"] == "supercategory":
            return "bridge"
        return str(doc["answers"][0])

    values = evaluated(data, scripted(write), "landmark_levels")
    assert values["acc_name"] == values["acc_natural_or_human_made"] == values["caption_has_name"] == 1
    assert values["acc_supercategory"] == pytest.approx(4 / 5)  # the lake has none
    assert values["consistency"] == pytest.approx(4 / 5)
    assert values["acc"] == pytest.approx((12 + 8 + 10 + 10) / 42)
    silent = evaluated(data, scripted(lambda request: "I don't know"), "landmark_levels_unseen")
    assert silent["acc"] == silent["contains"] == 0 and silent["refusal"] == 1 and math.isnan(silent["consistency"])
    assert {sample["doc"]["landmark_id"] for sample in silent["samples"]} == {"L3", "L5"}


def test_buckets_of_a_ranked_data_set_have_figures(tmp_path: Path) -> None:
    rows = questions("test", levels=["name"])
    for number, row in enumerate(rows):
        row["bucket"] = ("known", "unknown", None)[number % 3]
    data = save(tmp_path, {"default": {"test": rows}})
    values = evaluated(
        data,
        scripted(lambda request: request.doc["name"] if request.doc["bucket"] == "known" else "x"),
        "landmark_name",
    )
    assert values["acc_known"] == 1 and values["acc_unknown"] == 0 and "acc_between" not in values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": b"no image"}, "row 1, image 'L0-21': not an image"),
        ({"image": None}, "row 1, image 'L0-21': its pixels are not in the data set"),
        ({"question": "an <image> here"}, "the question holds '<image>'"),
        ({"question": " "}, "no question"),
        ({"name": None}, "no name"),
        ({"landmark_id": None}, "no landmark_id"),
        ({"answers": []}, "answers is not a list of texts"),
        ({"answers": [""]}, "answers is not a list of texts"),
        ({"answers": None}, "answers is not a list of texts"),
        ({"level": "city"}, "the level is none of name, supercategory"),
        ({"level": None}, "the level is none of name, supercategory"),
    ],
)
def test_rows_that_are_no_questions_are_refused_before_a_model_is_asked(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    rows = questions("test", levels=["name"])[:2]
    rows[1] |= change
    with pytest.raises(DataError, match=message) as caught:
        evaluated(save(tmp_path, {"questions": {"test": rows}}), scripted(lambda request: "5"), "landmark_name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("configs", "task", "message"),
    [
        ({"questions": {"train": questions("test")}}, "landmark_name", "split 'test'"),
        ({"questions": {"test": questions("test", levels=["caption"])}}, "landmark_name", "no question is of the level"),
        ({"pairs": {"test": [{"image": photograph(landmarks()[0], 1), "name": "x"}]}}, "landmark_name", "."),
        ({"questions": {"train": questions("train")}}, "landmark_text_only", "has no config 'landmarks'"),
        ({"landmarks": {"train": [row | {"supercategory": "a", "hierarchical_label": None,
                                         "natural_or_human_made": None} for row in landmarks()]}},
         "landmark_text_only", "nothing to choose among"),
    ],
)  # fmt: skip
def test_data_sets_of_another_kind_are_refused(
    tmp_path: Path, configs: dict[str, Any], task: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        evaluated(save(tmp_path, configs), scripted(lambda request: "5"), task)
    assert "\n" not in str(caught.value)


def test_models_of_text_choose_the_kinds_of_places(data: Path, tiny_model: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(tiny_model), device="cpu", dtype="float32", batch_size=8)
    values = evaluated(data, model, "landmark_text_only")
    docs = [sample["doc"] for sample in values["samples"]]
    assert len(docs) == 21 and {doc["level"] for doc in docs} == set(ASK) - {"name", "caption"}
    facts = {one["landmark_id"]: one for one in landmarks()}
    assert all(doc["options"][doc["gold"]] == facts[doc["landmark_id"]][doc["level"]] for doc in docs)
    assert values["chance"] == pytest.approx((7 / 3 + 14 / 2) / 21) and 0 <= values["acc"] <= 1
    shown = {sample["arguments"][0][0] for sample in values["samples"]}
    assert "Question: What kind of place is Red Tower?\nAnswer:" in shown
    again = evaluated(data, model, "landmark_text_only")
    assert [sample["doc"] for sample in again["samples"]] == docs


@pytest.mark.slow
def test_stock_lm_eval_asks_a_model_that_sees(tmp_path: Path, data: Path) -> None:
    from aitqe_parts import make_base
    from lm_eval.models.hf_vlms import HFMultimodalLM

    model = HFMultimodalLM(pretrained=str(make_base(tmp_path)), device="cpu", dtype="float32", batch_size=2)
    values = evaluated(data, model, "landmark_levels", gen_kwargs="max_gen_toks=4", limit=6)
    assert len(values["samples"]) == 6 and 0 <= values["acc"] <= 1
    assert values["samples"][0]["arguments"][0][0].count("<image>") == 1
    request = [("a", "b", {"visual": []})]
    with pytest.raises(NotImplementedError):  # once it does, landmark_choice can be a task
        model.loglikelihood([type("Request", (), {"args": one})() for one in request])
