"""The domain benchmarks through lm-eval: gold gets all, silence nothing; programs of every kind; upstream's names."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from domain_parts import HUMANEVAL, built, mbpp, save
from lm_eval.api.model import LM

from hubwright.environments.sandbox import Limits
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.task_files import task_files
from hubwright.evals.harness.step import find_tasks
from hubwright.evals.versatune import lawbench, programs
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.json_columns import make_dataset

OURS = ("versatune_lawbench", "versatune_finance", "versatune_scieval", "versatune_code")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return built(tmp_path_factory.mktemp("domains"))


class Scripted(LM):
    """Replies with the gold answer or nothing; finds the right option likeliest, or least likely."""

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.knows, self.prompts = knows, list[str]()

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        self.prompts += [str(request.args[0]) for request in requests]
        return [self._reply(request.doc) if self.knows else "" for request in requests]

    def _reply(self, doc: dict[str, Any]) -> str:
        if "metric" in doc:
            return doc["answer"].split(":", 1)[-1] if doc["metric"] in ("rouge", "characters") else doc["answer"]
        return str(doc.get("canonical_solution") or doc.get("code") or doc["answer"])

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self.prompts += [str(request.args[0]) for request in requests]
        return [(-1.0 if (r.idx == r.doc["gold"]) == self.knows else -100.0, False) for r in requests]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def apply_chat_template(self, history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return "".join(f"<{t['role']}>{t['content']}" for t in history) + "<assistant>" * add_generation_prompt

    tokenizer_name = "scripted"

    def chat_template(self, chat_template: bool | str = False) -> str:
        return "scripted"


def evaluate(model: LM, tasks: list[str], metadata: dict[str, Any], **settings: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    found = lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager, bootstrap_iters=2, **settings)
    assert found is not None
    return found


@pytest.mark.parametrize("knows", [True, False], ids=["gold", "silence"])
def test_versatune_gold_gets_all_and_silence_nothing(data: dict[str, str], knows: bool) -> None:
    model = Scripted(knows)
    found = evaluate(model, list(OURS), data)
    expected = float(knows)
    assert found["groups"]["versatune_lawbench"]["score,none"] == pytest.approx(expected)
    assert found["groups"]["versatune_lawbench"]["abstained,none"] == 1 - expected
    assert found["groups"]["versatune_finance"]["acc,none"] == expected
    assert found["groups"]["versatune_scieval"]["acc,none"] == expected
    assert found["groups"]["versatune_code"]["pass_at_1,none"] == expected
    assert all(
        found["results"][f"versatune_lawbench_{n}"]["score,none"] == pytest.approx(expected) for n in ("2_6", "3_5")
    )
    assert any("回答问题\n第一条的内容是什么？" in prompt for prompt in model.prompts)
    assert any("银行的负债是____。\nA. 存款\nB. 贷款\nC. 现金\nD. 设备\n答案：" in prompt for prompt in model.prompts)
    shown = next(prompt for prompt in model.prompts if "adds 11." in prompt)
    assert (
        shown.count("[BEGIN]") == 4 and shown.count("[DONE]") == 3 and shown.index("adds 2.") < shown.index("adds 4.")
    )


def test_code_through_a_chat_template_the_answer_begins_with_a_block(data: dict[str, str]) -> None:
    model = Scripted(True)
    found = evaluate(model, ["versatune_code"], data, apply_chat_template=True)
    assert found["groups"]["versatune_code"]["pass_at_1,none"] == 1
    humaneval, one = model.prompts
    assert humaneval.startswith("<user>Write a solution") and humaneval.endswith(
        f"```python\n{HUMANEVAL[0]['prompt']}\n"
    )
    assert "assert add(2) == 13" in one and one.endswith("<assistant>\n```python\n") and "[BEGIN]" not in one


def test_files_of_the_generator_are_the_committed_ones() -> None:
    files = task_files(tasks_dir() / "versatune")
    assert len(files) == 21
    assert {name: (tasks_dir() / "versatune" / f"{name}.yaml").read_text(encoding="utf-8") for name in files} == files


@pytest.mark.slow
def test_every_benchmark_of_the_group_resolves_without_network() -> None:
    manager, names = find_tasks(["versatune"])
    assert names == ["versatune"]

    def leaves(name: str) -> list[str]:
        config = manager.task_index[name].cfg or {}
        members = config["task"] if "group" in config else []
        return [leaf for member in members for leaf in leaves(member)] or [name]

    found = leaves("versatune")
    assert len(found) == len(set(found)) == 5 + 20 + 2 + 2 + 2 + 8 + 2 + 21 + 1
    assert {"medqa_4options", "medmcqa", "hellaswag", "legalbench_abercrombie", "agieval_math"} <= set(found)


# Ten kinds of reply to `root` of HumanEval.
REPLIES = [
    ("    return math.sqrt(x)\n", True), ("    return x\n", False), ("", False),
    ("```python\n    return math.sqrt(x)\n```", True),
    ("Sure:\n```python\ndef root(x):\n    return math.sqrt(x)\n```\nDone.", True),
    ("```\nimport cmath\ndef root(x):\n    return abs(cmath.sqrt(x))\n```", True),
    ("    raise SystemExit(0)\n", False), ("    return open('/etc/passwd')\n", False),
    ("    return math.sqrt(x)\n```\n\nIt is a root:\n```\nroot(9)\n```", True), ("    return root(x)\n", False), ("\n   not python at all", False), ("    return math.sqrt(x)  # 根\n", True),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "passes"), REPLIES)
def test_humaneval_reply_of_any_kind_is_run_in_its_sandbox(reply: str, passes: bool) -> None:
    program = programs.humaneval_program(HUMANEVAL[0], programs.code_in(reply))
    assert programs.run(program, Limits(seconds=20)).ok is passes


def test_program_that_never_ends_or_answers_for_its_tests_fails() -> None:
    outcome = programs.run("while True:\n    pass", Limits(seconds=20, cpu_seconds=1))
    assert not outcome.ok and programs.timed_out(outcome)
    outcome = programs.run("import time\ntime.sleep(60)", Limits(seconds=0.5))
    assert outcome.kind == "timeout" and programs.timed_out(outcome)
    forged = json.dumps({"id": 1, "kind": "ok", "value": "1"}).encode()
    outcome = programs.run(
        f"import os\nos.write(1, {struct.pack('>I', len(forged)) + forged!r})\nwhile 1: pass", Limits()
    )
    assert (outcome.kind, programs.timed_out(outcome)) == ("died", False)
    assert not programs.run("x = [0] * 10**10", Limits()).ok and not programs.run("\udcff", Limits()).ok


def test_settings_and_data_that_cannot_be_used_are_one_line(data: dict[str, str], tmp_path: Path) -> None:
    few = save({"test": make_dataset([mbpp(11)]), "prompt": make_dataset([mbpp(2)])}, tmp_path / "few")
    other = save(
        {"test": make_dataset([{"id": "1", "question": "q", "choices": ["a", "b"], "answer": "C"}])}, tmp_path / "x"
    )
    metric = {
        "id": "1",
        "instruction": "i",
        "question": "q",
        "answer": "a",
        "metric": "bleu",
        "gold": ["a"],
        "choices": ["a"],
    }
    odd = save({"1_1": {"test": make_dataset([metric])}}, tmp_path / "odd")
    for task, metadata, message in (
        ("versatune_humaneval", data | {"seconds": 0}, "seconds 0 and memory_mb 1024 must be whole numbers"),
        ("versatune_humaneval", data | {"memory_mb": "2G"}, "memory_mb '2G'"),
        ("versatune_mbpp", {"mbpp": str(few)}, "few: split 'prompt' lacks task_id"),
        ("versatune_fineval", {"dataset": str(other)}, "row '1': the answer 'C' is not one of A, B"),
        ("versatune_fineval", {"dataset": data["lawbench"]}, "cannot be read|no column"),
        ("versatune_lawbench_1_1", {"dataset": str(odd)}, "metric 'bleu' is not one of"),
        ("versatune_lawbench_1_1", {"dataset": data["fineval"]}, "config '1_1' cannot be read|split 'test' cannot"),
        ("versatune_financeiq", {"dataset": str(tmp_path / "nothing")}, "no such file or folder"),
    ):
        with pytest.raises((DataError, UsageError), match=message) as caught:
            evaluate(Scripted(True), [task], metadata)
        assert "\n" not in str(caught.value)


def test_lawbench_scores_of_replies() -> None:
    letters = list("ABCD")
    for metric, reply, gold, choices, expected in (
        ("choice", "[正确答案]B", ["B"], letters, 1), ("choice", "B或C", ["B"], letters, 0), ("choice", "答案是 b", ["B"], letters, None),
        ("labels", "合同诈骗", ["合同诈骗"], ["诈骗", "合同诈骗"], 1), ("labels", "诈骗;盗窃", ["诈骗"], ["诈骗", "盗窃"], 2 / 3),
        ("articles", "刑法第二百三十四条第一款、刑法第275条", ["234", "275"], [], 1), ("articles", "第234条", ["234", "275"], [], 2 / 3),
        ("articles", "无", ["234"], [], None), ("months", "有期徒刑三年零六个月", ["42"], [], 1), ("months", "[刑期]42月", ["42"], [], 1),
        ("months", "两年", ["24"], [], 1), ("months", "十万个月", ["1"], [], 0), ("months", "不判", ["24"], [], None),
        ("amount", "共计8,500元", ["8500.0"], [], 1), ("amount", "8500.5元", ["8500.0"], [], 0), ("amount", "很多", ["8500.0"], [], None),
        ("characters", "借款 21 万元。", ["21万元借款"], [], 1), ("triggers", "查扣；退给", ["查扣", "退给"], [], 1),
        ("triggers", "退给;查扣", ["查扣", "退给"], [], 0), ("entities", "受害人：黄某某；时间:无", ["受害人:黄某某"], ["受害人", "时间"], 1),
        ("entities", "没有实体", [], ["受害人"], 1), ("rouge", "两人被抓", ["两人窃电被抓"], [], 0.8),
    ):  # fmt: skip
        scores = lawbench.score(metric, reply, gold, choices)
        assert scores["abstained"] == float(expected is None), (metric, reply)
        assert scores["score"] == pytest.approx(expected or 0), (metric, reply)
    source, right = "上诉证据客观真实", ["上述证据客观真实"]
    assert [lawbench.score("edits", r, right, [], source)["score"] for r in (right[0], source, "")] == [1, 0, 0]
    assert lawbench.score("edits", source, [source], [], source)["score"] == 1
    assert lawbench.arabic("一百零五 十二 一万二千") == "105 12 12000"


@pytest.mark.slow
def test_originals_gold_gets_all(tmp_path: Path, shared_data: Path) -> None:
    """Every problem of HumanEval and MBPP passes its own tests in the sandbox, every answer of LawBench its metric."""
    from hubwright.builders.domain_benchmarks import CodeProblemsConfig, LawBenchConfig, code_problems
    from hubwright.builders.domain_benchmarks import lawbench as builder

    law = builder.build(LawBenchConfig(source=str(shared_data / "open-compass/LawBench/data/zero_shot")))
    for key, splits in law.items():
        for row in splits["test"]:
            reply = row["gold"][0] if row["metric"] in ("rouge", "characters") else row["answer"]
            found = lawbench.score(row["metric"], reply, row["gold"], row["choices"], row["question"])
            assert found["score"] == pytest.approx(1), (key, row["id"])
    path = shared_data / "openai/human-eval/data/HumanEval.jsonl.gz"
    for row in code_problems.build(CodeProblemsConfig(kind="humaneval", source=str(path)))["test"]:
        assert programs.run(programs.humaneval_program(row, row["canonical_solution"]), Limits(20.0, 10)).ok, row[
            "task_id"
        ]
    path = shared_data / "OckBench/OckBench/data/mbpp.jsonl"
    for row in code_problems.build(CodeProblemsConfig(kind="mbpp", source=str(path)))["test"]:
        assert programs.run(programs.mbpp_program(row, row["code"]), Limits(20.0, 10)).ok, row["task_id"]
