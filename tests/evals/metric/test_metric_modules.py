"""The metric modules give the figures of the plain scorers: from a folder, and from a Space of the embedded hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubwright.evals._lib import tool_calls as toolcall
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_dataset
from hubwright.evals.fbbench.verdicts import Judged
from hubwright.evals.feedback_drills import scorer as drills
from hubwright.evals.metric.step import MetricConfig, write_metric
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import UsageError

MODULES = {
    "fb_bench": "hubwright.evals.fbbench.metric",
    "tool_calls": "hubwright.evals.toolcall.metric",
    "feedback_drills": "hubwright.evals.feedback_drills.metric",
}
CALLS = ['{"name": "now", "arguments": {"zone": "UTC"}}', "It is noon.", "", '{"name": "no"'] * 2
GOLD = [[{"name": "now", "arguments": {"zone": "UTC"}}]] * 3 + [[{"name": "now", "arguments": {}}]] + [[]] * 4
SAID, VALUES = ["Answer: 7", "答案：8", "no idea", "Answer: 240 minutes"], ["7", "9", "3", "240"]

# The Space's modules are loaded in a process of its own, with a new cache where HF_HOME says.
COMPUTE = """
import json, sys
import evaluate
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(evaluate.load(name).compute(**arguments)))
"""


def compute(asked: list[tuple[str, dict[str, Any]]], home: Path) -> list[dict[str, Any]]:
    env = {**os.environ, "HF_HOME": str(home), "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    text = "".join(json.dumps(one) + "\n" for one in asked)
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE], input=text, env=env, capture_output=True, text=True, cwd=home
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def arguments() -> dict[str, dict[str, Any]]:
    samples = list(read_dataset(Path(scorer.__file__).with_name("sample.jsonl")).values())
    verdicts = [["yes" if (n + i) % 3 else "no" for i in range(len(s.items))] for n, s in enumerate(samples)]
    verdicts[0], verdicts[1] = [], ["unparsable"] * len(samples[1].items)
    references = [
        {
            "bench_type": s.scenario,
            "task_type": s.task,
            "items": list(s.items),
            "weights": [w for w in s.weights if w is not None],
        }
        for s in samples
    ]
    return {
        "fb_bench": {"predictions": verdicts, "references": references, "resamples": 100},
        "tool_calls": {"predictions": CALLS, "references": [json.dumps(calls) for calls in GOLD]},
        "feedback_drills": {"predictions": SAID, "references": VALUES},
    }


def plain() -> dict[str, dict[str, Any]]:
    """The same figures from the functions themselves."""
    samples = list(read_dataset(Path(scorer.__file__).with_name("sample.jsonl")).values())
    judged = []
    for sample, said in zip(samples, arguments()["fb_bench"]["predictions"], strict=True):
        met = tuple({"yes": True, "no": False}.get(word) for word in said) or (None,) * len(sample.items)
        state = "not_judged" if not said else "failed" if None in met else "complete"
        judged.append(Judged(sample, met, state, "ok" if said else "empty"))  # type: ignore[arg-type]
    report = scorer.score(judged, resamples=100, seed=1234)
    calls = [toolcall.score(gold, said) for gold, said in zip(GOLD, CALLS, strict=True)]
    exact = [one["call_exact"] for one in calls if "call_exact" in one]
    silent = [one["no_call"] for one in calls if "no_call" in one]
    right = [drills.is_correct(said, value) for said, value in zip(SAID, VALUES, strict=True)]
    return {
        "fb_bench": {
            "overall": report["overall"],
            "overall_strict": report["strict"]["overall"],
            "overall_ci_low": report["intervals"]["overall"]["low"],
            "coverage": report["coverage"],
        },
        "tool_calls": {"call_exact": sum(exact) / len(exact), "no_call": sum(silent) / len(silent), "n_call": 4},
        "feedback_drills": {"acc": sum(right) / len(right), "no_answer": 0.25},
    }


def test_a_folder_gives_the_figures_of_the_plain_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    given = arguments()
    for name, expected in plain().items():
        (tmp_path / name).mkdir()
        write_metric(MetricConfig(module=MODULES[name]), StepContext("m", tmp_path / "work", tmp_path / name, {}))
        found = evaluate.load(str(tmp_path / name)).compute(**given[name])
        assert {key: found[key] for key in expected} == pytest.approx(expected), name


@pytest.mark.parametrize("module", ["hubwright.evals.fbbench.nothing", "hubwright.evals.fbbench.scorer"])
def test_write_metric_module_that_is_no_metric_is_one_line(module: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"metric {module}: .*; name a module with") as caught:
        write_metric(MetricConfig(module=module), StepContext("m", tmp_path / "work", tmp_path, {}))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_space_of_the_hub_gives_them_too(hubwright: Any, namespace: str, tmp_path: Path) -> None:
    done = hubwright("run", "metrics", "--set", f"namespace={namespace}", "--format", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    home = tmp_path / "home"
    home.mkdir()
    asked = [(f"{namespace}/{name}", given) for name, given in arguments().items()]
    for found, (name, expected) in zip(compute(asked, home), plain().items(), strict=True):
        assert {key: found[key] for key in expected} == pytest.approx(expected), name
    checked = hubwright("verify", f"spaces/{namespace}/fb_bench@v1.0.0")
    assert checked.returncode == 0, checked.stdout + checked.stderr
