"""What SECURITY.md promises of the code itself: no pickle, no remote code, no eval, no registry or token in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hubwright", "builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync")
# These run code that nobody has read, in a process that may do nothing else.
JAILED = (ROOT / "environments" / "jail.py", ROOT / "evals" / "bfcl" / "world_driver.py")
TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / n for n in listed.decode().split("\0") if n and (ROOT / n).is_file()]


def test_every_package_is_looked_at():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} == {*PACKAGES, "benchmarks"}
    assert all(path.is_file() for path in JAILED)


# Files that every method, data set and benchmark uses: none of them names a particular one.
GENERIC = (
    "hubwright/", "builders/_lib/", "trainers/_lib/", "trainers/sft/", "trainers/dpo/", "trainers/pretrain/",
    "trainers/merge/", "evals/_lib/", "evals/agreement/", "evals/answers/", "evals/harness/", "evals/judge/",
    "evals/metric/", "model_cards/", "inference/", "environments/", "hub_sync/",
)  # fmt: skip
PARTICULAR = re.compile(
    r"kv[-_ ]?shift|\bmaet|fb[-_ ]?bench|\bbutton\b(?!>| )|bfcl|seal[-_ ]?tools|nestful|tool[-_ ]?query|versatune|"
    r"aitqe|eeca|step[-_ ]?agent|opt[-_ ]?visor|baichuan",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    "path", [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in PACKAGES], ids=str
)
def test_code(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} & {
                n.split(".")[0] for n in names
            }
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, node.value
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in {"eval", "exec", "torch.load", "os.system", "yaml.unsafe_load"} or path in JAILED, name
            assert not any(k.arg == "shell" and ast.unparse(k.value) == "True" for k in node.keywords), name


def test_names_of_test_files_are_unique():
    """pytest imports them by their base name."""
    names = [path.name for path in tracked() if path.name.startswith("test_") and path.suffix == ".py"]
    assert len(names) > 100 and sorted(names) == sorted(set(names))


def code_of(text: str) -> str:
    """Python source without comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def test_generic_code_names_no_paper_and_no_benchmark():
    assert PARTICULAR.search("import fbbench") and PARTICULAR.search('"FB-Bench"') and PARTICULAR.search("MAET")
    assert not PARTICULAR.search("a radio button_press")
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix not in (".py", ".jinja") or not name.startswith(GENERIC) or name == "hubwright/cli/demo.py":
            continue
        text = path.read_text(encoding="utf-8")
        if name.startswith("hubwright/cli/"):
            text = code_of(text)  # the commands' help has examples
        found += [f"{name}: {match[0]}" for match in PARTICULAR.finditer(text)]
    assert found == []


def declared() -> set[str]:
    """Names of all dependencies in pyproject.toml, extras and groups included, as modules are called."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    lists += project["dependency-groups"].values()
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("-", "_") for lines in lists for line in lines}
    return names | {"sklearn"} if "scikit_learn" in names else names


def skipped_modules(text: str) -> set[str]:
    """Modules whose absence skips a test in this source: importorskip, and find_spec in a skipif."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    asked = {"pytest.importorskip", "importlib.util.find_spec", "find_spec"}
    return {
        call.args[0].value.split(".")[0]
        for call in calls
        if ast.unparse(call.func) in asked and call.args and isinstance(call.args[0], ast.Constant)
    }


def test_no_test_is_skipped_for_want_of_a_declared_dependency():
    assert {"torch", "lm_eval", "ray", "xllamacpp", "hypothesis"} <= declared()
    assert skipped_modules("x = pytest.importorskip('torch.nn')\ny = find_spec('ray')") == {"torch", "ray"}
    for path in tracked():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "tests":
            wrong = skipped_modules(path.read_text(encoding="utf-8")) & declared()
            assert not wrong, f"{path.name} skips for want of {wrong}, which the project declares: import it"


def test_no_token_in_the_tree():
    for path in tracked():
        found = TOKEN.findall(path.read_text(encoding="utf-8", errors="ignore"))
        assert not found, f"{path.name} holds what looks like a token"


def test_tracked_files_are_written_by_hand():
    """What a run leaves is not committed by mistake: our largest file has 34 kB."""
    large = [path.relative_to(ROOT) for path in tracked() if path.stat().st_size > 100_000]
    assert not large, f"{large[0]} is larger than 100 kB: is it what a test or run left?"


@pytest.mark.parametrize("package", ["builders", "trainers", "evals"])
def test_every_content_folder_has_a_readme_with_an_example(package):
    """What it makes, and one row, document or recipe step of it."""
    folders = [p for p in (ROOT / package).iterdir() if (p / "__init__.py").is_file() and p.name != "_lib"]
    assert len(folders) > 5
    missing = [
        str(p) for p in folders if "```" not in text_of(p / "README.md") and ">>> " not in text_of(p / "README.md")
    ]
    assert [p for p in missing if not p.endswith("trainers/architectures")] == []  # its README has code by indentation


def text_of(path):
    return path.read_text(encoding="utf-8") if path.is_file() else ""
