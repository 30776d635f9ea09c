"""Inspection: the agent's actions are the model's own, in the order of the states, and survive a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from column_parts import check_columns
from step_parts import ACTIONS, context, make_model, save_steps, step_of

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.inference.generation import Generator, end_tokens
from hubwright.inference.loading import causal_lm
from hubwright.trainers.stepagent import InspectConfig, inspect
from hubwright.trainers.stepagent.inspection import pair, shuffled

QUICK = {"use_cpu": True, "threads": 1, "max_new_tokens": 6, "batch_size": 4}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inspect")
    return {"model": make_model(folder / "model", dropout=0.0), "dataset": save_steps(folder / "data")}


def run(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    step = context(folder, inputs, name)
    data = inspect(InspectConfig(**(QUICK | settings)), step)
    check_columns("stepagent_inspect", data, step.report)
    return list(data["pairs"]["train"]), step


def test_pairs_have_every_state_in_order_with_the_expert_as_chosen(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows, step = run(tmp_path, inputs, samples=2)
    assert [(row["traj_id"], row["i"]) for row in rows] == [
        (f"walk-{n}", i) for n in range(12) for i in range(2) for _ in range(2)
    ]
    assert [row["chosen"][0]["content"] for row in rows[::4]] == [ACTIONS[n % 4] for n in range(12)]
    assert step.report.counts["pairs"] == 48 and step.report.metrics["inadmissible"] > 0.5
    assert len({row["rejected"][0]["content"] for row in rows}) > 10


def test_log_probability_is_that_of_one_pass_over_prompt_and_answer(inputs: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    model = causal_lm(inputs["model"], "m", "float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(inputs["model"])
    generator = Generator(model, tokenizer, temperature=1.3, max_new_tokens=5, seed=1)
    prompts = [generator.encode(step_of(n, n)["prompt"]) for n in range(3)]  # of different lengths: padded
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = model.generate  # the tokens themselves, kept beside the samples
        kept: list[Any] = []
        model.generate = lambda **options: kept.append(drawn(**options)) or kept[-1]
        samples = generator.sample(prompts, "b")
    width = max(map(len, prompts))
    for prompt, sample, row in zip(prompts, samples, kept[0][:, width:].tolist(), strict=True):
        answer = row[: sample.tokens]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        wanted = sum(logits[len(prompt) - 1 + k, token].item() for k, token in enumerate(answer))
        assert sample.logp == pytest.approx(wanted, abs=1e-4)
        assert sample.cut == (answer[-1] not in end_tokens(model, tokenizer))


def test_temperature_zero_takes_the_most_probable_token(inputs: dict[str, Path], tmp_path: Path) -> None:
    one, _ = run(tmp_path, inputs, "a", temperature=0, batch_size=1)
    other, _ = run(tmp_path, inputs, "b", temperature=0, seed=7, batch_size=24)
    assert [row["rejected"] for row in one] == [row["rejected"] for row in other]


def test_repository_settings_of_generation_change_nothing(inputs: dict[str, Path], tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(inputs["model"], folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps(settings | {"do_sample": True, "top_k": 1, "repetition_penalty": 1.9, "max_new_tokens": 2})
    )
    plain, _ = run(tmp_path, inputs, "a")
    odd, _ = run(tmp_path, inputs | {"model": folder}, "b")
    assert plain == odd


def test_kill_between_shards_gives_the_same_rows_and_generates_the_rest_alone(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.trainers.stepagent import inspection

    monkeypatch.setattr(inspection, "SHARD_ROWS", 8)
    whole, _ = run(tmp_path, inputs, "whole")
    step, calls = context(tmp_path, inputs, "killed"), []
    sample = Generator.sample

    def stop_after_three(self: Generator, prompts: Any, batch: str) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(batch)
        return sample(self, prompts, batch)

    monkeypatch.setattr(Generator, "sample", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        inspect(InspectConfig(**QUICK), step)
    monkeypatch.setattr(Generator, "sample", lambda self, p, batch: calls.append(batch) or sample(self, p, batch))
    again = inspect(InspectConfig(**QUICK), context(tmp_path, inputs, "killed"))["pairs"]["train"]
    assert list(again) == whole
    assert len(calls) == 3 + 4  # of six batches the first shard's two are kept


def test_shuffled_expert_is_another_state_of_the_same_environment() -> None:
    steps = [step_of(n, env="ab"[n % 2], expert_action=f"{'ab'[n % 2]}{n}") for n in range(20)]
    actions = shuffled(steps, 0)
    assert sorted(actions) == sorted(step["expert_action"] for step in steps)
    assert all(a != s["expert_action"] and a[0] == s["env"] for a, s in zip(actions, steps, strict=True))


def test_pair_of_equal_actions_is_a_tie_and_unlisted_actions_are_not_valid() -> None:
    sample = {"text": "north", "logp": -1.0, "cut": False, "tokens": 2}
    row = pair(step_of(0), "north", sample, 3)
    assert row["tie"] and row["valid"] and row["cycle"] == 3
    assert pair(step_of(0), "north", sample | {"text": "fly"}, 1)["valid"] is False
    assert pair(step_of(0, admissible=None), "north", sample, 1)["valid"] is None
    for text in ("North.", "<think>It is cold.</think>\nnorth", "Thought: cold.\nAction: north"):
        other = pair(step_of(0), "north", sample | {"text": text}, 1)
        assert other["valid"] and not other["tie"]
    assert pair(step_of(0), "north", sample | {"text": "<think>north"}, 1)["valid"] is False


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"traj_id": "a", "i": 0, "prompt": [{"role": "user", "content": "x"}]}], "no column 'expert_action'"),
        ([step_of(0, expert_action=" ")], "row 0: expert_action is ' '"),
        ([step_of(0), step_of(1, expert_action=None)], "row 1: expert_action is None"),
        ([step_of(0, prompt=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])],
         "row 0: the prompt does not end"),
        ([step_of(0, prompt=[])], "row 0: the prompt does not end"),
        ([step_of(0), step_of(1, prompt=[{"role": "user", "content": None}])], "row 1: a turn of the prompt is not text"),
    ],
)  # fmt: skip
def test_unusable_steps_are_refused_by_row(
    tmp_path: Path, inputs: dict[str, Path], rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path, inputs | {"dataset": save_steps(tmp_path / "data", rows)})


def test_data_set_without_steps_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="config `steps` cannot be read"):
        run(tmp_path, inputs | {"dataset": save_steps(tmp_path / "data", config="trajectories")})


def test_prompt_longer_than_the_model_reads_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [step_of(0, prompt=[{"role": "user", "content": "x" * 2000}])]
    with pytest.raises(UsageError, match=r"prompt of 20\d\d tokens and an answer of 6 are longer than the 1024"):
        run(tmp_path, inputs | {"dataset": save_steps(tmp_path / "data", rows)})
