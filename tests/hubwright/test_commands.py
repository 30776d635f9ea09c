"""The command line itself: help, formats, signals, steps explained, tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run_in_process

Run = Callable[..., Any]
RECIPE = """\
name: small
steps:
  drills:
    uses: feedback_drills
    with: {train_rows: 400000, test_rows: 400, languages: [en]}
    publish: {dataset: drills}
"""


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_run_that_is_stopped_says_how_to_go_on(
    hub: Any, tmp_path: Path, namespace: str, sent: int, code: int, word: str
) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "hubwright", "run", "small.yaml", "--set", f"namespace={namespace}"]
    # A shell's background jobs ignore SIGINT, and their children with them.
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ.copy(),
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None)  # fmt: skip
    while not list((tmp_path / "runs").glob("small/drills-*/step.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(sent)
    last_line = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == code
    assert last_line == f"hubwright: {word}; to go on: hubwright run small.yaml --set namespace={namespace}"


@pytest.mark.parametrize("command", [(), ("run",), ("hub", "seed"), ("engine",), ("tasks",)])
def test_help_is_asked_for_with_h_and_holds_whole_sentences(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run_in_process([*command, "-h"], tmp_path)
    assert done.returncode == 0 and "Usage: " in done.stdout and "..." not in done.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("command", [("status", "demo"), ("tasks", "list"), ("engine", "list")])
def test_format_that_is_unknown_is_refused_with_the_known_ones(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run_in_process([*command, "--format", "xml"], tmp_path)
    assert done.returncode == 2 and "'text', 'json'" in done.stderr


def test_recipes_one_step_is_explained_with_lines_that_use_it(tmp_path: Path) -> None:
    text = run_in_process(["recipes", "--kinds", "sft"], tmp_path).stdout
    assert "A trainer; publishes a model." in text and "Peak learning rate" in text
    assert "inputs: {model: org/name@revision, dataset: org/name@revision}" in text
    unknown = run_in_process(["recipes", "--kinds", "sfft"], tmp_path)
    assert unknown.returncode == 2 and "did you mean 'sft'?" in unknown.stderr
    assert run_in_process(["recipes", "demo"], tmp_path).stdout.startswith("# yaml-language-server")


def test_schema_of_one_step_is_that_of_its_settings(tmp_path: Path) -> None:
    schema = json.loads(run_in_process(["schema", "sft"], tmp_path).stdout)
    assert schema["properties"]["learning_rate"]["type"] == "number" and "uses" not in schema["properties"]


def test_table_in_a_narrow_terminal_folds_prose_and_leaves_names_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from hubwright.cli.tables import print_table

    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    monkeypatch.setenv("COLUMNS", "30")
    name = "organisation/a-repository-of-a-long-name-with-many-parts"
    print_table(("repository", "what it is"), [(name, "words that are folded since they are prose"), (None, 3)])
    lines = capsys.readouterr().out.splitlines()
    assert any(name in line for line in lines) and len(lines) > 3
