"""The files that a model needs beside its weights: those that config, tokenizer and processor name, and their code."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError
from ...hub_sync.files import PICKLES

# Files that transformers and tokenizers read under these names, or under any name with these endings.
_NAMES = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.json", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json", "image_processor_config.json", "tekken.json",
    "normalizer.json",
}  # fmt: skip
_ENDINGS = {".model", ".spm", ".tiktoken", ".jinja"}
_TEMPLATES = "additional_chat_templates"
# Configs whose `auto_map` names code.
_WITH_CODE = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
              "video_preprocessor_config.json")  # fmt: skip
_NEVER = PICKLES | {".safetensors", ".gguf", ".h5", ".msgpack", ".onnx", ".py", ".md"}


def beside(folder: Path, called: str) -> list[str]:
    """Paths of the files, relative to the model folder, sorted. Raises DataError, naming the model and the file, for
    code that a config names and that is not there, and for code that cannot be read."""
    found = {path.name for path in _files(folder) if path.name in _NAMES or path.suffix in _ENDINGS}
    found |= {f"{_TEMPLATES}/{path.name}" for path in _files(folder / _TEMPLATES) if path.suffix == ".jinja"}
    code = _code(folder, called)
    found |= set(code)
    # A tokenizer's own code names its vocabulary in its text.
    texts = "".join(code.values()).replace("'", '"')
    for path in _files(folder):
        if path.suffix not in _NEVER and f'"{path.name}"' in texts:
            found.add(path.name)
    return sorted(found)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _code(folder: Path, called: str) -> dict[str, str]:
    """Modules that the configs' `auto_map` names, and those that they import from beside them: path -> text."""
    wanted: list[tuple[str, str]] = []  # path, who names it
    for name in _WITH_CODE:
        path = folder / name
        if path.is_file():
            wanted += [(module, name) for module in _modules(path, called)]
    found: dict[str, str] = {}
    while wanted:
        name, by = wanted.pop()
        if name in found:
            continue
        path = folder / name
        if not path.is_file():
            raise DataError(f"{called}: {by} names {name}, which is missing: download the model anew")
        try:
            found[name] = path.read_text(encoding="utf-8")
            wanted += [(one, name) for one in _imported(Path(name), found[name], folder)]
            packages = [f"{at.as_posix()}/__init__.py" for at in Path(name).parents if at != Path()]
            wanted += [(one, name) for one in packages if (folder / one).is_file()]
        except (SyntaxError, ValueError) as error:
            raise DataError(f"{called}: {name} is not valid Python: {error}") from error
    return found


def _modules(path: Path, called: str) -> Iterator[str]:
    """Files that a config's `auto_map` names; those of another repository (`org/name--module.Class`) stay there."""
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{called}: {path.name} is not valid JSON ({error}): download the model anew") from error
    mapped = said.get("auto_map") if isinstance(said, dict) else None
    named: list[Any] = []
    for value in mapped.values() if isinstance(mapped, dict) else [mapped]:
        named += value if isinstance(value, list) else [value]
    for one in named:
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
        at = name.parent
        for _ in range(node.level - 1):
            at = at.parent
        if node.module:
            whole = at / node.module.replace(".", "/")
            yield from _as_files(whole, folder)
            inner = whole
        else:
            inner = at
        for alias in node.names:
            if (folder / inner / f"{alias.name}.py").is_file():
                yield (inner / f"{alias.name}.py").as_posix()


def _as_files(module: Path, folder: Path) -> Iterable[str]:
    if (folder / module).is_dir():
        return [(module / "__init__.py").as_posix()]
    return [f"{module.as_posix()}.py"]
