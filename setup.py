"""The folders at the root are the sub-packages of `hubwright`; everything else is in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGES = ("builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync")

SCHEMA = "import json, pathlib, sys; from hubwright.recipe import recipe_schema as schema; \
pathlib.Path(sys.argv[1]).write_text(json.dumps(schema(), indent=1, sort_keys=True))"


class BuildWithSchema(build_py):
    """Generates the JSON Schema of recipes from the modules that were just copied."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "hubwright", "recipes", "recipe.schema.json")
            environment = os.environ | {"PYTHONPATH": str(Path(self.build_lib).resolve())}
            subprocess.run([sys.executable, "-c", SCHEMA, str(target.resolve())], env=environment, check=True)


package_dir = {"hubwright": "hubwright", "hubwright.cli": "hubwright/cli"}
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
data = ["*.yaml", "*.json", "*.jsonl", "*.parquet", "*.jinja", "*.css", "*.sql", "*.txt", "*.md", "py.typed"]
families = ["*/*.yaml", "*/*.md"]
nested = ("hubwright.recipes", "hubwright.evals.tasks", "lm_eval.tasks.hubwright")
setup(
    cmdclass={"build_py": BuildWithSchema},
    packages=sorted(set(packages) | set(package_dir)),
    package_dir=package_dir,
    package_data={"": data} | dict.fromkeys(nested, families),
    include_package_data=False,
)
