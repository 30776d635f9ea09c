"""Calls in a reply, as `bfcl-eval` 2026.3.23 reads them (its prompting mode), where that is not what Python means.

Compared with the package's reader on every row's gold and changed calls, as text (tests/evals/bfcl).
"""

import ast

from ...environments.calls import Call, python_calls

STARRED = "**"  # no function has an argument of this name, so a call with one never matches, as in the package


def bfcl_calls(text: str) -> list[Call]:
    """The calls of a reply. Raises ValueError in one line where the package reads none.

    >>> bfcl_calls("[f(a=+5, b=~5, c=not True)]")[0].arguments
    {'a': -5, 'b': -5, 'c': -1}
    """
    return python_calls(text, _as_package)


def _as_package(call: ast.Call) -> ast.Call:
    """The call with its arguments as the package takes them: a sign other than `-` is `-`, `**` is an argument.

    Arguments without a name stay, which the package drops: the matcher passes over them, the worlds take them.
    """
    for keyword in call.keywords:
        keyword.arg = STARRED if keyword.arg is None else keyword.arg
        keyword.value = _Signs().visit(keyword.value)
    return call


class _Signs(ast.NodeTransformer):
    """`+5`, `~5` and `not 5` are -5; a sign before anything but a literal cannot be read; sums are Python's."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.operand, ast.Constant):
            raise ValueError(f"a sign before {type(node.operand).__name__} cannot be read")
        return ast.UnaryOp(ast.USub(), node.operand)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return _as_package(node) if node.keywords else node
