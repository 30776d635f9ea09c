"""Generators of lm-eval's YAML files, for tasks that differ in a language or a category only."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def task_file(task: str, include: str, **settings: str) -> str:
    """The YAML text of a task.

    Example: `task_file("mgsm_de", "_mgsm.yaml", dataset_name="de")` gives the lines `include: _mgsm.yaml`,
    `task: mgsm_de` and `dataset_name: de`.
    """
    return "".join(f"{key}: {value}\n" for key, value in {"include": include, "task": task, **settings}.items())


def group_file(group: str, tasks: Iterable[str], metrics: Iterable[str], comment: str) -> str:
    """The YAML text of a group whose metrics are means over its tasks, each counted once.

    Args:
        comment: lines of text, without "#".
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"group: {group}", "task:", *(f"  - {task}" for task in tasks)]
    lines += ["aggregate_metric_list:"]
    lines += [f"  - metric: {metric}\n    weight_by_size: false" for metric in metrics]
    return "\n".join([*lines, "metadata:", "  version: 1.0"]) + "\n"


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write the files, by task or group, as NAME.yaml into a folder."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
