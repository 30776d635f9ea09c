"""Word lists, phrases and prompts: YAML files beside the module that uses them."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(module: str, name: str) -> Any:
    """The value of the YAML file `name` beside a module, whose `__file__` is given."""
    return yaml.safe_load(Path(module).with_name(name).read_text(encoding="utf-8"))
