"""The wheel holds every module and data file, and places the task files where `lm_eval` looks."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hubwright.recipe import recipe_schema

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hubwright", "builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync")
DATA = {".yaml", ".json", ".jsonl", ".parquet", ".jinja", ".css", ".md", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Built from the files git knows, as a clean clone would."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return zipfile.ZipFile(next(out.glob("*.whl")))


def committed(folder: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, check=True).stdout
    return [Path(n) for n in listed.decode().split("\0") if n]


def test_every_module_and_data_file_is_in_it(wheel):
    held = set(wheel.namelist())
    expected = set()
    for package in PACKAGES:
        for path in committed(package):
            if path.suffix == ".py" or path.suffix in DATA:
                expected.add(str(path) if package == "hubwright" else f"hubwright/{path}")
    expected |= {f"hubwright/{p}" for p in committed("recipes")}
    tasks = [path.relative_to("evals/tasks") for path in committed("evals/tasks") if path.suffix in (".yaml", ".md")]
    expected |= {f"lm_eval/tasks/hubwright/{path}" for path in tasks}
    assert len(expected) > 60
    assert expected - held == set()


def test_schema_of_recipes_is_generated(wheel):
    assert json.loads(wheel.read("hubwright/recipes/recipe.schema.json")) == json.loads(json.dumps(recipe_schema()))


def test_nothing_else_lands_on_the_import_path(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {t for t in top if not t.endswith(".dist-info")} == {"hubwright", "lm_eval"}
    foreign = [n for n in wheel.namelist() if n.startswith("lm_eval/") and not n.endswith((".yaml", ".md"))]
    assert foreign == [], "the wheel may place data in lm_eval's folder, never code"


def test_metadata(wheel):
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    text = wheel.read(name).decode()
    base = [line for line in text.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not any("torch" in line for line in base), base
    extras = {line.split(": ")[1] for line in text.splitlines() if line.startswith("Provides-Extra")}
    assert extras >= {"train", "eval", "hub", "llm", "ray", "embeddings", "all"}
    points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "hubwright = hubwright.cli:main" in points and "[lm_eval.tasks]" in points


@pytest.mark.slow
def test_plain_lm_eval_finds_the_tasks_after_install(wheel, tmp_path):
    """`pip install hubwright`, then `lm_eval` with no flag: in a target folder laid over this environment's lm_eval."""
    import shutil

    import lm_eval

    site = tmp_path / "site"
    shutil.copytree(Path(lm_eval.__file__).parent, site / "lm_eval", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(tmp_path / "w"),
        wheel.filename,
    ]
    subprocess.run(command, check=True)
    shutil.copytree(tmp_path / "w", site, dirs_exist_ok=True)
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    code = (
        "from lm_eval.tasks import TaskManager as T; t = T(); print(sorted(n for n in t.all_tasks if 'fbbench' in n))"
    )
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "'fbbench'" in run.stdout and "'fbbench_sample'" in run.stdout
