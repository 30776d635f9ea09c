"""The games through lm-eval: an expert succeeds everywhere, silence nowhere; the distribution of a real small model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from lm_eval.api.model import LM

from hubwright.environments.text.interface import as_messages
from hubwright.environments.text.panel import panel
from hubwright.environments.text.registry import open_game
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.interactive.model import InteractiveLM
from hubwright.evals.stepagent import distribution_scores, episode
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.json_columns import make_dataset
from hubwright.hub_sync.parquet import write_shards

GAMES = ("taxi", "frozen_lake")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two games: episodes, and the first two states of each with the expert's probabilities."""
    folder = tmp_path_factory.mktemp("games")
    episodes: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    for name in GAMES:
        game = open_game(name)
        for one in panel(game, "test", 5):
            episodes.append({"id": f"{name}-{len(episodes)}", "env": name, "task": one.task, "seed": one.seed,
                             "history": 0, "options": "{}"})  # fmt: skip
            observation = game.reset(one.seed, one.task)
            for _ in range(2):
                actions, expert = game.admissible(), game.expert_distribution()
                steps.append({
                    "env": name, "prompt": as_messages(game.instructions, [observation], []), "admissible": actions,
                    "expert_action": game.expert(), "expert_dist": [expert.get(action, 0.0) for action in actions],
                })  # fmt: skip
                observation = game.step(str(game.expert())).observation
    configs = []
    for config, rows in (("trajectories", episodes), ("steps", steps)):
        write_shards(make_dataset(rows), folder / config, "test")
        configs.append(f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test-*\n")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    return folder


class Player(LM):
    """Answers with the expert's action of the episode that it recognises by its messages, or says nothing."""

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.knows, self.calls = knows, 0

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        self.calls += 1
        return [self._answer(request.args[0]) for request in requests]

    def _answer(self, prompt: str) -> str:
        if not self.knows:
            return ""
        for table in episode._TABLES.values():
            for slot, one in table.live.items():
                if not one.waits and one._played.observations and one._played.observations[-1] in prompt:
                    answer = table.pool.ask([slot], ["expert"])[slot]
                    return f"Thought: on.\nAction: {answer['expert'].capitalize()}."  # type: ignore[index]
        raise AssertionError(prompt)

    def loglikelihood(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def evaluate(model: LM, tasks: list[str], data: Path, **settings: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_path=str(tasks_dir() / "stepagent"), include_defaults=False, metadata={"dataset": str(data)}
    )
    result = lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **settings)
    assert result is not None
    return result


def test_expert_reaches_every_goal_and_episodes_go_together(data: Path) -> None:
    player = Player(knows=True)
    results = evaluate(InteractiveLM(player), ["stepagent_taxi", "stepagent_frozen_lake"], data)["results"]
    for game in GAMES:
        figures = results[f"stepagent_{game}"]
        assert figures["success,none"] == figures["score,none"] == 1
        assert figures["invalid,none"] == figures["failed,none"] == 0
    assert player.calls < 40  # ten episodes of up to twenty steps each
    assert not episode._TABLES


def test_silence_succeeds_nowhere(data: Path) -> None:
    figures = evaluate(InteractiveLM(Player(knows=False)), ["stepagent_frozen_lake"], data)["results"]
    assert figures["stepagent_frozen_lake"]["success,none"] == 0
    assert figures["stepagent_frozen_lake"]["invalid,none"] == 1


def test_killed_game_processes_cost_no_episode(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    answer = Player._answer

    def kill_once(self: Player, prompt: str) -> str:
        if self.calls == 3:
            for table in episode._TABLES.values():
                for worker in table.pool._workers:
                    if worker is not None:
                        os.kill(worker.process.pid, signal.SIGKILL)
            self.calls = 100
        return answer(self, prompt)

    monkeypatch.setattr(Player, "_answer", kill_once)
    figures = evaluate(InteractiveLM(Player(knows=True)), ["stepagent_taxi"], data)["results"]["stepagent_taxi"]
    assert figures["success,none"] == 1 and figures["failed,none"] == 0


def test_distribution_is_that_of_whole_answers(data: Path, tiny_model: Path) -> None:
    """The log-probabilities of lm-eval against one plain pass over prompt, action and end of turn."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    lm = HFLM(model, tokenizer=tokenizer, device="cpu", batch_size=4)
    result = evaluate(lm, ["stepagent_taxi_ll"], data, apply_chat_template=True, log_samples=True)
    sample = result["samples"]["stepagent_taxi_ll"][0]
    context, answer = sample["arguments"][0]
    assert answer.endswith("<|im_end|>") and answer.removesuffix("<|im_end|>") == sample["doc"]["actions"][0]
    logps = []
    for action in sample["doc"]["actions"]:
        texts = (context, f"{context}{action}<|im_end|>")
        head, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
        with torch.no_grad():
            logits = model.eval()(torch.tensor([whole])).logits[0].log_softmax(-1)
        logps.append(sum(logits[k - 1, whole[k]].item() for k in range(len(head), len(whole))))
    for name, value in distribution_scores(logps, sample["doc"]["expert"]).items():
        assert sample[name] == pytest.approx(value, abs=1e-3)
    figures = result["results"]["stepagent_taxi_ll"]
    assert 0 < figures["kl,none"] < math.inf and figures["inadmissible_mass,none"] > 0.9
    assert sample["agreement"] in (0.0, 1.0) and json.loads(sample["doc"]["prompt"])


def test_split_is_named_by_metadata(data: Path) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    metadata = {"dataset": str(data), "split": "test_seeds"}
    manager = TaskManager(include_path=str(tasks_dir() / "stepagent"), include_defaults=False, metadata=metadata)
    with pytest.raises(DataError, match="test_seeds"):
        lm_eval.simple_evaluate(InteractiveLM(Player(knows=False)), tasks=["stepagent_taxi"], task_manager=manager)


def test_data_set_without_the_game_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match="no row is of the game cliff_walking; the data set has frozen_lake, taxi"):
        evaluate(InteractiveLM(Player(knows=False)), ["stepagent_cliff_walking"], data)


@pytest.mark.slow
def test_course_of_two_evaluations_has_curves_factors_and_episodes(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from tiny_model import save_tiny_model

    from hubwright.evals.harness.step import HarnessConfig, evaluate
    from hubwright.evals.stepagent.cycles import CyclesConfig, cycles
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    def source(name: str, path: Path) -> Input:
        return Input(ArtifactRef("model" if name == "model" else "dataset", f"org/{name}", "0" * 40), path)

    tasks = ["stepagent_frozen_lake", "stepagent_taxi_ll"]
    config = HarnessConfig(
        tasks=tasks, limit=3, batch_size=8, device="cpu", dtype="float32", gen_kwargs={"max_gen_toks": 2}
    )
    outputs = []
    for number, model in enumerate((tiny_model, save_tiny_model(tmp_path / "other", seed=1))):
        folder = tmp_path / str(number)
        step = StepContext("played", folder / "work", folder / "out",
                           {"model": source("model", model), "dataset": source("games", data)})  # fmt: skip
        step.output.mkdir(parents=True)
        evaluate(config, step)
        outputs.append(step.output)
    inputs = {f"cycle_{name}": source(name, path) for name, path in zip(("start", "one"), outputs, strict=True)}
    step = StepContext("course", tmp_path / "work", tmp_path / "out", inputs)
    step.output.mkdir()
    cycles(CyclesConfig(order=["start", "one"], beta=0.5), step)
    check_columns("stepagent_cycles", step.output, step.report)
    titles = {curve["title"] for curve in step.report.curves}
    assert {"success", "kl", "inadmissible_mass"} <= titles
    ((task, name, *figures),) = step.report.tables[0]["rows"]
    assert (task, name) == ("stepagent_taxi_ll", "one") and figures[0] > 0 and figures[4] >= 0
    assert "|1 - 1/beta| = 1.000" in step.report.tables[0]["note"]
    assert [section["title"] for section in step.report.sections] == [f"{tasks[0]}, start", f"{tasks[0]}, one"]
    assert "You are at row 1 column 1" in step.report.sections[0]["body"]
    one = StepContext("course", tmp_path / "work", tmp_path / "out", {"cycle_start": inputs["cycle_start"]})
    with pytest.raises(UsageError, match="two inputs"):
        cycles(CyclesConfig(), one)
    with pytest.raises(UsageError, match="order names 'two', and there is no input cycle_two"):
        cycles(CyclesConfig(order=["start", "two"]), step)
    two = StepContext(
        "course", tmp_path / "w", tmp_path / "o", {f"cycle_{n}": inputs["cycle_one"] for n in ("start", "2")}
    )
    with pytest.raises(UsageError, match="cycle_2 comes after cycle_start"):
        cycles(CyclesConfig(order=["start", "2"]), two)
