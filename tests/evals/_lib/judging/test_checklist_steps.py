"""Data set, answers and judgements of CFBench, SysBench and FollowBench as one recipe, and AlpacaEval's annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from chat_server import ChatServer, all_yes
from column_parts import check_columns

BENCHMARKS = {"cfbench": ("csr", "psr"), "sysbench": ("csr", "ssr"), "followbench": ("hsr", "csl")}


def write_sources(folder: Path) -> dict[str, str]:
    """Files as the authors publish them: 4 prompts, 2 dialogues, 1 instruction that a rule decides and 1 for a judge."""
    criteria = [["short", "主需", "数值约束", "x"], ["kind", "次需", "风格约束", "y"]]
    items = [
        {"idx": n, "prompt": f"ask {n}", "split": ("easy", "hard")[n % 2], "criteria": criteria} for n in range(4)
    ]
    (folder / "cf.json").write_text(json.dumps(items))
    book = openpyxl.Workbook()
    names = "system_id multi_rounds_related alignment round_index system_prompt prompt referrence 评判细则".split()
    book.active.append(names)
    for session in (1, 2):
        for turn in range(1, 6):
            book.active.append([session, "True", "align", turn, "be kind", f"ask {turn}", "say", "1. kind | 风格约束"])
    book.save(folder / "sys.xlsx")
    (folder / "fo/data").mkdir(parents=True)
    rows = [
        {"example_id": n, "category": "style", "source": source, "level": level, "instruction": f"{source} {level}", "target": ""}
        for n, source in ((1, "samsum"), (2, "quora")) for level in range(6)
    ]  # fmt: skip
    (folder / "fo/data/style_constraints.json").write_text(json.dumps(rows))
    return {
        "cfbench": str(folder / "cf.json"),
        "sysbench": str(folder / "sys.xlsx"),
        "followbench": str(folder / "fo"),
    }


def recipe(namespace: str, url: str, sources: dict[str, str]) -> str:
    steps = ""
    for name, source in sources.items():
        licence = "accept_unlicensed: rows of a test"
        steps += f"""
  {name}:
    uses: constraints
    with: {{benchmark: {name}, source: {source}}}
    publish: {{dataset: {name}, {licence}}}
  {name}_answers:
    uses: answers
    inputs: {{dataset: steps.{name}}}
    with: {{model: "openai:tested@{url}"}}
    publish: {{dataset: {name}-answers, {licence}}}
  {name}_verdicts:
    uses: {name}_judge
    inputs: {{answers: steps.{name}_answers}}
    with: {{judge: "openai:judge@{url}", bootstrap: 20}}
    publish: {{dataset: {name}-verdicts, {licence}}}
