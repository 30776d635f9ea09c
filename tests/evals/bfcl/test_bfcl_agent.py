"""Rows played to their end through lm-eval: by hand, and all 800 of the package; the model `interactive` itself."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from multi_turn_parts import CATEGORIES, GOLD, ROW, SOURCES, small

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.interactive.episodes import (
    Request,
    begin,
    read_request,
    read_transcript,
    register,
    transcript_text,
)
from hubwright.evals._lib.interactive.model import InteractiveLM
from hubwright.evals.bfcl import steps
from hubwright.evals.bfcl.live import STEPS, BFCLEpisode, episode, offer
from hubwright.evals.bfcl.steps import NOTHING, Referee, call_list
from hubwright.evals.tool_query.episode import ToolQueryEpisode
from hubwright.hub_sync.errors import DataError, UsageError

PERFECT = [call_list(GOLD[0]), "Done.", NOTHING, call_list(GOLD[2]), "Two."]


@pytest.fixture(scope="module")
def judge():
    made = Referee(SOURCES)
    yield made
    made.close()


def played(judge: Referee, replies: list[str]) -> dict[str, Any]:
    """The transcript of an episode in which the model says these; all of them are asked for."""
    episode = BFCLEpisode(ROW, judge)
    for reply in replies:
        assert episode.prompt() is not None, reply
        episode.reply(reply)
    assert episode.prompt() is None
    return episode.transcript()


def test_the_model_goes_on_from_its_own_calls(judge: Referee):
    episode = BFCLEpisode(ROW, judge)
    for reply in ["[create('a', priority=2)]", "[count()]", "Done.", NOTHING, call_list(GOLD[2]), ""]:
        last = episode.prompt()
        episode.reply(reply)
    assert last is not None and [(turn["role"], turn["content"]) for turn in last] == [
        ("system", "Reply with calls."),
        ("user", "Open one."),
        ("assistant", "[create('a', priority=2)]"),
        ("user", "[{'role': 'tool', 'name': \"create('a', priority=2)\", 'content': '{\"id\": 1}'}]"),
        ("assistant", "[count()]"),
        ("user", "[{'role': 'tool', 'name': 'count()', 'content': '1'}]"),
        ("assistant", "Done."),
        ("user", "Close it."),
        ("assistant", NOTHING),
        ("user", "[{'name': 'count'}]\nAnd now?"),
        ("assistant", "[count()]"),
        ("user", "[{'role': 'tool', 'name': 'count()', 'content': '1'}]"),
    ]
    found = episode.transcript()
    assert found["passed"] and (found["turns"], found["turns_passed"], found["steps"]) == (3, 3, 6)
    assert [len(turn) for turn in found["said"]] == [3, 1, 2] and not found["needless"]
    assert found["said"][0][1] == {"reply": "[count()]", "results": ["1"]}


@pytest.mark.parametrize(
    ("replies", "turns", "needless", "fault"),
    [
        (PERFECT, 3, False, ""),
        (["", "", ""], 0, False, "turn 0: nothing was called"),
        (["[create('a')]", "", "", ""], 0, False, "turn 0: the state differs: TicketAPI.tickets"),
        ([*PERFECT[:3], ""], 2, False, "turn 2: nothing was called"),
        # Where gold calls nothing, a call that changes nothing passes, as in the package.
        ([*PERFECT[:2], "[count()]", "", "[count()]", ""], 3, True, ""),
        ([*PERFECT[:2], "[create('b')]", "", "[count()]", ""], 2, True, "turn 2: the state differs"),
        ([*PERFECT[:2], *["[count()]"] * (STEPS + 1)], 1, True, f"turn 1: more than {STEPS} steps"),
        ([*["[count()]"] * (STEPS - 1), PERFECT[0], *PERFECT[1:]], 3, False, ""),
        (["[create('a', priority=2j)]", "", "", ""], 0, False, "turn 0: the state differs: TicketAPI.tickets"),
    ],
)
def test_what_passes(judge: Referee, replies: list[str], turns: int, needless: bool, fault: str):
    found = played(judge, replies)
    assert found["turns_passed"] == turns and found["steps"] == len(replies)
    assert found["passed"] == (fault == "") and found["fault"].startswith(fault)
    assert found["needless"] == needless and found["stopped"] == ("more than" in fault or "cannot" in fault)


def test_a_call_that_never_ends_fails_its_own_row_alone(monkeypatch: pytest.MonkeyPatch):
    from hubwright.environments.sandbox import Limits
    from hubwright.evals.bfcl.worlds import Worlds

    monkeypatch.setattr(steps, "Worlds", partial(Worlds, limits=Limits(seconds=1.0)))
    judge = Referee(SOURCES)
    try:
        first, second = BFCLEpisode(ROW, judge), BFCLEpisode(ROW, judge)
        second.reply(PERFECT[0])
        first.reply("[create('a', priority=2), spin()]")
        assert first.prompt() is None and "no result within" in first.transcript()["fault"]
        for reply in PERFECT[1:]:
            second.reply(reply)
        assert second.transcript()["passed"]
    finally:
        judge.close()


def test_time_that_other_rows_used_up_fails_no_row(monkeypatch: pytest.MonkeyPatch):
    judge = Referee(SOURCES)
    after, ended = judge._after, []

    def ends_once(row: Any, past: Any) -> None:
        after(row, past)
        if not ended:
            ended.append(judge._worlds.close())

    monkeypatch.setattr(judge, "_after", ends_once)
    try:
        assert played(judge, PERFECT)["passed"] and ended
    finally:
        judge.close()


def test_a_turn_too_large_as_a_whole_fails_its_own_row_alone(monkeypatch: pytest.MonkeyPatch):
    from hubwright.environments.sandbox import Limits
    from hubwright.evals.bfcl.worlds import Worlds

    monkeypatch.setattr(steps, "Worlds", partial(Worlds, limits=Limits(seconds=5.0, result_bytes=50)))
    judge = Referee(SOURCES)
    try:
        found = played(judge, ["[create('a'), create('b')]"] * 2 + [""] * 3)
        assert found["fault"].startswith("calls that cannot be made") and found["stopped"] and not found["passed"]
        assert played(judge, PERFECT)["passed"]
    finally:
        judge.close()


class Scripted(LM):
    """Says in each episode what `replies` lists for its document, turn by turn; the second reply to a document of
    another task never comes."""

    def __init__(self, replies: Any, window: int | None = None) -> None:
        super().__init__()
        self.replies, self.batches, self.prompts = replies, [], []
        self._at: dict[Any, Any] = {}
        if window:
            self.max_length, self.tok_encode = window, str.split

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self.batches.append(len(requests))
        self.prompts += [request.args[0] for request in requests]
        for request in requests:
            assert "until" in request.args[1]
            request.args[1].pop("until")  # some models of lm-eval do
            self._at.setdefault((request.task_name, request.doc_id), iter(self.replies(request.doc)))
        return [next(self._at[request.task_name, request.doc_id]) for request in requests]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        return [(-1.0, True) for _ in requests]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        return [-2.0 for _ in requests]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in chat_history)

    @property
    def tokenizer_name(self) -> str:
        return "scripted"


def evaluate(task: str, model: Any, metadata: dict[str, Any], **settings: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    return lm_eval.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0, **settings)


def replayed(doc: dict[str, Any]) -> list[str]:
    """Gold's calls of every turn, and a closing word; a document of the teacher-forced task gets its one reply."""
    gold = json.loads(doc["gold"])
    if "past" in doc:
        return [call_list(gold)]
    return [text for calls in gold for text in ([call_list(calls), "Done."] if calls else [NOTHING])]


