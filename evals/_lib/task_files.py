"""Generator of the YAML files of tasks that differ in a language or a category only, from a family's `_variants.yaml`.

    python -m hubwright.evals._lib.task_files evals/tasks/FAMILY

Each group has `metrics` (means over its tasks, each counted once), a `comment`, and either `members` or `tasks`: one
per value in `of`, its `name` and settings with the value in place of {}.
"""

import sys
from pathlib import Path

import yaml


def task_files(folder: Path) -> dict[str, str]:
    """YAML text by task or group.

    Example: {name: "mgsm_{}", include: _mgsm.yaml, dataset_name: "{}", of: [de]} gives the task mgsm_de of the lines
    `include: _mgsm.yaml`, `task: mgsm_de` and `dataset_name: de`.
    """
    files = {}
    for group, settings in yaml.safe_load((folder / "_variants.yaml").read_text(encoding="utf-8"))["groups"].items():
        tasks = {"of": [], **settings.get("tasks", {})}
        values, name, include = tasks.pop("of"), tasks.pop("name", ""), tasks.pop("include", "")
        for value in values:
            keys = {"include": include, "task": name} | tasks
            files[name.format(value)] = "".join(f"{key}: {text.format(value)}\n" for key, text in keys.items())
        members = settings.get("members") or [name.format(value) for value in values]
        lines = [f"# {line}" for line in settings["comment"].splitlines()]
        lines += [f"group: {group}", "task:", *(f"  - {task}" for task in members), "aggregate_metric_list:"]
        lines += [f"  - metric: {metric}\n    weight_by_size: false" for metric in settings["metrics"]]
        files[group] = "\n".join([*lines, "metadata:", "  version: 1.0"]) + "\n"
    return files


if __name__ == "__main__":
    for name, text in task_files(Path(sys.argv[1])).items():
        Path(sys.argv[1], f"{name}.yaml").write_text(text, encoding="utf-8")
