"""The files that a model needs beside its weights: those that config, tokenizer and processor name, and their code."""

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ...hub_sync.errors import DataError
from ...hub_sync.files import PICKLES

_TEMPLATES = "additional_chat_templates"
_FILES = yaml.safe_load((Path(__file__).parent / "model_files.yaml").read_text(encoding="utf-8"))
_NEVER = PICKLES.union(_FILES["never"])


def beside(folder: Path, called: str) -> list[str]:
    """Paths of the files, relative to the model folder, sorted. Raises DataError, naming the model and the file, for
    code that a config names and that is not there, and for code that cannot be read."""
    code = _code(folder, called)
    names = set(code) | {f"{_TEMPLATES}/{path.name}" for path in (folder / _TEMPLATES).glob("*.jinja")}
    # A tokenizer's own code names its vocabulary in its text.
    texts = "".join(code.values()).replace("'", '"')
    for path in filter(Path.is_file, folder.iterdir()):
        is_named = path.suffix not in _NEVER and f'"{path.name}"' in texts
        if path.name in _FILES["names"] or path.suffix in _FILES["endings"] or is_named:
            names.add(path.name)
    return sorted(names)


def _code(folder: Path, called: str) -> dict[str, str]:
    """Modules that the configs' `auto_map` names, and those that they import from beside them: path -> text."""
    configs = [folder / name for name in _FILES["with_code"] if (folder / name).is_file()]
    todo = [(module, path.name) for path in configs for module in _modules(path, called)]  # path, who names it
    texts: dict[str, str] = {}
    while todo:
        name, by = todo.pop()
        if name in texts:
            continue
        if not (folder / name).is_file():
            raise DataError(f"{called}: {by} names {name}, which is missing: download the model again")
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
            todo += [(one, name) for one in _imported(Path(name), texts[name], folder)]
            packages = [f"{at.as_posix()}/__init__.py" for at in Path(name).parents if at != Path()]
            todo += [(one, name) for one in packages if (folder / one).is_file()]
        except (SyntaxError, ValueError) as error:
            raise DataError(f"{called}: {name} is not valid Python: {error}") from error
    return texts


def _modules(path: Path, called: str) -> Iterator[str]:
    """Files that a config's `auto_map` names; those of another repository (`org/name--module.Class`) stay there."""
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{called}: {path.name} is not valid JSON ({error}): download the model again") from error
    mapped = config.get("auto_map") if isinstance(config, dict) else None
    classes: list[Any] = []
    for value in mapped.values() if isinstance(mapped, dict) else [mapped]:
        classes += value if isinstance(value, list) else [value]
    for one in classes:
        if isinstance(one, str) and "--" not in one and "." in one:
            module = one.rpartition(".")[0]
            if not all(part.isidentifier() for part in module.split(".")):
                raise DataError(f"{called}: auto_map of {path.name} names {one!r:.80}, which is not a module")
            yield f"{module.replace('.', '/')}.py"


def _imported(name: Path, text: str, folder: Path) -> Iterable[str]:
    """Modules beside this one that it imports, as paths below the model folder."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        package = [name.parent, *name.parent.parents][node.level - 1]
        if node.module:
            package /= node.module.replace(".", "/")
            is_package = (folder / package).is_dir()
            yield f"{package.as_posix()}/__init__.py" if is_package else f"{package.as_posix()}.py"
        for alias in node.names:
            if (folder / package / f"{alias.name}.py").is_file():
                yield (package / f"{alias.name}.py").as_posix()
