"""Calls as models write them, read without running anything."""

import ast
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 100_000  # characters of one reply; longer ones are no calls
BITS = 12_000  # of an integer; Python writes no more than 4,300 digits
_SIGNS: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip
_SUMS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_, ast.BitXor: operator.xor, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
Reading = Callable[[ast.Call], ast.Call]


@dataclass(frozen=True)
class Call:
    """One call: the function's name, dots included, its arguments by name, and those without one."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()


def python_calls(text: str, reading: Reading | None = None) -> list[Call]:
    """`[f(a=1), g.h(b="x")]`, one call, or calls side by side, as Python would read them.

    Values are literals, sums of numbers, names (kept as text) and nested calls (kept as `{name: arguments}`, or as
    text where they name no argument). `f(**{"a": 1})` is `f(a=1)`. `reading` changes each call's syntax tree first,
    for a benchmark whose own reader differs from Python's. Raises ValueError in one line for anything else.
    """
    if len(text) > MOST:
        raise ValueError(f"a reply of {len(text):,} characters is no list of calls")
    text = text.strip("`\n ")
    if "\0" in text:  # of which some versions of Python say so with an error of another class
        raise ValueError("no Python: a null byte")
    text = ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\*" in a model's text is its own affair
            body = ast.parse(text, mode="eval").body
        elements = [body] if isinstance(body, ast.Call) else getattr(body, "elts", None)
        if elements is None:
            raise ValueError(f"{type(body).__name__} is no list of calls")
        calls = [reading(element) if reading and isinstance(element, ast.Call) else element for element in elements]
        return [_call(element) for element in calls]
    except SyntaxError as error:
        raise ValueError(f"no Python: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("nested too deeply") from None


def as_python(call: Call) -> str:
    """The call as Python would write it; `python_calls` reads it back."""
    written = [repr(value) for value in call.positional]
    written += [f"{name}={value!r}" for name, value in call.arguments.items()]
    return f"{call.name}({', '.join(written)})"


def _call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise ValueError(f"{type(node).__name__} is no call: {ast.unparse(node)[:100]}")
    parts, target = [], node.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    if isinstance(target, ast.Name):
        parts.append(target.id)
    by_name: dict[str, Any] = {}
    for keyword in node.keywords:
        for name, value in _named(keyword):
            if name in by_name:
                raise ValueError(f"argument {name} is given twice")
            by_name[name] = value
    return Call(".".join(reversed(parts)), by_name, tuple(_value(argument) for argument in node.args))


def _named(keyword: ast.keyword) -> list[tuple[str, Any]]:
    """The arguments that `name=value` or `**{"name": value}` gives."""
    if keyword.arg is not None:
        return [(keyword.arg, _value(keyword.value))]
    mapping = _value(keyword.value) if isinstance(keyword.value, ast.Dict) else None
    if mapping is None or not all(isinstance(name, str) for name in mapping):
        raise ValueError("a call with ** has no arguments by name")
    return list(mapping.items())


def _value(node: ast.expr) -> Any:
    """The value of a literal; text for what is none."""
    if isinstance(node, ast.Constant | ast.UnaryOp | ast.BinOp):
        value = node.value if isinstance(node, ast.Constant) else _number(node)
        if isinstance(value, int) and value.bit_length() > BITS:
            raise ValueError("an integer of so many digits is no argument")
        return "..." if value is Ellipsis else value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call):
        if not node.keywords:
            return ast.unparse(node)
        inner = _call(node)
        return {inner.name: inner.arguments}
    if isinstance(node, ast.Subscript):
        return ast.unparse(node)
    raise ValueError(f"{type(node).__name__} is no value: {ast.unparse(node)[:100]}")


def _key(node: ast.expr | None) -> Any:
    value = None if node is None else _value(node)
    try:
        hash(value)
    except TypeError:
        node = None
    if node is None:
        raise ValueError("a dictionary's key must be a plain value")
    return value


def _number(node: ast.expr) -> Any:
    """A sum of literals. Powers are bounded: 9**9**9 is no argument anyone means."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex | str):
        return node.value
    try:
        if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
            return _SIGNS[type(node.op)](_number(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
            left, right = _number(node.left), _number(node.right)
            if isinstance(left, str) or isinstance(right, str):
                if isinstance(node.op, ast.Add):
                    return left + right
                raise ValueError("text cannot be reckoned with")
            if isinstance(node.op, ast.Pow | ast.LShift) and (abs(right) > 64 or abs(left) > 1e6):
                raise ValueError("a power that large is no argument")
            return _SUMS[type(node.op)](left, right)
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"{ast.unparse(node)[:100]}: {error}") from None
    raise ValueError(f"{ast.unparse(node)[:100]} is no number")