def silent(doc: dict[str, Any]) -> list[str]:
    return [""] * (1 if "past" in doc else len(json.loads(doc["gold"])))


def test_episodes_go_on_together_beside_ordinary_tasks(tmp_path: Path):
    data = {"dataset": str(small(tmp_path / "d"))}
    inner = Scripted(replayed)
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=data)
    found = lm_eval.simple_evaluate(
        model=InteractiveLM(inner),
        tasks=["button_bfcl_multi_turn_base", "button_bfcl_agent"],
        task_manager=manager,
        apply_chat_template=True,
        system_instruction="Be brief.",
        bootstrap_iters=0,
    )
    assert found["results"]["button_bfcl_multi_turn_base"]["turn_acc,none"] == 1.0
    assert inner.batches == [3, *[4] * 5]  # the three turns of the other task, then a round for each step
    assert inner.prompts[3].startswith("<system>Be brief.\n\nReply with calls.<user>Open one.")
    assert inner.prompts[-1].endswith(
        "<assistant>[count()]<user>[{'role': 'tool', 'name': 'count()', 'content': '1'}]"
    )
    values = found["results"]["button_bfcl_agent_base"]
    assert values["acc_ci_low,none"] < values["acc,none"] == values["turns_passed,none"] == 1.0
    assert values["steps,none"] == 5.0 and values["needless,none"] == values["stopped,none"] == 0.0
    assert found["groups"]["button_bfcl_agent"]["acc,none"] == 1.0
    better = found["higher_is_better"]["button_bfcl_agent_base"]
    assert better["acc"] and better["turns_passed"] and not better["needless"] and not better["stopped"]
    (sample,) = found["samples"]["button_bfcl_agent_base"]
    transcript = read_transcript(sample["resps"][0][0])
    assert transcript is not None and transcript["said"][2][0] == {"reply": "[count()]", "results": ["1"]}


