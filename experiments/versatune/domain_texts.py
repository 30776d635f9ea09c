"""The public texts of six domains that `mixtures.py` trains on."""

import csv
import json
from pathlib import Path


def documents(data: Path) -> dict[str, list[str]]:
    """The texts of every domain: questions with their options or answers, and paragraphs of reports."""

    def records(path: str, *fields: str) -> list[str]:
        rows = json.loads((data / path).read_text(encoding="utf-8"))
        return ["\n".join(str(row[field]) for field in fields if row.get(field)) for row in rows]

    def table(pattern: str) -> list[str]:
        files = sorted((data / "anchen1011/FireAct/data/mmlu/train").glob(pattern))
        return ["\n".join(row) for path in files for row in csv.reader(path.open(encoding="utf-8", newline=""))]

    reports = [data / f"NExTplusplus/TAT-QA/dataset_raw/tatqa_dataset_{name}.json" for name in ("dev", "test_gold")]
    pages = [page for path in reports for page in json.loads(path.read_text(encoding="utf-8"))]
    return {
        "law": table("aux_law_90s.csv"),
        "science": [text for pattern in ("arc_*.csv", "obqa.csv", "science_*.csv") for text in table(pattern)],
        "medicine": records("Kent0n-Li/ChatDoctor/chatdoctor5k.json", "input", "output"),
        "finance": ["\n".join(part["text"] for part in page["paragraphs"]) for page in pages],
        "code": [text for name in ("code_alpaca_2k", "new_codealpaca")
                 for text in records(f"sahil280114/codealpaca/data/{name}.json", "instruction", "input", "output")],
        "other": records("hiyouga/LLaMA-Factory/data/alpaca_en_demo.json", "instruction", "input", "output"),
    }  # fmt: skip
