"""The task: scores in replies, figures against scikit-learn and SciPy, and real runs through lm-eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aitqe_parts import make_base, samples, save_samples
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.aitqe import replies
from hubwright.hub_sync.errors import DataError
from hubwright.inference.media import pair_scores


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"overall": 3, "recaption": "A bus"', 3),
        ('```json\n{\n  "overall": "9",\n  "matching": 8\n', 9),
        ('{"overall": 9, "matching": "fine"', 9),
        ('{"overall": 10', 10),
        ("{'rating': 4", 4),
        ("Rating: 8/10", 8),
        ("**7**", 7),
        ("I would rate it 10 out of 10.", 10),
        ("评分：6分", 6),
        ('{"overall": 7.5.5.5.5', None),
        ('{"overall": 7.5', None),
        ('{"overall": null, "matching": 5', None),
        ('{"overall": 11', None),
        ('"overall" 5', None),
        ("7.5", None),
        ("-25.0.0.5.6.6.6", None),
        ("-3", None),
        ("0 or 5", None),
        ("100", None),
        ("1000000000000000000000000 5", None),
        ("", None),
        ("It fits well.", None),
        ("² of ٣", 3),
    ],
)
def test_score_of_a_reply(reply: str, score: int | None) -> None:
    assert replies.score_of(reply) == score


@given(st.text())
def test_any_reply_is_read(reply: str) -> None:
    score = replies.score_of(reply)
    assert score is None or 1 <= score <= 10


@given(st.integers(1, 10), st.none() | st.text(min_size=1), st.integers(1, 10))
def test_replies_of_trained_scorers_are_read_though_the_stop_has_cut_them(
    score: int, caption: str | None, other: int
) -> None:
    whole = pair_scores.target({"overall": score, "matching": other}, caption)
    assert replies.score_of(whole.partition("}")[0]) == score


def answers(seed: int, size: int = 40) -> list[replies.Answer]:
    """Twins with scores at random, every seventh without one."""
    rng = np.random.default_rng(seed)
    rows: list[replies.Answer] = []
    for n in range(size):
        for good in (True, False):
            score = int(np.clip(rng.normal(6 if good else 5, 2), 1, 10))
            own, other = ("g", "b") if good else ("b", "g")
            target = int(rng.integers(7, 11) if good else rng.integers(1, 5))
            rows.append((None if rng.random() < 1 / 7 else score, target, good, f"{own}{n}", f"{other}{n}"))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_scikit_learn_and_scipy(seed: int) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    rows = answers(seed)
    known = [one for one in rows if one[0] is not None]
    scores, targets, good = (np.array([one[n] for one in known]) for n in range(3))
    got = {name: figure(rows) for name, figure in replies.aggregations(400).items()}
    assert got["spearman"] == pytest.approx(spearmanr(scores, targets).statistic)
    kappa = cohen_kappa_score(scores, targets, weights="quadratic", labels=range(1, 11))
    assert got["qwk"] == pytest.approx(kappa)
    assert got["auroc"] == pytest.approx(roc_auc_score(good, scores))
    lost = len(rows) - len(known)
    assert got["mae"] == pytest.approx((np.abs(scores - targets).sum() + 9 * lost) / len(rows))
    by_id = {one[3]: one[0] for one in rows}
    pairs = [(by_id[f"g{n}"], by_id[f"b{n}"]) for n in range(40)]
    wins = [0 if None in pair else (pair[0] > pair[1]) + (pair[0] == pair[1]) / 2 for pair in pairs]
    assert got["twin_accuracy"] == pytest.approx(np.mean(wins))
    for name in ("twin_accuracy", "auroc"):
        assert got[f"{name}_ci_low"] < got[name] < got[f"{name}_ci_high"]


def test_figures_without_scores_are_those_of_chance_or_the_worst() -> None:
    silent = [(None, *one[1:]) for one in answers(0)]
    got = {name: figure(silent) for name, figure in replies.aggregations(50).items()}
    assert got["mae"] == 9 and got["spearman"] == got["qwk"] == got["twin_accuracy"] == 0 and got["auroc"] == 0.5
    alone = [one for one in answers(0) if one[2]]
    got = {name: figure(alone) for name, figure in replies.aggregations(50).items()}
    assert got["twin_accuracy"] == got["auroc"] == got["auroc_ci_low"] == 0.5
    same = [(5, *one[1:]) for one in answers(0)]
    got = {name: figure(same) for name, figure in replies.aggregations(0).items()}
    assert got["twin_accuracy"] == got["twin_accuracy_ci_high"] == got["auroc"] == 0.5 and got["spearman"] == 0


def evaluated(data: Path, model: Any, **settings: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=["aitqe_score"],
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=0,
        **settings,
    )
    return {
        "samples": found["samples"]["aitqe_score"],
        **{name.removesuffix(",none"): value for name, value in found["results"]["aitqe_score"].items()},
    }


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


def test_through_lm_eval(tmp_path: Path) -> None:
    """The right scores win everything, and each text goes with its own image."""
    rows = samples(6)
    data = save_samples(tmp_path / "data", rows, "test")
    seen: list[tuple[str, bytes]] = []

    def write(request: Any) -> str:
        ((turn,), (image,)) = json.loads(request.args[0]), request.args[2]["visual"]
        seen.append((turn["content"], image.tobytes()))
        return json.dumps({"overall": request.doc["scores"]["overall"]}).removesuffix("}")

    values = evaluated(data, scripted(write))
    assert seen == [("<image>" + pair_scores.prompt(row["raw_text"]), row["image"].tobytes()) for row in rows]
    assert values["parse_rate"] == values["twin_accuracy"] == values["auroc"] == values["qwk"] == 1
    assert values["mae"] == 0 and values["spearman"] == pytest.approx(1) and values["auroc_ci_low"] == 1
    assert all("image" not in sample["doc"] for sample in values["samples"])
    silent = evaluated(data, scripted(lambda request: "I cannot see it."), limit=5)
    assert silent["parse_rate"] == silent["twin_accuracy"] == 0 and silent["mae"] == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": b"no image"}, "row 1, id 'bad0': not an image"),
        ({"image": b""}, "row 1, id 'bad0': no image"),
        ({"raw_text": None}, "row 1, id 'bad0': no text"),
        ({"raw_text": "an <image> tag"}, "holds '<image>'"),
        ({"id": "good0"}, "the id is there twice"),
        ({"kind": "fine"}, "the kind is none of raw_good"),
        ({"scores": dict.fromkeys(pair_scores.ASPECTS)}, "the overall score is not a whole number"),
        ({"scores": dict.fromkeys(pair_scores.ASPECTS, 11)}, "the overall score is not a whole number"),
    ],
)
def test_samples_that_are_none_are_refused_before_a_model_is_asked(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    rows = samples(2)
    rows[1] |= change
    with pytest.raises(DataError, match=message) as caught:
        evaluated(save_samples(tmp_path / "data", rows, "test"), scripted(lambda request: "5"))
    assert "\n" not in str(caught.value)


def test_a_data_set_of_another_kind_is_refused(tmp_path: Path) -> None:
    from datasets import Dataset

    (tmp_path / "data").mkdir()
    Dataset.from_list([{"id": "a", "text": "b"}]).to_parquet(str(tmp_path / "data" / "test.parquet"))
    with pytest.raises(DataError, match="no column 'image'; build it with `hubwright run aitqe_pairs"):
        evaluated(tmp_path, scripted(lambda request: "5"))


def test_images_are_turned_as_scorers_see_them(tmp_path: Path) -> None:
    import io

    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # turn to the right
    buffer = io.BytesIO()
    Image.new("L", (40, 20), 90).save(buffer, "JPEG", exif=exif)
    rows = samples(1)
    rows[0] |= {"image": buffer.getvalue()}
    sizes: list[tuple[str, tuple[int, int]]] = []

    def write(request: Any) -> str:
        (image,) = request.args[2]["visual"]
        sizes.append((image.mode, image.size))
        return "5"

    evaluated(save_samples(tmp_path / "data", rows, "test"), scripted(write))
    assert sizes == [("RGB", (20, 40)), ("RGB", (40, 40))]


@pytest.mark.slow
def test_stock_lm_eval_asks_a_model_that_sees(tmp_path: Path) -> None:
    from lm_eval.models.hf_vlms import HFMultimodalLM

    data = save_samples(tmp_path / "data", samples(2), "test")
    model = HFMultimodalLM(pretrained=str(make_base(tmp_path)), device="cpu", dtype="float32", batch_size=2)
    values = evaluated(data, model, gen_kwargs="max_gen_toks=8")
    assert len(values["samples"]) == 4 and 0 <= values["parse_rate"] <= 1 and 0 <= values["mae"] <= 9
    shown = values["samples"][0]["arguments"][0][0]
    assert shown.count("<image>") == 1 and pair_scores.prompt("red square") in shown
