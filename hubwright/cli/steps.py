"""One step explained: its inputs and settings, and what a recipe says to use it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ..catalog import config_class, spec_of
from .tables import print_table


def explain(uses: str) -> None:
    """Print a step's inputs, its settings with types and defaults, and the lines of a recipe that use it."""
    spec = spec_of(uses)
    config = config_class(spec)
    print(f"{uses}: {spec.help}\n\nA {spec.kind}; publishes a {spec.publishes}.\n")
    if spec.inputs:
        rows = [
            (name, role.type, "optional" if role.optional or name.endswith("*") else "needed")
            for name, role in zip(spec.role_names(), spec.inputs.values(), strict=True)
        ]
        print_table(("input", "type", ""), rows)
        print()
    print_table(("setting", "type", "default", "meaning"), settings(config))
    print("\nIn a recipe:\n")
    lines = [f"  {uses.rpartition(':')[2]}:", f"    uses: {uses}"]
    needed = [name for name, role in spec.inputs.items() if not role.optional and not name.endswith("*")]
    if needed:
        lines.append(f"    inputs: {{{', '.join(f'{name}: org/name@revision' for name in needed)}}}")
    required = [name for name, field in config.model_fields.items() if field.is_required()]
    if required:
        lines.append(f"    with: {{{', '.join(f'{name}: ...' for name in required)}}}")
    print("\n".join([*lines, f"    publish: {{{spec.publishes}: name, tag: v1.0.0}}"]))


def settings(config: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """(name, type, default, meaning) of every setting."""
    schema: dict[str, Any] = config.model_json_schema(by_alias=True)["properties"]
    rows = []
    for name, field in config.model_fields.items():
        key = field.alias or name
        default = "needed"
        if not field.is_required():
            value = schema[key].get("default", field.default)
            default = "" if value is PydanticUndefined else "null" if value is None else str(value)
        rows.append((key, _type(schema[key]), default, schema[key].get("description", "")))
    return rows


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema's type in a word or two."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if parts := schema.get("anyOf") or schema.get("allOf"):
        return " | ".join(dict.fromkeys(map(_type, parts)))
    if "const" in schema:
        return str(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition(".")[2].rpartition("/")[2]
    kind = schema.get("type", "any")
    return f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else str(kind)
