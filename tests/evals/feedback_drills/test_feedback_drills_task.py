"""The feedback_drills task: reading the answer, metrics, and a real run through lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals._lib.chat import chat_prompt
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.feedback_drills.scorer import METRICS, extract_answer, is_correct, score


@pytest.mark.parametrize(
    ("response", "answer", "correct"),
    [
        ("Answer: 62", "62", True),
        ("27 + 35 = 62.\nAnswer: 62.", "62", True),
        ("Answer: 60\nNo, wait.\nAnswer: 62", "62", True),
        ("Answer: 62\nAnswer: 60", "62", False),
        ("**Answer:** 240 minutes", "240", True),
        ("Answer: 2400", "240", False),
        ("Answer: 12,000", "12000", True),
        ("The answer is 62", "62", True),
        ("The answer is: march.", "March", True),
        ('answer: "March"', "March", True),
        ("Answer: March or May", "March", False),
        ("答案：三月。", "三月", True),
        ("答案是62", "62", True),
        ("答案:62。", "62", True),
        ("It is 62.", "62", False),
        ("", "62", False),
        ("Answer:", "62", False),
        ("Answer: 62.5", "62", False),
    ],
)
def test_answers(response: str, answer: str, correct: bool) -> None:
    assert is_correct(response, answer) is correct


@given(st.text())
def test_any_response_is_read(response: str) -> None:
    given_answer = extract_answer(response)
    assert given_answer is None or given_answer.strip()
    assert is_correct(f"{response}\nAnswer: 62", "62")


ROW = {
    "answer": "62", "first_answer": "52", "bench_type": "Error Correction", "feedback_form": "doubt",
    "held_out_wording": True,
}  # fmt: skip


def test_metrics_of_one_response() -> None:
    right = score(ROW, "Answer: 62")
    assert right["acc"] == right["acc_error_correction"] == right["acc_doubt"] == right["acc_new_wording"] == 1.0
    assert right["repeats_first_answer"] == right["no_answer"] == 0.0
    assert "acc_response_maintenance" not in right and "acc_known_wording" not in right
    assert score(ROW, "Answer: 52")["repeats_first_answer"] == 1.0
    assert score(ROW, "I do not know")["no_answer"] == 1.0
    assert set(right) <= set(METRICS)


def test_prompt_without_a_template_and_with_a_system_instruction() -> None:
    turns = [{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]
    assert chat_prompt(turns, None, None) == "System: A\n\nUser: B\n\nAssistant:"
    assert chat_prompt(turns, "S", None).startswith("System: S\n\nA\n\nUser")
    assert chat_prompt(turns[1:], "S", None).startswith("System: S\n\nUser")
    assert turns[0]["content"] == "A"


@pytest.mark.parametrize("policy", ["right", "first"])
def test_through_lm_eval(tmp_path: Path, policy: str) -> None:
    """The generator's own rows, the real evaluator, and the blind policy that the card prints."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    from hubwright.builders.feedback_drills import FeedbackDrillsConfig, build
    from hubwright.hub_sync.context import StepContext

    class Scripted(LM):
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history)

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            turns = [json.loads(r.args[0]) for r in requests]
            assert all([t["role"] for t in chat] == ["user", "assistant", "user"] for chat in turns)
            if policy == "right":
                return [r.doc["completion"][0]["content"] for r in requests]
            return [chat[1]["content"] for chat in turns]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    splits = build(FeedbackDrillsConfig(train_rows=1, test_rows=140), StepContext("s", tmp_path, tmp_path))
    (tmp_path / "d").mkdir()
    splits["test"].to_parquet(str(tmp_path / "d" / "test.parquet"))
    manager = TaskManager(
        include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(tmp_path / "d")}
    )
    results = lm_eval.simple_evaluate(
        model=Scripted(), tasks=["feedback_drills"], task_manager=manager, apply_chat_template=True, bootstrap_iters=0
    )
    values = results["results"]["feedback_drills"]
    assert values["no_answer,none"] == 0.0
    if policy == "right":
        assert values["acc,none"] == values["acc_ci_high,none"] == 1.0
    else:
        assert values["acc,none"] == pytest.approx(0.5, abs=0.02)
        assert values["acc_response_maintenance,none"] == 1.0 and values["acc_error_correction,none"] == 0.0
        assert values["repeats_first_answer,none"] == 1.0
