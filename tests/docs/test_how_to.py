"""The packages that the pages `add-a-*` print: installed, used, and what the pages say of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_commands import File, parse_page
from tiny_model import save_tiny_model

from hubwright import catalog

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def files_of(page: str) -> dict[str, str]:
    return {block.name: block.text for block in parse_page(PAGES / f"{page}.md") if isinstance(block, File)}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes a page's files and makes its package installed, with the entry points that its pyproject.toml names."""
    before = set(sys.modules)

    def put(page: str) -> None:
        for name, text in files_of(page).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        if (tmp_path / "pyproject.toml").is_file():
            project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
            folder = tmp_path / f"{project['name']}-{project['version']}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
            )
            lines = []
            for group, entries in project["entry-points"].items():
                lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
            (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)

    catalog.catalog.cache_clear()
    yield put
    catalog.catalog.cache_clear()
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("squares", "frozen", "squares_scorer"):
            del sys.modules[name]


def test_add_a_builder_example_is_published(
    install: Callable[[str], None], hubwright_in_process: Any, namespace: str, tmp_path: Path
) -> None:
    from datasets import Dataset
    from huggingface_hub import hf_hub_download

    install("add-a-builder")
    done = hubwright_in_process("run", "squares.yaml", "--set", f"namespace={namespace}")
    assert done.returncode == 0, done.stderr
    name = "data/train-00000-of-00001.parquet"
    path = hf_hub_download(f"{namespace}/squares", name, revision="v1.0.0", repo_type="dataset")
    rows = Dataset.from_parquet(path)
    assert len(rows) == 100 and rows[99] == {"x": 99, "y": 9801}
    # The same step named by its module: published once, and anew when its code changes.
    own = ["run", "squares.yaml", "--set", f"namespace={namespace}", "--set", "steps.squares.uses=squares.steps:squares",
           "--set", "steps.squares.publish={dataset: own}", "--format", "json"]  # fmt: skip
    states = [json.loads(hubwright_in_process(*own).stdout)["steps"][0]["state"] for _ in range(2)]
    with (tmp_path / "squares" / "build.py").open("a") as code:
        code.write("# changed\n")
    states.append(json.loads(hubwright_in_process(*own).stdout)["steps"][0]["state"])
    assert states == ["published", "skipped", "published"]
    refused = hubwright_in_process(
        "run", "squares.yaml", "--set", f"namespace={namespace}", "--set", "steps.squares.with.n=1000000"
    )
    assert refused.returncode == 2 and "use fewer than a million" in refused.stderr


def test_add_a_trainer_example_leaves_embeddings(install: Callable[[str], None], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from hubwright.catalog import config_class, run_function, spec_of
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    install("add-a-trainer")
    save_tiny_model(tmp_path / "model")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.jsonl").write_text('{"text": "How many? Seven."}\n' * 4)
    inputs = {
        "model": Input(ArtifactRef("model", "org/model", "1" * 40), tmp_path / "model"),
        "dataset": Input(ArtifactRef("dataset", "org/texts", "2" * 40), tmp_path / "texts"),
    }
    context = StepContext("frozen", tmp_path / "work", tmp_path / "out", inputs)
    context.workdir.mkdir()
    context.output.mkdir()
    spec = spec_of("frozen")
    config = config_class(spec)(max_steps=2, max_length=64, use_cpu=True, per_device_train_batch_size=2)
    run_function(spec)(config, context)
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", context.output))
    same = {name: bool((before[name] == after[name]).all()) for name in before}
    assert same["model.embed_tokens.weight"] and not all(same.values())
    assert context.report.metrics["frozen_parameters"] == before["model.embed_tokens.weight"].numel()


def test_add_an_eval_example_scores_a_model(
    install: Callable[[str], None], hubwright_in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset, config

    monkeypatch.setattr(config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # datasets counts uses of its parquet reader
    install("add-an-eval")
    tiny_model = save_tiny_model(tmp_path / "model")
    Dataset.from_dict({"x": [2, 3], "y": [4, 9]}).to_parquet(str(tmp_path / "squares.parquet"))
    arguments = ["--model", "hf", "--model_args", f"pretrained={tiny_model}", "--device", "cpu"]
    done = hubwright_in_process("eval", "squares_sum", "--include_path", str(tmp_path), *arguments)
    assert done.returncode == 0, done.stderr
    assert "squares_sum" in done.stdout and "empty" in done.stdout
    from squares_scorer import score

    assert [score(9801, str(reply)) for reply in ("It is 9801", "")] == [
        {"acc": 1.0, "empty": 0.0},
        {"acc": 0.0, "empty": 1.0},
    ]


@pytest.mark.parametrize("page", ["add-a-builder", "add-a-trainer", "add-an-eval"])
def test_a_page_counts_the_files_it_touches(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    stated = re.search(r"Files touched in a (?:package|folder) of your own: (\d+) new, 0 edited", text)
    assert stated and int(stated[1]) == len(files_of(page))


@pytest.mark.parametrize(
    ("page", "package", "example"),
    [
        ("add-a-builder", "builders", "nestful"),
        ("add-a-trainer", "trainers", "maet"),
        ("add-an-eval", "evals", "nestful"),
    ],
)
def test_in_this_repository_a_method_is_named_by_the_edited_files_alone(page: str, package: str, example: str) -> None:
    """The page's claim, shown on a method that is here: no other file of any package names it."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    stated = re.search(r"and (\d+) files are edited,[^:]*:\s(.*?)\.\s", text, re.DOTALL)
    assert stated
    edited = re.findall(r"`([\w./]+)`", stated[2])
    assert len(edited) == int(stated[1])
    folders = ["hubwright", "builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync"]
    named = subprocess.run(
        ["git", "grep", "-lw", example, "--", *folders, "setup.py", "pyproject.toml"],
        cwd=PAGES.parents[1], capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    others = {path for path in named if f"/{example}/" not in path}
    assert (PAGES.parents[1] / package / example / "README.md").is_file()
    assert others <= {*edited, "builders/steps.py"}
