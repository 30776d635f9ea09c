"""A user's own Python functions as tools of executed call graphs, from their signatures and docstrings.

    # my_tools.py
    from typing import Annotated

    City = Annotated[str, "city"]
    GIVEN = {"city": ["Oslo", "Lima"]}            # what a user may say, by kind

    def warmest_nearby(city: City) -> City:
        \"\"\"Find the warmest place near a city.

        Args:
            city: its name.
        \"\"\"

Everything else is optional: `TOOLS` (else all public functions of the file), `begin(seed)` if the tools have state,
and `ASK`, `TELL`, `CALLED`, `NAMED`, `TESTS`, `CHANGES`: the tables of `environments/worlds/__init__.py` in capitals.
Without `CHANGES` any tool may change something, and no call whose outcome is unknown is made again. The file is the
user's and is imported as any module; its calls run in the sandbox.
"""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ...environments.definition import fault, from_function
from ...hub_sync.errors import UsageError
from .toolset import Tool, Toolset, tool_of

RESULT = "result"  # the field that holds a result which is no object


def read_module(text: str) -> Toolset:
    """The tools of a Python file. Raises UsageError in one line that names function and argument."""
    path = Path(text).expanduser()
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"tools: {path.name} is not a Python file: give the path of a file with your functions")
    module = _load(path)
    given = {kind: list(values) for kind, values in getattr(module, "GIVEN", {}).items()}
    functions = getattr(module, "TOOLS", None) or [
        value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_" and name != "begin"
    ]
    tools = {}
    for function in functions:
        try:
            tools[function.__name__] = _tool(function, module)
        except ValueError as error:
            raise UsageError(f"tools: {path.name}: {error}") from error
    reached = set(given) | {kind for tool in tools.values() for kind in tool.output_types.values()}
    for tool in tools.values():
        for name, kind in tool.input_types.items():
            if kind and kind not in reached:
                raise UsageError(
                    f"tools: {path.name}: {tool.name}: nothing gives {name} a value: add {kind!r} to GIVEN"
                )
    if len(tools) < 2:
        raise UsageError(f"tools: {path.name} has {len(tools)} functions with a docstring: two are needed")
    return Toolset(tools, dict(getattr(module, "NAMED", {})), (path.stem,), (path.parent.resolve(),), given)


def _load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise UsageError(f"tools: {path.name} cannot be imported ({type(error).__name__}: {error})") from error
    return module


def _tool(function: Callable[..., Any], module: ModuleType) -> Tool:
    definition = from_function(function)
    name, words = definition["name"], definition["name"].replace("_", " ")
    if definition["responses"].get("type") != "object":
        definition["responses"] = {"type": "object", "properties": {RESULT: definition["responses"]}}
    if reason := fault(definition):
        raise ValueError(reason)
    parameters, results = definition["parameters"]["properties"], definition["responses"].get("properties", {})
    for key, schema in parameters.items():
        if "kind" not in schema and "enum" not in schema and schema.get("type") != "boolean":
            raise ValueError(f'{name}: {key} has no kind: write Annotated[..., "{key}"], and its values into GIVEN')
    inputs = " and ".join(f"{key.replace('_', ' ')} {{{key}}}" for key in parameters)
    described = definition["description"].split(". ")[0].rstrip(".")
    request = f"{described[0].lower()}{described[1:]}" + (f", with {inputs}" if inputs else "")
    results_text = ", ".join(f"{'it' if key == RESULT else key.replace('_', ' ')} is {{{key}}}" for key in results)
    kinds = {key: schema["kind"].replace("_", " ") for key, schema in results.items() if "kind" in schema}
    called = {
        f"{name}.{key}": (f"that {kind}", f"the {kind} from {words}" + (f" with {inputs}" if inputs else ""))
        for key, kind in kinds.items()
    }
    own = {table: getattr(module, table.upper(), {}) for table in ("ask", "tell", "called", "tests")}
    sentences = {
        "ask": own["ask"].get(name, request),
        "tell": own["tell"].get(name, f"About {words}: {results_text}."),
    }
    wording = {table: {name: [text] if isinstance(text, str) else text} for table, text in sentences.items()} | {
        "called": called | own["called"], "tests": own["tests"], "carried": {},
        "changes": getattr(module, "CHANGES", {name: None}),
    }  # fmt: skip
    return tool_of(definition, module.__name__, wording)
