"""The folders at the root are the sub-packages of `hubwright`; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

PACKAGES = ("builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync")

package_dir = {"hubwright": "hubwright"}
for package in PACKAGES:
    for init in sorted(Path(package).rglob("__init__.py")):
        package_dir["hubwright." + ".".join(init.parent.parts)] = init.parent.as_posix()
packages = list(package_dir)
# Data only. `lm_eval --tasks NAME` finds a YAML below lm_eval/tasks without any flag; `hubwright tasks
# path` prints the copy inside our own package, for --include_path.
package_dir |= {
    "hubwright.recipes": "recipes",
    "hubwright.evals.tasks": "evals/tasks",
    "lm_eval.tasks.hubwright": "evals/tasks",
}
data = ["*.yaml", "*.json", "*.jsonl", "*.parquet", "*.jinja", "*.css", "*.md", "py.typed"]
setup(
    packages=sorted(set(packages) | set(package_dir)),
    package_dir=package_dir,
    package_data={"": data},
    include_package_data=False,
)