"""
    return f"name: checks\nnamespace: {namespace}\nsteps:{steps}"


def say(body: dict[str, Any], number: int) -> str:
    return all_yes(body, number) if body["model"] == "judge" else "Ann has stuff to do."


def test_from_files_to_figures(hubwright_in_process: Any, namespace: str, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    with ChatServer(say) as server:
        (tmp_path / "checks.yaml").write_text(recipe(namespace, server.url, write_sources(tmp_path)))
        done = hubwright_in_process("run", "checks.yaml")
        assert done.returncode == 0, done.stderr[-3000:]
        judged = sum(body["model"] == "judge" for body in server.bodies)
    assert judged == 4 + 5 + 5  # the two dialogues are the same, and a rule decides five of FollowBench's ten
    checks = {
        "cfbench": lambda folder: check_columns("cfbench_judge", folder),
        "sysbench": lambda folder: check_columns("sysbench_judge", folder),
        "followbench": lambda folder: check_columns("followbench_judge", folder),
    }
    for name, figures in BENCHMARKS.items():
        folder = Path(snapshot_download(f"{namespace}/{name}-verdicts", repo_type="dataset"))
        checks[name](folder)
        metrics = json.loads((folder / "results.json").read_text())["tasks"][name]["metrics"]
        assert metrics[figures[0]]["value"] == 1 and f"{figures[1]}_ci_low" in metrics
        scored = hubwright_in_process("score", name, str(folder), "--format", "json")
        assert scored.returncode == 0 and json.loads(scored.stdout)[figures[1]] == metrics[figures[1]]["value"]
    answers = Path(snapshot_download(f"{namespace}/followbench-answers", repo_type="dataset"))
    scored = json.loads(hubwright_in_process("score", "followbench", str(answers), "--format", "json").stdout)
    assert scored["counts"]["by_rule"] == 5 and scored["counts"]["missing"] == 5 and scored["csl"] == 5


def test_annotations_of_a_repository_are_scored_and_published(
    hubwright_in_process: Any, api: Any, namespace: str, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    rows = [
        {"instruction": str(n), "output_1": "a", "output_2": "b", "generator_1": "base", "generator_2": "mine", "preference": p}
        for n, p in enumerate((2.0, 1.0, 1.5, 1.75))
    ]  # fmt: skip
    api.create_repo(f"{namespace}/notes", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=json.dumps(rows).encode(), path_in_repo="annotations.json", repo_id=f"{namespace}/notes",
        repo_type="dataset",
    )  # fmt: skip
    (tmp_path / "alpaca.yaml").write_text(
        f"name: alpaca\nnamespace: {namespace}\nsteps:\n  rates:\n    uses: alpaca_eval\n"
        f"    inputs: {{dataset: {namespace}/notes}}\n    publish: {{dataset: rates, accept_unlicensed: rows of a test}}\n"
    )
    done = hubwright_in_process("run", "alpaca.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(snapshot_download(f"{namespace}/rates", repo_type="dataset"))
    check_columns("alpaca_eval", folder)
    metrics = json.loads((folder / "results.json").read_text())["tasks"]["alpaca_eval"]["metrics"]
    assert metrics["win_rate"]["value"] == pytest.approx(56.25) and metrics["discrete_win_rate"]["value"] == 62.5
    assert "answer about as long" in (folder / "README.md").read_text()


def test_a_benchmark_that_is_judged_elsewhere_says_so(hubwright_in_process: Any, tmp_path: Path) -> None:
    done = hubwright_in_process(
        "judge", "alpaca_eval", "a.jsonl", "--judge", "openai:m@http://127.0.0.1:1/v1", "--out", "v"
    )
    assert done.returncode == 2 and "alpaca_eval is not judged by checklists" in done.stderr


@pytest.mark.parametrize("name", ["cfbench", "sysbench", "followbench", "followbench_rules"])
def test_tasks_load_and_ask_for_a_judge_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    from hubwright.builders.constraints import ConstraintsConfig, build
    from hubwright.evals._lib.data import tasks_dir
    from hubwright.hub_sync.errors import UsageError

    monkeypatch.delenv("HUBWRIGHT_JUDGE", raising=False)
    benchmark = name.removesuffix("_rules")
    source = write_sources(tmp_path)[benchmark]
    rows = build(ConstraintsConfig.model_validate({"benchmark": benchmark, "source": source}))["test"]
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    metadata = {"dataset": str(tmp_path / "rows.parquet")}
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    task = manager.load(name)["tasks"][name]
    assert len(task.eval_docs) == {"cfbench": 4, "sysbench": 10, "followbench": 10, "followbench_rules": 5}[name]
    if name != "followbench_rules":
        with pytest.raises(UsageError, match=f"needs a judge: .* `hubwright judge {name}`"):
            task.build_all_requests()


def evaluated(name: str, folder: Path, model: Path, **metadata: Any) -> dict[str, Any]:
    """Metrics of a task on the sources above, by a model with random weights."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from hubwright.builders.constraints import ConstraintsConfig, build
    from hubwright.evals._lib.data import tasks_dir

    benchmark = name.removesuffix("_rules")
    source = write_sources(folder)[benchmark]
    rows = build(ConstraintsConfig.model_validate({"benchmark": benchmark, "source": source}))["test"]
    rows.to_parquet(str(folder / "rows.parquet"))
    metadata |= {"dataset": str(folder / "rows.parquet")}
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    results = simple_evaluate(
        model=HFLM(pretrained=str(model), device="cpu", dtype="bfloat16", batch_size=8), tasks=[name],
        task_manager=manager, apply_chat_template=True, gen_kwargs={"max_gen_toks": 4}, bootstrap_iters=10,
    )  # fmt: skip
    assert results is not None
    return {key.partition(",")[0]: value for key, value in results["results"][name].items()}


def test_lm_eval_scores_what_rules_decide_without_a_judge(tiny_model: Path, tmp_path: Path) -> None:
    metrics = evaluated("followbench_rules", tmp_path, tiny_model)
    assert 0 <= metrics["hsr"] <= 1 and metrics["hsr"] == metrics["hsr_rules"] == metrics["ssr"]
    assert metrics["csl"] == metrics["csl_rules"] and 0 <= metrics["csl"] <= 5


@pytest.mark.parametrize(("name", "figure"), [("cfbench", "psr_hard"), ("sysbench", "ssr"), ("followbench", "ssr_5")])
def test_lm_eval_has_answers_judged_and_scored(name: str, figure: str, tiny_model: Path, tmp_path: Path) -> None:
    with ChatServer(all_yes) as server:
        metrics = evaluated(name, tmp_path, tiny_model, judge=f"openai:judge@{server.url}", bootstrap=10)
        assert server.bodies
    judged = metrics["ssr"] if name == "followbench" else metrics[figure]
    assert 0 < judged <= 1 and metrics[f"{'csl' if name == 'followbench' else figure.partition('_')[0]}_ci_low"] >= 0


def test_failed_answers_count_towards_the_limit(hubwright_in_process: Any, tmp_path: Path) -> None:
    criteria = [{"text": "kind", "kind": "style", "priority": "primary"}]
    case = {"messages": [{"role": "user", "content": "ask"}], "criteria": criteria, "level": "easy", "reference": None}
    rows = [
        case | {"id": f"cf-{n}", "answer": None if n else "x", "outcome": "failed" if n else "ok"} for n in range(4)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ChatServer(all_yes) as server:
        judge = ("--judge", f"openai:judge@{server.url}", "--out", "v.jsonl")
        assert hubwright_in_process("judge", "cfbench", "a.jsonl", *judge).returncode == 0
    done = hubwright_in_process("score", "cfbench", "v.jsonl")
    assert done.returncode == 3 and "3 of 4 answers are unusable (3 failed" in done.stderr
    assert "\n" not in done.stderr.strip()
