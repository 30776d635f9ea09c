"""Tasks of a recipe: their files are checked and copied, and their names are nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubwright.evals.harness import own_tasks
from hubwright.hub_sync.errors import UsageError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_py", ".py").replace("_yaml", ".yaml")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"a_yaml": "task: arc_easy\n"}, "a.yaml: arc_easy is the name of a task of lm-eval's: rename yours"),
        ({"a_yaml": "task: 'toolcall'\n"}, "a.yaml: toolcall is the name of a task of hubwright's"),
        ({"a_yaml": "group: mmlu\ntask: [x]\n"}, "mmlu is the name of a task of lm-eval's"),
        ({"a_yaml": "task: mine\n", "b_yaml": "task: mine\n"}, "task mine is in a.yaml and b.yaml: rename one"),
        ({"a_yaml": "task: [mine\n"}, "a.yaml cannot be read"),
        ({"a_yaml": "include: absent.yaml\ntask: mine\n"}, "a.yaml cannot be read"),
        ({"a_yaml": "task: mine\ndoc_to_text: !function utils.text\n"}, "Cannot import module 'utils'"),
        (
            {"a_yaml": "task: mine\ndoc_to_text: !function utils.text\n", "utils_py": "def txt(): ...\n"},
            "has no function 'text'",
        ),
        ({"a_yaml": "- task\n"}, "a.yaml cannot be read: Expected YAML dict"),
        ({"a_yaml": "dataset_path: x\n"}, "no file has a `task:` or a `group:`"),
    ],
)
def test_names_that_would_mislead_are_refused(tmp_path: Path, files: dict[str, str], line: str) -> None:
    with pytest.raises(UsageError, match="include_path") as refusal:
        own_tasks.check_names(write(tmp_path / "own", **files))
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


def test_one_file_is_enough_unless_it_needs_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", a_yaml="task: mine\n", b_yaml="task: my\ndoc_to_text: !function utils.text\n")
    assert own_tasks.check_path(str(folder / "a.yaml"))
    with pytest.raises(ValueError, match=r"needs a file beside it \(!function utils.text\): name the folder"):
        own_tasks.check_path(str(folder / "b.yaml"))
    with pytest.raises(ValueError, match=r"holds no \.yaml file"):
        own_tasks.check_path(str(write(tmp_path / "empty")))


@pytest.mark.slow
def test_unknown_task_has_the_nearest_of_ones_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", a_yaml="task: capitals_of_the_world\n")
    with pytest.raises(UsageError, match=r"did you mean 'capitals_of_the_world'\?"):
        own_tasks.find_tasks(["capitals_of_the_wrld"], include_path=str(folder))


def test_files_are_copied_without_caches_and_paths_of_this_machine(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", a_yaml="task: mine\n", utils_py="def text(doc): return ''\n")
    write(folder / "__pycache__", x_py="")
    own_tasks.copy_tasks(folder, tmp_path / "copy")
    copies = sorted(path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.*"))
    assert copies == ["own/a.yaml", "own/utils.py"]
    own_tasks.copy_tasks(folder / "a.yaml", tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["a.yaml"]
    write(folder, b_yaml=f"task: b\ndataset_kwargs: {{data_files: {folder}/rows.jsonl}}\n")
    with pytest.raises(UsageError, match=r"b\.yaml names the folder .*: write paths relative"):
        own_tasks.copy_tasks(folder, tmp_path / "copy")
    (folder / "link.py").symlink_to(folder / "utils.py")
    with pytest.raises(UsageError, match=r"link\.py is a link"):
        own_tasks.copy_tasks(folder, tmp_path / "copy")
    (folder / "link.py").unlink()
    write(folder, b_yaml="#" * (own_tasks.MOST_BYTES + 1))
    with pytest.raises(UsageError, match="10 MB at most"):
        own_tasks.copy_tasks(folder, tmp_path / "copy")


def test_include_path_of_a_package_is_its_folder_and_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "words_package" / "tasks"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "one.yaml").write_text("task: one\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert own_tasks.check_path("words_package:tasks") == str(folder)
    for text, reason in (("words_package:tests", "has no folder 'tests'"), ("no_package:tasks", "install it")):
        with pytest.raises(ValueError, match=reason):
            own_tasks.check_path(text)
