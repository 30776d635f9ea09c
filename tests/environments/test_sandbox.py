"""Tool code that means harm, or is merely broken: contained, one clear line, the run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubwright.environments.sandbox import Limits, Sandbox
from hubwright.hub_sync.errors import DataError

QUICK = Limits(seconds=1.0)
GOOD = """
import datetime
STATE = {"count": 0}

def add(a, b=1):
    STATE["count"] += 1
    return {"sum": a + b, "count": STATE["count"]}

def weekday(day):
    return datetime.datetime.strptime(day, "%Y-%m-%d").strftime("%A")

def order():
    return list({"pear", "apple", "plum", "fig"})

def noisy():
    print("x" * 100_000)
    return "quiet"
"""


def test_a_tool_is_called_and_keeps_its_state():
    with Sandbox(GOOD) as box:
        assert box.call("add", {"a": 2}).value == {"sum": 3, "count": 1}
        assert box.call("add", {"a": 2, "b": 5}).value == {"sum": 7, "count": 2}
        assert box.look("STATE").value == {"count": 2}
        assert box.call("weekday", {"day": "2026-11-22"}).value == "Sunday"
        assert box.call("noisy", {}).value == "quiet"
        assert box.call("add", {"a": "ä" * 10, "b": "\n"}).value["sum"] == "ä" * 10 + "\n"


def test_two_sandboxes_give_the_same():
    with Sandbox(GOOD) as one, Sandbox(GOOD) as two:
        assert one.call("order", {}).value == two.call("order", {}).value
    code = "import random\ndef draw():\n    return random.random()"
    with Sandbox(code) as one, Sandbox(code) as two, Sandbox(code, seed=1) as other:
        assert one.call("draw", {}).value == two.call("draw", {}).value != other.call("draw", {}).value


def test_mistakes_of_the_caller_are_the_tools_errors():
    with Sandbox(GOOD) as box:
        missing = box.call("add", {})
        assert missing.kind == "raised" and missing.error.startswith("TypeError: add() missing 1 required")
        assert box.call("nothing", {}).error == "there is no function nothing"
        assert box.call("__builtins__", {}).kind == "unknown"
        assert box.call("add", {"a": 1, "c": 2}).kind == "raised"
        assert box.call("add", {"a": 1}).ok


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import socket", "ImportError: tools cannot import socket"),
        ("open('/etc/passwd')", "tools have no files, processes or network (open)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("while True: pass", "no result within 1 s"),
    ],
)
def test_code_that_cannot_be_loaded_is_refused_in_one_line(code, said):
    with pytest.raises(DataError, match="tool code cannot be loaded") as caught:
        Sandbox(code, QUICK)
    assert said in str(caught.value) and "\n" not in str(caught.value)


HARM = {
    "reads a file": ("return open('/etc/passwd').read()", "raised", "no files, processes or network (open)"),
    "reads a file by number": ("import os\n    return os.read(os.open('/etc/passwd', 0), 9)", "raised", "cannot import|no files"),
    "lists a folder": ("import os\n    return os.listdir('/')", "raised", "cannot import|no files"),
    "forks": ("import os\n    while True: os.fork()", "raised", "cannot import|no files"),
    "runs a program": ("import subprocess\n    subprocess.run('id')", "raised", "cannot import subprocess"),
    "calls the shell": ("import os\n    os.system('id')", "raised", "cannot import|no files"),
    "opens a connection": ("import socket\n    socket.create_connection(('127.0.0.1', 80))", "raised", "cannot import socket"),
    "starts a thread": ("import _thread\n    _thread.start_new_thread(print, ())", "raised", "can't start new thread"),
    "loops": ("while True: pass", "timeout", "no result within 1 s"),
    "sleeps": ("import time\n    time.sleep(60)", "timeout", "no result within 1 s"),
    "recurses": ("return tool()", "raised", "RecursionError"),
    "recurses in a message": (
        "class E(Exception):\n        def __str__(self): return str(self)\n    raise E", "raised", "E: its message"
    ),
    "takes all memory": ("return len('x' * (1 << 34))", "raised", "MemoryError"),
    "returns 100 MB": ("return 'x' * 100_000_000", "too_large", "has 100,000,002 bytes, 65,536 are allowed"),
    "returns itself": ("x = []\n    x.append(x)\n    return x", "not_json", "Circular reference"),
    "returns an object": ("return object()", "not_json", "not JSON serializable"),
    "returns NaN": ("return float('nan')", "not_json", "Out of range float"),
    "exits": ("raise SystemExit", "raised", "SystemExit"),
    "interrupts": ("raise KeyboardInterrupt", "raised", "KeyboardInterrupt"),
    "writes to the pipe": ("__import__('posix').write(1, b'9' * 99)", "died", "the tool's process sent"),
    "ends the process": ("__import__('posix')._exit(0)", "died", "the tool's process ended (code 0)"),
    "kills its parent": ("import os\n    os.kill(os.getppid(), 9)", "raised", "cannot import|no files|not permitted"),
    "lifts its limits": ("import resource\n    resource.setrlimit(0, (-1, -1))", "raised", "cannot import resource"),
    "takes a long line": ("raise ValueError('a\\n' * 10**6)", "raised", "ValueError: a a a"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM, ids=str)
def test_harm_is_contained(harm):
    body, kind, said = HARM[harm]
    started = time.monotonic()
    # Only what never ends is to meet the limit, also where other work runs beside the tests.
    limits = QUICK if kind == "timeout" else Limits(seconds=5.0)
    with Sandbox(f"def tool():\n    {body}\n\ndef fine():\n    return 1", limits) as box:
        found = box.call("tool", {})
        assert (found.kind, "\n" in found.error) == (kind, False), found
        assert any(part in found.error for part in said.split("|")), found
        assert len(found.error) < 500
        assert box.call("fine", {}).kind == ("died" if kind in ("timeout", "died") else "ok")
    assert time.monotonic() - started < 6


# What the audit hook does not see, or what is reached around it: the kernel's answer.
AROUND = {
    "fork": "import posix; posix.fork()",
    "open": "import posix; posix.open('/etc/passwd', 0)",
    "exec": "import posix; posix.execv('/bin/sh', ['sh'])",
    "kill": "import posix; posix.kill(1, 0)",
    "chdir": "import posix; posix.chdir('/')",
    "stat": "import posix; posix.stat('/etc')",
    "pipe": "import posix; posix.pipe()",
    "uname": "import posix; posix.uname()",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
@pytest.mark.parametrize("way", AROUND, ids=str)
def test_the_kernel_refuses_without_the_hook(way, tmp_path: Path):
    """The jail's own filter, tried without its audit hook, in a process of its own."""
    from hubwright.environments.sandbox import JAIL

    script = tmp_path / "try.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(JAIL.parent)!r})\nimport jail\nassert jail.filter_calls()\n"
        f"try:\n    {AROUND[way]}\nexcept OSError as error:\n    jail.write_frame({{'errno': error.errno}})\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, timeout=20)
    assert done.stdout[4:] == b'{"errno": 1}', done


def test_a_sandbox_leaves_nothing_behind():
    box = Sandbox("def loop():\n    while True: pass", QUICK)
    number = box._process.pid
    assert box.call("loop", {}).kind == "timeout"
    box.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_functions_of_the_users_own_are_called(tmp_path: Path):
    (tmp_path / "my_tools.py").write_text("import pathlib\n\ndef double(x: int) -> int:\n    return 2 * x\n"
                                          "\ndef peek():\n    return pathlib.Path('/etc/passwd').read_text()\n")  # fmt: skip
    with Sandbox("", modules=["my_tools"], paths=[tmp_path]) as box:
        assert box.call("double", {"x": 21}).value == 42
        assert "no files" in box.call("peek", {}).error
    with pytest.raises(DataError, match="cannot be loaded"):
        Sandbox("", modules=["no_such_module_here"])
