"""Small files of our own in the form of LawBench's, FinEval's, FinanceIQ's, SciEval's, HumanEval's and MBPP's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from hubwright.builders._lib.context import local_context
from hubwright.builders.domain_benchmarks import code_problems, exams, lawbench, scieval
from hubwright.hub_sync.parquet import write_shards

LABELS = "类别包括：租金、利息、租金情况。"
# By subtask: instruction, question, answer.
LAWBENCH = {
    "1_1": ("回答问题", "第一条的内容是什么？", "答案:为了规范交易，制定本法。"),
    "1_2": ("从A,B,C,D中选出", "哪项正确?A:甲;B:乙;C:丙;D:丁。", "正确答案：B。"),
    "2_1": ("纠正句子", "上诉证据客观真实。", "上述证据客观真实。"),
    "2_2": (f"判断争议焦点，{LABELS}", "句子:原告诉称拖欠租金。", "争议焦点类别：租金情况。"),
    "2_3": (f"确定类别，{LABELS}", "句子:欠租并有利息。", "类别:租金、利息。"),
    "2_4": (f"确定类别，{LABELS}", "欠款利息怎么算", "利息"),
    "2_5": ("根据段落回答", "段落:借款21万元。问题:借款多少?", "回答:21万元借款"),
    "2_6": (
        "提取实体，实体类型包括:受害人、时间。逐个列出",
        "句子:2017年6月黄某某被盗。",
        "受害人:黄某某;时间:2017年6月",
    ),
    "2_7": ("给出摘要", "两人深夜窃电被抓，金额四十万元。", "两人窃电被抓。"),
    "2_8": ("选出一个观点", "句子:请求赔偿。A:无罪。B:同意赔偿。C:驳回。D:无。E:不应赔偿。", "[正确答案]E<eoa>"),
    "2_9": ("触发了哪些事件，事件包括：支付/给付，欺骗，卖出。请直接给出", "收取资金", "支付/给付;欺骗"),
    "2_10": ("哪些词触发了事件", "公安机关将查扣的车退给失主", "查扣;退给"),
    "3_1": ("给出法条", "事实:打人并毁物。罪名:故意伤害;故意毁坏财物。", "法条:刑法第234、275条"),
    "3_2": ("给出法律依据", "场景:设立联合社。", "根据第五十六条，可以设立联合社。"),
    "3_3": ("给出罪名", "事实:打人并毁物。", "罪名:故意伤害;故意毁坏财物"),
    "3_4": ("预测刑期", "事实:盗窃。", "刑期:4个月"),
    "3_5": ("预测刑期", "事实:盗窃。法条:刑法第264条", "刑期:42个月"),
    "3_6": ("从A,B,C,D中选出", "构成何罪?A:甲;B:乙;C:丙;D:丁。", "正确答案:C。"),
    "3_7": ("计算金额", "文书:盗走1500元，又盗走7000元。", "上文涉及到的犯罪金额:8500.0元。"),
    "3_8": ("请回答", "影响报考吗？", "回答:可能有影响。法律依据:第九十一条。"),
}
CSV = ',question,A,B,C,D,answer\n0,银行的负债是____。,存款,贷款,现金,设备,A\n1,"税率,3%时",一,二,三,四,D\n'
SCIEVAL = [
    ("multiple-choice", "What melts?\n\nA. ice\nB. fire\nC. air\nD. light\n\nAnswer:", "A"),
    ("judge", "A study.\n\nIs it necessary?\n\nAnswer:", "no"),
    ("filling", "Given:\nbase: O\nreactant list for selection:\nCCO,CCN,C\nOptimal reactant:", "CCN"),
]
HUMANEVAL = [
    {"task_id": "HumanEval/0", "prompt": 'import math\n\n\ndef root(x: float) -> float:\n    """Square root."""\n',
     "entry_point": "root", "canonical_solution": "    return math.sqrt(x)\n",
     "test": "def check(candidate):\n    assert candidate(9) == 3\n"},
]  # fmt: skip


def mbpp(number: int) -> dict[str, Any]:
    return {
        "text": f"Write a function that adds {number}.", "code": f"def add(x):\r\n    return x + {number}",
        "task_id": number, "test_setup_code": "start = add(0)" if number == 11 else "",
        "test_list": [f"assert add({n}) == {n + number}" for n in range(3)] + ["assert start == 11"] * (number == 11),
        "challenge_test_list": [],
    }  # fmt: skip


def scieval_record(number: int, kind: str, question: str, answer: str) -> dict[str, Any]:
    return {
        "id": f"{number}", "question": question, "answer": [answer], "category": "chemistry", "topic": None,
        "ability": "Base Knowledge", "type": kind, "task_name": "SocraticQA", "prompt": "Answer directly.",
        "cot_prompt": "",
    }  # fmt: skip


def write_lawbench(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for key, (instruction, question, answer) in LAWBENCH.items():
        records = [{"instruction": instruction, "question": question, "answer": answer}]
        (folder / f"{key.replace('_', '-')}.json").write_text(json.dumps(records, ensure_ascii=False))
    return folder


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def write_scieval(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dev", "valid"):
        records = [scieval_record(n, *one) for n, one in enumerate(SCIEVAL)]
        (folder / f"scieval-{name}.json").write_text(json.dumps(records))
    return folder


def save(made: Any, folder: Path) -> Path:
    """Configs or splits, laid out as the runner publishes them."""
    configs = made if isinstance(next(iter(made.values())), dict) else {"data": made}
    head = []
    for config, splits in configs.items():
        for split, rows in splits.items():
            write_shards(rows, folder / config, split)
        files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
        head.append({"config_name": "default" if config == "data" else config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': head})}---\n", encoding="utf-8")
    return folder


def built(folder: Path) -> dict[str, str]:
    """Every data set from the small files: name -> folder, as the tasks' metadata."""
    table = folder / "csv" / "accounting_val.csv"
    table.parent.mkdir(parents=True)
    table.write_text(CSV, encoding="utf-8-sig")
    one = {"source": str(table.parent), "files": (table.name,)}
    humaneval = write_lines(folder / "HumanEval.jsonl", HUMANEVAL)
    problems = write_lines(folder / "mbpp.jsonl", [mbpp(number) for number in (2, 3, 4, 11)])
    made = {
        "lawbench": lawbench.build(
            lawbench.LawBenchConfig(source=str(write_lawbench(folder / "law"))), local_context()
        ),
        "fineval": exams.build(exams.FinEvalConfig(**one), local_context()),
        "financeiq": exams.build(exams.FinanceIQConfig(**one), local_context()),
        "scieval": scieval.build(scieval.SciEvalConfig(source=str(write_scieval(folder / "sci"))), local_context()),
        "humaneval": code_problems.build(
            code_problems.CodeProblemsConfig(kind="humaneval", source=str(humaneval)), local_context()
        ),
        "mbpp": code_problems.build(
            code_problems.CodeProblemsConfig(kind="mbpp", source=str(problems)), local_context()
        ),
    }
    return {name: str(save(data, folder / name)) for name, data in made.items()}
