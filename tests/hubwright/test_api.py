"""hubwright from Python: recipes, single steps and checks, without the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trainer_parts import make_model

import hubwright as hw
from hubwright.hub_sync.errors import DataError, UsageError

DRILLS = {"train_rows": 20, "test_rows": 4, "languages": ["en"]}
RECIPE: dict[str, Any] = {
    "name": "small",
    "steps": {
        "drills": {"uses": "feedback_drills", "with": DRILLS, "publish": {"dataset": "drills", "tag": "v1.0.0"}}
    },
}


def test_run_of_a_mapping_publishes_and_finds_what_is_published(
    namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hubwright.hub_sync.parquet import load_split
    from hubwright.hub_sync.pull import pull

    monkeypatch.chdir(tmp_path)
    changes = {"steps.drills.with.train_rows": 12}
    first = hw.run(RECIPE, namespace=namespace, settings=changes, progress=False)["drills"]
    assert (first.state, first.tag) == ("published", "v1.0.0") and first.ref is not None
    assert "drills:" not in capsys.readouterr().err and RECIPE["steps"]["drills"]["with"] == DRILLS
    assert (tmp_path / "small.lock").is_file()
    assert len(load_split(pull(first.ref), None, "train")) == 12
    again = hw.run(RECIPE, namespace=namespace, settings=changes, progress=False)["drills"]
    assert (again.state, again.ref) == ("skipped", first.ref)
    assert hw.verify(f"datasets/{namespace}/drills@v1.0.0") == first.ref


def test_verify_of_what_was_changed_names_the_check(api: Any, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    hw.run(RECIPE, namespace=namespace, progress=False)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="README.md", repo_id=f"{namespace}/drills", repo_type="dataset")
    with pytest.raises(DataError, match=f"{namespace}/drills@[0-9a-f]{{40}}: "):
        hw.verify(f"datasets/{namespace}/drills@main")


def test_make_a_builder_then_a_trainer_publishes_nothing(tmp_path: Path, api: Any) -> None:
    def repositories() -> tuple[int, int]:
        return len(list(api.list_models())), len(list(api.list_datasets()))

    before = repositories()
    made = hw.make("feedback_drills", DRILLS)
    assert {name: len(part) for name, part in made.data.items()} == {"train": 20, "test": 4}
    assert made.report.counts["train_rows"] == 20
    for split, part in made.data.items():
        part.to_parquet(tmp_path / "data" / f"{split}.parquet")
    settings = {"max_steps": 1, "use_cpu": True, "bf16": False, "max_length": 256, "threads": 1}
    inputs = {"model": make_model(tmp_path / "base"), "dataset": tmp_path / "data"}
    tuned = hw.make("sft", settings, folder=tmp_path / "sft", **inputs)
    assert (tmp_path / "sft" / "output" / "model.safetensors").is_file() and tuned.data is None
    assert tuned.folder == tmp_path / "sft" / "output" and tuned.report.metrics
    with pytest.raises(UsageError, match=r"holds the work of another call: with.seed was 42, now 7; take another"):
        hw.make("sft", settings | {"seed": 7}, folder=tmp_path / "sft", **inputs)
    assert repositories() == before


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"base_model_name_or_path": "no name"}'])
def test_make_of_an_adapter_without_a_base_is_one_line(tmp_path: Path, config: str) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(DataError, match=r"input model: .* is an adapter, and base_model_name_or_path") as caught:
        hw.make("sft", {}, model=tmp_path, dataset=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uses", "settings", "inputs", "message"),
    [
        ("feedback_drill", {}, {}, "did you mean 'feedback_drills'?"),
        ("feedback_drills", {"train_rows": "many"}, {}, "feedback_drills: train_rows: "),
        ("feedback_drills", {"rows": 3}, {}, "feedback_drills: rows: "),
        ("feedback_drills", {}, {"dataset": "."}, "has no input 'dataset'; it takes none"),
        ("sft", {}, {"modle": "."}, "did you mean 'model'?"),
        ("sft", {}, {"model": "."}, "sft needs the input 'dataset'"),
        ("sft", {}, {"model": "nowhere", "dataset": "."}, "input model: nowhere is no folder here, and "),
    ],
)
def test_make_what_does_not_fit_is_one_line(
    uses: str, settings: dict[str, Any], inputs: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        hw.make(uses, settings, **inputs)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_load_recipe_names_the_recipe_and_the_key_in_an_error() -> None:
    broken = {"name": "small", "steps": {"drills": {"uses": "feedback_drills", "publish": {"datset": "x"}}}}
    with pytest.raises(UsageError, match=r"^small: steps.drills.publish.*did you mean 'dataset'\?"):
        hw.load_recipe(broken, namespace="me")
    assert hw.load_recipe("demo", settings={"namespace": "me"}).name == "demo"
    with pytest.raises(UsageError, match="a plan is settled already"):
        hw.run(hw.load_recipe("demo"), namespace="me")
    with pytest.raises(UsageError, match=r"run has no option 'onyl'; did you mean 'only'\?"):
        hw.run(RECIPE, namespace="me", onyl="drills")


def test_steps_are_listed_by_kind() -> None:
    assert hw.steps("trainer")["sft"].publishes == "model" and "sft" not in hw.steps("builder")
    assert set(hw.steps()) > set(hw.steps("eval")) > {"lm_eval"}


def test_import_of_hubwright_loads_nothing_heavy() -> None:
    code = (
        "import sys, hubwright; print(sorted({'torch', 'datasets', 'pydantic', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
