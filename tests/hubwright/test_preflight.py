"""What a dry run and the start of every run find before any step works; nothing here trains."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import yaml
from huggingface_hub import HfApi
from tiny_model import save_tiny_model

from hubwright.evals.harness import known_tasks
from hubwright.hub_sync.errors import UsageError
from hubwright.preflight import missing_packages
from hubwright.sources import missing_sources

ORG = "preflight"
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.fixture(scope="module", autouse=True)
def artifacts(tmp_path_factory) -> None:
    """Models and data sets on the hub: with and without a chat template, a licence, the columns of a trainer."""
    api, card = HfApi(), "---\nlicense: mit\n---\n"
    model = save_tiny_model(tmp_path_factory.mktemp("model"))
    (model / "README.md").write_text(card)
    for name in ("base", "bare"):
        if name == "bare":
            (model / "chat_template.jinja").unlink()
        api.create_repo(f"{ORG}/{name}")
        api.upload_folder(repo_id=f"{ORG}/{name}", folder_path=model)
    rows = {
        "chats": {"messages": [CHAT]},
        "pairs": {"prompt": [CHAT[:1]], "chosen": [CHAT[1:]], "rejected": [CHAT[1:]]},
        "texts": {"text": ["some text"]},
        "unlicensed": {"messages": [CHAT]},
    }
    for name, columns in rows.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "data").mkdir()
        datasets.Dataset.from_dict(columns).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        if name != "unlicensed":
            (folder / "README.md").write_text(card)
        api.create_repo(f"{ORG}/{name}", repo_type="dataset")
        api.upload_folder(repo_id=f"{ORG}/{name}", repo_type="dataset", folder_path=folder)


class Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data) -> bool:
        return True


def step(uses: str, inputs: dict[str, str], settings: dict | None = None, **publish) -> dict:
    kind = "dataset" if uses in ("lm_eval", "rows", "toolcalls", "feedback_drills") else "model"
    inputs = {role: text if "." in text else f"{ORG}/{text}" for role, text in inputs.items()}
    return {"uses": uses, "inputs": inputs, "with": settings or {}, "publish": {kind: f"out-{uses}"} | publish}


def write(folder: Path, **steps: dict) -> None:
    (folder / "sloppy.yaml").write_text(yaml.dump({"name": "sloppy", "namespace": ORG, "steps": steps}, Dumper=Plain))


SFT = {"model": "base", "dataset": "chats"}
MARKED = {"chat_template": "chatml_tools"}
PLAIN = {"assistant_only_loss": False}


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (
            step("sft", SFT),
            "does not mark assistant turns with {% generation %}, so assistant_only_loss cannot tell them apart: set "
            "chat_template: chatml_tools",
        ),
        (step("sft", {"model": "bare", "dataset": "chats"}, PLAIN), "has no chat template: set chat_template"),
        (step("dpo", {"model": "bare", "dataset": "pairs"}), "has no chat template: set chat_template"),
        (step("sft", {"model": "base", "dataset": "texts"}, MARKED), "has neither `messages` nor `prompt`"),
        (step("dpo", {"model": "base", "dataset": "chats"}), "lacks `chosen`: DPO reads prompt, chosen and rejected"),
        (step("pretrain", {"model": "base", "dataset": "chats"}), "has no column `text`"),
        (step("sft", SFT, MARKED | {"train_split": "trian"}), "no split 'trian': its splits are train"),
        (step("sft", {"model": "chats", "dataset": "chats"}), "preflight/chats is a dataset: name a model here"),
        (step("sft", {"model": "base", "dataset": "unlicensed"}, MARKED), "preflight/unlicensed states no licence"),
        (step("sft", SFT, MARKED | {"device": "cuda"}), "device cuda: torch finds no such device"),
        (
            step("sft", SFT, MARKED | {"attn_implementation": "flash_attention_2", "use_cpu": True}),
            "flash_attention_2 runs on CUDA alone",
        ),
        (
            step("sft", SFT, MARKED | {"trainer_args": {"fp16": True}, "bf16": False, "use_cpu": True}),
            "trainer_args.fp16: it runs on accelerators alone",
        ),
        (step("lm_eval", {"model": "base"}, {"tasks": ["fbbench_sampel"]}), "did you mean 'fbbench_sample'?"),
        (
            step("lm_eval", {"model": "bare"}, {"tasks": ["arc_easy"]}),
            "has no chat template: set apply_chat_template: false",
        ),
        (step("toolcalls", {}, {"sources": [{"source": "rows.jsonl"}], "license": "mit"}), "is not a file here"),
        (
            step("toolcalls", {}, {"sources": [{"source": "nobody/rows@v1.0.0"}], "license": "mit"}),
            "dataset nobody/rows@v1.0.0: not found",
        ),
    ],
)
def test_sloppy_recipe_is_refused_before_any_step_works(hubwright_in_process, tmp_path, recipe, line):
    write(tmp_path, only=recipe)
    for options in (["--dry-run"], []) if recipe["uses"] == "dpo" else (["--dry-run"],):
        run = hubwright_in_process("run", "sloppy.yaml", *options)
        assert run.returncode in (2, 3, 4) and line in run.stderr, run.stderr
        assert "step only: " in run.stderr or not options
    assert not list((tmp_path / "runs" / "sloppy").glob("only-*"))


@pytest.mark.parametrize(
    ("licence", "line"), [("appache-2.0", "did you mean 'apache-2.0'?"), ("nobody's", "write 'other' for a licence")]
)
def test_licence_that_the_hub_does_not_know_is_refused_with_its_line(hubwright_in_process, tmp_path, licence, line):
    write(tmp_path, only=step("sft", SFT, license=licence))
    run = hubwright_in_process("run", "sloppy.yaml", "--dry-run")
    assert run.returncode == 2 and "publish.license" in run.stderr and line in run.stderr


def test_faults_of_several_steps_are_told_one_per_line(hubwright_in_process, tmp_path):
    write(
        tmp_path,
        rows=step("toolcalls", {}, {"sources": [{"source": "absent.jsonl"}], "license": "mit"}),
        tuned=step("sft", {"model": "nobody", "dataset": "steps.rows"}),
        aligned=step("dpo", {"model": "steps.tuned", "dataset": "texts"}),
    )
    run = hubwright_in_process("run", "sloppy.yaml", "--dry-run")
    lines = [line for line in run.stderr.splitlines() if line.startswith("hubwright: step")]
    assert run.returncode == 2 and len(lines) == 3, run.stderr
    assert "'absent.jsonl' is not a file here" in lines[0]
    assert "step tuned: inputs.model: model preflight/nobody@main: not found" in lines[1]
    assert "step aligned: preflight/texts@" in lines[2] and "lacks `chosen`" in lines[2]


def test_template_of_a_step_is_that_of_its_base(hubwright_in_process, tmp_path):
    rows = {"uses": "rows", "with": {"source": "rows.csv", "format": "messages", "license": "mit"}}
    (tmp_path / "rows.csv").write_text("prompt,completion\na,b\n")
    settings = {"max_steps": 1}
    write(
        tmp_path,
        rows=rows | {"publish": {"dataset": "rows"}},
        first=step("sft", {"model": "base", "dataset": "steps.rows"}, settings | MARKED),
        again=step("sft", {"model": "steps.first", "dataset": "steps.rows"}, settings, model="again"),
        plain=step("sft", {"model": "base", "dataset": "steps.rows"}, settings | PLAIN, model="plain"),
        fails=step("sft", {"model": "steps.plain", "dataset": "steps.rows"}, settings, model="fails"),
    )
    run = hubwright_in_process("run", "sloppy.yaml", "--dry-run")
    lines = [line for line in run.stderr.splitlines() if line.startswith("hubwright:")]
    assert len(lines) == 1 and "step fails: the chat template of steps.plain does not mark" in lines[0], run.stderr


def test_dry_run_tells_place_inputs_and_time(hubwright_in_process, api, tmp_path):
    drills = {"train_rows": 32, "test_rows": 16, "languages": ["en"]}
    tuned = step("sft", {"model": "base", "dataset": "steps.drills"}, {"max_steps": 20, "save_steps": 5})
    write(tmp_path, drills=step("feedback_drills", {}, drills, tag="v1"), tuned=tuned)
    first = hubwright_in_process("run", "sloppy.yaml", "--dry-run", "--format", "json")
    assert first.returncode == 0, first.stderr
    steps = {one["step"]: one for one in json.loads(first.stdout)["steps"]}
    commit = api.repo_info(f"{ORG}/base").sha
    assert steps["tuned"]["inputs"] == {"model": f"{ORG}/base@{commit}", "dataset": "steps.drills"}
    assert steps["drills"]["estimate"] is None and steps["drills"]["private"] is False
    assert steps["drills"]["errors"] == steps["drills"]["warnings"] == []

    record = {
        "step": {"name": "tuned", "uses": "sft"}, "config": {"max_steps": 10}, "hardware": {"accelerator": None, "cores": 2},
        "started_at": "2026-11-30T10:00:00Z", "finished_at": "2026-11-30T10:02:00Z",
    }  # fmt: skip
    (tmp_path / "runs" / "sloppy" / "tuned-0123").mkdir(parents=True)
    (tmp_path / "runs" / "sloppy" / "tuned-0123" / "done.json").write_text(json.dumps({"record": record}))
    ran = hubwright_in_process("run", "sloppy.yaml", "--only", "drills")
    assert ran.returncode == 0, ran.stderr
    write(tmp_path, drills=step("feedback_drills", {}, drills | {"seed": 3}, tag="v2", private=True), tuned=tuned)
    text = hubwright_in_process("run", "sloppy.yaml", "--dry-run").stdout
    assert "drills: " in text and "with other settings or inputs" in text
    assert "tuned: 120 s on 2026-11-30 (2 cores) times 160/80, its work" in text and "4 min" in text
    assert "private" in text and "public" in text and f"{ORG}/base@{commit}" in text


def test_dry_run_imports_nothing_that_trains(hub, hubwright, tmp_path):
    """torch, TRL and lm-eval take seconds to import, and a preview of these steps needs none of them."""
    tuned = step("sft", {"model": "base", "dataset": "chats"}, MARKED)
    aligned = step("dpo", {"model": "base", "dataset": "pairs"})
    scores = step("lm_eval", {"model": "steps.tuned"}, {"tasks": ["fbbench_sample"]})
    write(tmp_path, tuned=tuned, aligned=aligned, scores=scores)
    run = hubwright("run", "sloppy.yaml", "--dry-run", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert run.returncode == 0, run.stderr[-2000:]
    names = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "hubwright.preflight" in names and not names & {"torch", "trl", "lm_eval", "sklearn", "matplotlib"}


def test_dry_run_from_python_raises_what_is_wrong():
    import hubwright as hw

    recipe = {"name": "sloppy", "namespace": ORG, "steps": {"only": step("sft", SFT)}}
    with pytest.raises(UsageError, match="step only: the chat template of preflight/base@"):
        hw.run(recipe, dry_run=True, progress=False)


def test_absent_packages_of_an_extra_are_named(monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda _: ["nosuch>=1; extra == 'train'", "other; extra == 'x'"]
    )
    assert missing_packages("train") == ["nosuch"]


def test_corpus_source_without_a_licence_is_refused_before_it_is_read(hubwright_in_process, tmp_path):
    (tmp_path / "texts.txt").write_text("text\n")
    source = {"source": "texts.txt", "format": "text", "name": "texts", "license": "other"}
    write(tmp_path, only={"uses": "corpus", "with": {"sources": [source]}, "publish": {"dataset": "corpus"}})
    run = hubwright_in_process("run", "sloppy.yaml", "--dry-run")
    assert run.returncode == 3 and "step only: source states no licence" in run.stderr


def test_sources_are_told_apart_from_files_that_are_not_there(tmp_path):
    values = ["a/b.csv", "org/name@v1.0.0", "org/qwen2.5-rows", "https://x/y.csv", "builtin", str(tmp_path)]
    config = SimpleNamespace(model_dump=lambda mode: {"parts": [{"source": value} for value in values]})
    assert [value for _, value in missing_sources(config)] == ["a/b.csv"]


def test_task_names_are_read_from_the_text_of_files(tmp_path):
    (tmp_path / "a.yaml").write_text("tag:\n  - several\n  - tags\ntask: mine # a task\ndataset_path: org/data\n")
    (tmp_path / "b.yaml").write_text('"group": "both"\ntask:\n  - mine\n  - theirs\n')
    (tmp_path / "_c_yaml").write_text("tag: [one, 'two']\n")
    assert known_tasks.task_files(tmp_path).keys() == {"several", "tags", "mine", "both", "one", "two"}


def test_data_of_tasks_that_the_hub_does_not_have_are_a_warning(monkeypatch, tmp_path):
    (tmp_path / "a.yaml").write_text("task: mine\ndataset_path: nobody/data\n")
    (tmp_path / "b.yaml").write_text("group: both\ntask:\n  - mine\n  - {task: theirs}\n")
    (tmp_path / "c.yaml").write_text(f"task: theirs\ndataset_path: {ORG}/texts\n")
    monkeypatch.setattr(known_tasks, "folders", lambda own: [tmp_path])
    sources = known_tasks.data_sets(["both"])
    assert sources == {"nobody/data", f"{ORG}/texts"}
    (warning,) = known_tasks.out_of_reach(sources)
    assert "the tasks load nobody/data, which" in warning


def test_name_is_known_if_it_is_a_task_group_tag_or_pattern(monkeypatch, tmp_path):
    monkeypatch.setattr(known_tasks, "folders", lambda own: [known_tasks.tasks_dir()])
    known_tasks.check_known(["fbbench_sample", "fbbench*"])
    with pytest.raises(UsageError, match="task fbbench_sampel, x1x is unknown; did you mean 'fbbench_sample'"):
        known_tasks.check_known(["fbbench_sampel", "fbbench", "x1x"])
