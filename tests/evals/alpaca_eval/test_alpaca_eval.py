"""AlpacaEval's annotations: the published win rates, and files as people bring them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from hubwright.evals.alpaca_eval.benchmark import ALPACA_EVAL
from hubwright.hub_sync.errors import DataError, UsageError

BOARD = "src/alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"


def row(number: int, preference: Any, longer: bool = False) -> dict[str, Any]:
    return {
        "instruction": f"ask {number}", "output_1": "ten chars.", "output_2": "x" * (30 if longer else 10),
        "generator_1": "base", "generator_2": "mine", "preference": preference, "dataset": "a" if number % 2 else "b",
        "annotator": "judge",
    }  # fmt: skip


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_published_win_rates_of_eight_models_to_1e_9(shared_data: Path) -> None:
    folder = shared_data / "tatsu-lab/alpaca_eval"
    if not folder.is_dir():
        pytest.skip("the published judgements are not here")
    with (folder / BOARD).open(encoding="utf-8") as file:
        published = {line[""]: line for line in csv.DictReader(file)}
    files = sorted(folder.glob("results/*/weighted_alpaca_eval_gpt4_turbo/annotations.json"))
    assert len(files) == 8
    for path in files:
        theirs = published[path.parts[-3]]
        ours = ALPACA_EVAL.score(ALPACA_EVAL.read(path), resamples=0)
        for mine, name in (("win_rate", "win_rate"), ("discrete_win_rate", "discrete_win_rate")):
            assert ours[mine] == pytest.approx(float(theirs[name]), abs=1e-9)
        assert ours["standard_error"] == pytest.approx(float(theirs["standard_error"]), abs=1e-9)
        assert [ours["wins"], ours["losses"], ours["draws"], ours["n"]] == [
            int(theirs[name]) for name in ("n_wins", "n_wins_base", "n_draws", "n_total")
        ]


def test_figures_of_four_comparisons_by_hand(tmp_path: Path) -> None:
    rows = [row(0, 2.0), row(1, 2.0, longer=True), row(2, 1.5), row(3, 1.0)]
    report = ALPACA_EVAL.score(ALPACA_EVAL.read(write(tmp_path / "annotations.json", rows)), resamples=100)
    assert (report["win_rate"], report["wins"], report["draws"], report["losses"]) == (62.5, 2, 1, 1)
    assert report["standard_error"] == pytest.approx(100 * math.sqrt((2 * 0.375**2 + 0.125**2 + 0.625**2) / 3) / 2)
    assert report["matched"]["win_rate"] == 50 and report["by_length"]["longer"]["win_rate"] == 100
    assert report["by_label"]["a"]["n"] == 2 and report["longer_is_preferred"] == 1
    assert report["interval"]["low"] < 62.5 < report["interval"]["high"]
    assert report["counts"] == {"comparisons": 4, "scored": 4, "failed": 0}
    assert (report["model"], report["baseline"], report["judges"]) == ("mine", "base", ["judge"])


def test_missing_preferences_are_counted_and_never_wins(tmp_path: Path) -> None:
    rows = [row(0, 2.0), row(1, None), row(2, float("nan")), row(3, 0)]
    stored = ALPACA_EVAL.read(write(tmp_path / "annotations.json", rows))
    report = ALPACA_EVAL.score(stored, resamples=0)
    assert report["counts"] == {"comparisons": 4, "scored": 2, "failed": 2} and report["win_rate"] == 75
    with pytest.raises(DataError, match="2 of 4 annotations have no preference, more than max_failed"):
        ALPACA_EVAL.score(stored, max_failed=0.05)
    with pytest.raises(DataError, match="none of 1 annotations has a preference"):
        ALPACA_EVAL.score(ALPACA_EVAL.read(write(tmp_path / "annotations.json", [row(0, None)])))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no annotation"),
        ([1], "row 1 is not a JSON object"),
        ([{"preference": 1.0}], "row 1 has no 'output_1'"),
        ([row(0, 2.5)], "row 1: preference is 2.5, not a number from 1"),
        ([row(0, "2")], "row 1: preference is '2'"),
        ([row(0, True)], "row 1: preference is True"),
        ([row(0, 0.5)], "row 1: preference is 0.5"),
        ([row(0, 2.0) | {"output_2": None}], "row 1: output_2 is None, not text"),
        ([row(0, 2.0), row(1, 2.0) | {"generator_2": "yours"}], "holds 2 pairs of models"),
        ([row(0, 2.0), row(0, 1.0)], "row 2 is the same comparison as that of row 1"),
    ],
)
def test_unusable_annotations_are_refused_in_one_line(rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        ALPACA_EVAL.read(write(tmp_path / "annotations.json", rows))
    assert "\n" not in str(error.value) and "annotations.json" in str(error.value)


def test_lines_folders_marks_and_torn_files(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row(n, 1.25)) + "\n" for n in range(3))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "annotations.json").write_text("\ufeff \n" + json.dumps([row(0, 2.0)]), encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text(lines, encoding="utf-8")
    assert len(ALPACA_EVAL.read(tmp_path / "a").comparisons) == 1
    assert ALPACA_EVAL.score(ALPACA_EVAL.read(tmp_path / "lines.jsonl"), resamples=0)["win_rate"] == 25
    (tmp_path / "torn.json").write_text(json.dumps([row(0, 2.0)])[:-9], encoding="utf-8")
    with pytest.raises(DataError, match=r"torn\.json: is not JSON"):
        ALPACA_EVAL.read(tmp_path / "torn.json")
    with pytest.raises(UsageError, match="leave out"):
        ALPACA_EVAL.score(ALPACA_EVAL.read(tmp_path / "a"), failed_answers="zero")


def test_rows_in_are_rows_scored_and_failed_whatever_the_preferences(tmp_path: Path) -> None:
    values = [None, 0, 1, 1.0, 1.5, 2, 2.0, 1.000001, 1.999999]
    report = ALPACA_EVAL.score(
        ALPACA_EVAL.read(write(tmp_path / "a.json", [row(n, v) for n, v in enumerate(values)])), resamples=0
    )
    assert report["wins"] + report["draws"] + report["losses"] == report["n"] == len(values) - 1
    assert sum(one["n"] for one in report["by_length"].values()) == report["n"]