def test_without_a_chat_template_and_with_a_full_window(tmp_path: Path):
    data = {"dataset": str(small(tmp_path / "d"))}
    inner = Scripted(replayed, window=512 + 25)
    found = evaluate("button_bfcl_agent_base", InteractiveLM(inner), data)
    assert inner.prompts[0] == "System: Reply with calls.\n\nUser: Open one.\n\nAssistant:"
    values = found["results"]["button_bfcl_agent_base"]
    assert (values["acc,none"], values["stopped,none"]) == (0.0, 1.0)
    transcript = read_transcript(found["samples"]["button_bfcl_agent_base"][0]["resps"][0][0])
    assert transcript is not None and "tokens and 512 to write, the window is 537" in transcript["fault"]
    assert "context full" in transcript["fault"]


def test_answers_alone(tmp_path: Path):
    data = {"dataset": str(small(tmp_path / "d"))}
    found = evaluate("button_bfcl_agent_base", InteractiveLM(Scripted(silent)), data, predict_only=True)
    assert found["results"]["button_bfcl_agent_base"]["bypass,none"] == 0.0


def test_an_ordinary_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from hubwright.evals._lib.interactive import task

    data = {"dataset": str(small(tmp_path / "d"))}
    kept = InteractiveLM(Scripted(silent))
    asked = Scripted(lambda doc: ["[count()]"])
    with pytest.raises(UsageError, match="hubwright eval button_bfcl_agent_base --model interactive"):
        evaluate("button_bfcl_agent_base", asked, data)  # another one is there: told by the answer
    assert asked.batches == [1] and kept.rank == 0
    monkeypatch.setattr(task, "is_made", lambda: False)
    idle = Scripted(silent)
    with pytest.raises(UsageError, match="an ordinary model cannot do; wrap it"):
        evaluate("button_bfcl_agent_base", idle, data)
    assert idle.batches == []  # nothing was written in vain


def test_the_wrapper_is_the_inner_model_but_for_episodes():
    inner = Scripted(silent)
    outer = InteractiveLM(inner)
    assert outer.loglikelihood([1, 2]) == [(-1.0, True)] * 2 and outer.loglikelihood_rolling([1]) == [-2.0]
    assert (outer.rank, outer.world_size, outer.tokenizer_name) == (0, 1, "scripted")
    assert outer.apply_chat_template([{"role": "user", "content": "Hi"}]) == "<user>Hi"
    assert outer.batches is inner.batches and not hasattr(outer, "max_length")
    made = InteractiveLM.create_from_arg_obj({"model": "dummy"}, {"batch_size": None, "device": None})
    assert type(made.inner).__name__ == "DummyLM"
    for name, said in (("interactive", "is interactive again"), ("no-such", "model=no-such is unknown")):
        with pytest.raises(UsageError, match=said):
            InteractiveLM(name)


def test_the_largest_batch_is_looked_for_once():
    seen: list[Any] = []

    class Auto(Scripted):
        batch_size_per_gpu: Any = "auto"

        @property
        def batch_size(self) -> Any:
            return self.batch_size_per_gpu

        def _detect_batch_size(self) -> int:
            seen.append("looked")
            return 4

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            seen.append(self.batch_size)
            return super().generate_until(requests)

    inner = Auto(silent)
    document = ROW | {"worlds": offer(tuple(SOURCES.items()))}
    asked = Instance(
        "generate_until", ROW, (Request(register(episode), document).text(), {"until": []}), 0, ("t", 0, 1)
    )
    (answer,) = InteractiveLM(inner).generate_until([asked])
    assert read_transcript(answer) is not None
    assert seen == ["looked", 4, 4, 4] and inner.batch_size == "auto"


