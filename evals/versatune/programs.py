"""Python programs that a model wrote, run with their tests in a sandbox of their own. Needs no lm-eval."""

import re
import secrets
import signal
from collections.abc import Mapping
from typing import Any

from ...environments.sandbox import Limits, Outcome, Sandbox
from ...hub_sync.errors import UsageError

# What a solution may import beyond `environments.jail.MODULES`; loaded before the process is closed.
MODULES = ("array", "cmath", "queue")
# The program runs in a namespace of its own; the reply must come back with a number that it does not know.
RUNNER = """
def run(program, number):
    exec(compile(program, "<program>", "exec"), {"__name__": "program"})
    return number
"""
_CODE = re.compile(r"\s*\n[ \t]+[^\s`]|[ \t]+[^\s`]|\s*(?:def|class|import|from|async|@)\b")
_BLOCK = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)


def run(program: str, limits: Limits) -> Outcome:
    """What came of a program: `kind` "ok", or "raised", "timeout" or "died" with one line of reason.

        >>> run("def add(a, b):\\n    return a + b\\nassert add(2, 3) == 5", Limits()).kind
        'ok'
        >>> run("assert 2 + 2 == 5", Limits()).error
        'AssertionError'

    Every program has a process of its own without files, processes or network. Raises UsageError where the system
    cannot close a process off (Linux on x86-64 and ARM can).
    """
    number = secrets.randbits(48)
    with Sandbox(RUNNER, limits, MODULES) as box:
        if not box.filtered:
            raise UsageError(
                "generated programs are not run here: this system has no filter of system calls; use Linux on x86-64 "
                "or ARM, or store the answers with --predict_only and score them there"
            )
        outcome = box.call("run", {"program": program, "number": number})
    if outcome.ok and outcome.value != number:
        return Outcome("died", error="the program answered in place of its tests")
    return outcome


def timed_out(outcome: Outcome) -> bool:
    """The program used up its time: of the clock, or of the processor (the kernel's signal)."""
    killed = tuple(f"(signal {one.value})" for one in (signal.SIGXCPU, signal.SIGKILL))
    return outcome.kind == "timeout" or outcome.error.endswith(killed)


def code_in(reply: str, opened: bool = False) -> str:
    r"""The code in a reply: its first fenced block, or all of it up to a fence if it begins as code.

    Args:
        opened: the prompt opened the block already, so that the reply's first fence closes it.

    >>> code_in("Here it is:\n```python\nx = 1\n```\nDone."), code_in("x = 1\n```\nDone.", opened=True)
    ('x = 1\n', 'x = 1\n')
    """
    block = _BLOCK.search(reply)
    begins = _CODE.match(reply) or (opened and not reply.lstrip().startswith("```"))
    if block is None or begins:
        return reply.partition("```")[0]
    return block[1]


def humaneval_program(problem: Mapping[str, Any], code: str) -> str:
    """A completion behind its prompt, or a whole function behind what the prompt has before it, with the tests."""
    name, head = problem["entry_point"], problem["prompt"]
    if re.search(rf"^def {re.escape(name)}\b", code, re.MULTILINE):
        head = head[: head.rindex(f"def {name}")]
    return f"{head}{code}\n{problem['test']}\ncheck({name})\n"


def mbpp_program(problem: Mapping[str, Any], code: str) -> str:
    """A solution, what its tests need, and the tests."""
    return "\n".join([code, problem["test_setup_code"], *problem["test_list"]]).replace("\r\n", "\n")
