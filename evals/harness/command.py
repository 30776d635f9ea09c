"""`hubwright eval`: lm-eval's own command on an index that holds our tasks alone if they suffice.

Only the configuration's `process_tasks` is replaced, which always indexes every YAML file of upstream.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any
from unittest import mock

from ...hub_sync.errors import UsageError
from .._lib.data import tasks_dir
from .step import find_tasks, one_line_errors
from .weights import complete_models


def list_tasks() -> list[str]:
    """Names of the tasks in our folder, in alphabetical order, without importing lm-eval."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads `!function` as nothing."""

    Loader.add_constructor("!function", lambda loader, node: None)
    values = [yaml.load(path.read_bytes(), Loader=Loader) for path in tasks_dir().glob("**/*.yaml")]  # noqa: S506
    return sorted({value[key] for value in values for key in ("task", "group") if isinstance(value.get(key), str)})


def run_lm_eval(tasks: str, arguments: Sequence[str]) -> None:
    """Evaluate `tasks` (names or globs, separated by commas) with the arguments of `lm_eval run`.

    Raises UsageError for an unknown task or a bad argument; exits 2 with argparse's message for a wrong option.
    """
    from lm_eval._cli.run import Run
    from lm_eval.config.evaluate_config import EvaluatorConfig

    from .._lib.interactive import model as _registers  # noqa: F401  `--model interactive`

    def process_tasks(config: Any, metadata: dict[str, Any] | None = None) -> Any:
        names = [name for name in config.tasks if name]
        manager, config.tasks = find_tasks(names, metadata or config.metadata, include_path=config.include_path)
        return manager

    parser = argparse.ArgumentParser(prog="hubwright eval")
    Run.create(parser.add_subparsers())
    options = parser.parse_args(["run", *arguments, "--tasks", tasks])
    for package in ("wandb", "trackio"):
        if getattr(options, f"{package}_args") and find_spec(package) is None:
            raise UsageError(f"--{package}_args needs: pip install {package}")
    with mock.patch.object(EvaluatorConfig, "process_tasks", process_tasks), one_line_errors(), complete_models():
        Run._execute(options)