def test_half_a_surrogate_pair_goes_into_files_and_prompts():
    inner = Scripted(lambda doc: [call_list(["fail(x='\\ud800')"]), *[""] * 3])
    document = dict(ROW) | {
        "turns": ROW["turns"].replace("Open one.", "Open \\ud800."),
        "worlds": offer(tuple(SOURCES.items())),
    }
    asked = Instance(
        "generate_until", ROW, (Request(register(episode), document).text(), {"until": []}), 0, ("t", 0, 1)
    )
    asked.args[0].encode("utf-8")
    (answer,) = InteractiveLM(inner).generate_until([asked])
    assert "Open \ufffd." in inner.prompts[0] and answer.isprintable()
    assert read_transcript(transcript_text({"a": "\ud800é"})) == {"hubwright": "transcript", "a": "\ud800é"}
    transcript_text({"a": "\ud800é"}).encode("utf-8")


def test_request_player_that_no_task_registered_is_refused():
    request = Request("os:system", {"id": "x"})
    assert read_request(request.text()) == request and read_request("Hello") is None
    with pytest.raises(DataError, match="no task of this process plays 'os:system'"):
        begin(request)
    with pytest.raises(DataError, match="cannot be read"):
        read_request(request.text()[:-3])
    with pytest.raises(DataError, match="its worlds 0 are not loaded"):
        begin(Request(register(episode), ROW | {"worlds": "0"}))
    with pytest.raises(
        DataError, match=r"ToolQueryEpisode: document 'x' cannot be played \(KeyError\('board'\)\); build"
    ):
        begin(Request(register(ToolQueryEpisode), {"id": "x"}))
    with pytest.raises(
        DataError, match=r"live:episode: document 'x' has no JSON form \(Object of type bytes .* build the data"
    ):
        Request(register(episode), {"id": "x", "turns": b""}).text()
    assert offer(tuple(SOURCES.items())) == offer(tuple(SOURCES.items()))


@pytest.mark.slow
def test_lm_evals_own_command_plays_tasks_given_by_path(tmp_path: Path):
    data = {"dataset": str(small(tmp_path / "d"))}
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "interactive", "--model_args", "model=dummy"]
    command += ["--tasks", str(tasks_dir() / "button" / "button_bfcl_agent_*.yaml"), "--metadata", json.dumps(data)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("|turns_passed|") == len(CATEGORIES)


def test_our_command_and_the_recipe_step(tmp_path: Path, tiny_model: Path):
    """A real model, twice the same: its nonsense calls nothing."""
    from hubwright.evals.harness.command import run_lm_eval
    from hubwright.evals.harness.step import HarnessConfig
    from hubwright.evals.harness.step import evaluate as step
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    data = small(tmp_path / "d")
    task = "button_bfcl_agent_base"
    named = ["--model", "interactive", "--model_args", f"model=hf,pretrained={tiny_model},dtype=bfloat16"]
    named += ["--device", "cpu", "--gen_kwargs", "max_gen_toks=8", "--apply_chat_template"]
    named += ["--output_path", str(tmp_path / "out")]
    run_lm_eval(task, [*named, "--metadata", json.dumps({"dataset": str(data)})])
    (results,) = (tmp_path / "out").glob("*/results_*.json")
    assert json.loads(results.read_text())["results"][task]["steps,none"] == 3.0
    written = []
    for run in ("one", "two"):
        model = Input(ArtifactRef("model", "org/tiny", "a" * 40), tiny_model)
        rows = Input(ArtifactRef("dataset", "org/bfcl", "b" * 40), data)
        context = StepContext(
            "e", tmp_path / run / "w", tmp_path / run / "o", inputs={"model": model, "dataset": rows}
        )
        step(HarnessConfig(tasks=[task], gen_kwargs={"max_gen_toks": 8}, bootstrap_iters=0), context)
        written.append({path.name: path.read_bytes() for path in context.output.rglob("*") if path.is_file()})
    assert written[0] == written[1] and b'"turns_passed"' in written[0]["results.json"]


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
@pytest.mark.slow
def test_gold_passes_all_rows_and_silence_none(real: Path, right: bool):
    model = InteractiveLM(Scripted(replayed if right else silent))
    found = evaluate("button_bfcl_agent", model, {"dataset": str(real)})
    for category in CATEGORIES:
        name = f"button_bfcl_agent_{category}"
        assert found["n-samples"][name]["effective"] == 200
        values = found["results"][name]
        assert values["acc,none"] == float(right) and values["stopped,none"] == 0.0
        assert values["turns_passed,none"] == 1.0 if right else values["turns_passed,none"] < 0.2
        assert values["needless,none"] == 0.0
