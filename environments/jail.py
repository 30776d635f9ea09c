"""The child of `sandbox.py`: runs tool code that nobody has read. Needs the standard library alone.

Started as a script. First come limits of memory, processor and files; then, on Linux, a filter of system calls that
leaves the process its memory, its clock and its two pipes; then the tool code. An audit hook refuses the same things
one step earlier, with a message a model can read; it is the only bar where there is no filter.

Frames on both pipes: four bytes of length, big endian, then JSON.
"""

import importlib
import io
import json
import os
import platform
import random
import resource
import struct
import sys

# What tools may import. Loaded before files are closed to them; some load others lazily (strptime, decimal).
MODULES = (
    "_strptime", "base64", "bisect", "calendar", "collections", "copy", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math", "numbers",
    "operator", "random", "re", "statistics", "string", "textwrap", "time", "typing", "unicodedata", "uuid",
)  # fmt: skip
REFUSED = (
    "open", "os.", "socket.", "subprocess.", "shutil.", "ctypes.", "pty.", "fcntl.", "mmap.", "signal.", "glob.",
    "tempfile.", "urllib.", "webbrowser.", "sys.addaudithook", "sys.remote_exec",
)  # fmt: skip
# System calls by number: read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
# rt_sigreturn mremap madvise sched_yield getpid exit exit_group futex clock_gettime clock_nanosleep gettimeofday
# getrandom restart_syscall sigaltstack nanosleep. ARM's were not tried on one.
CALLS = {
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 24, 39, 60, 231, 202, 228, 230, 96, 318, 219, 131, 35),
    ),
    "aarch64": (
        0xC00000B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233, 124, 172, 93, 94, 98, 113, 115, 169, 278,
         128, 132, 101),
    ),
}  # fmt: skip
SAID = 300  # characters of an error


def read_frame() -> dict | None:
    """The next request, or None at the end."""
    head = _read(4)
    return None if head is None else json.loads(_read(struct.unpack(">I", head)[0]) or b"null")


def _read(size: int) -> bytes | None:
    parts = b""
    while len(parts) < size:
        part = os.read(0, size - len(parts))
        if not part:
            return None
        parts += part
    return parts


def write_frame(reply: dict) -> None:
    """Send a reply."""
    body = json.dumps(reply).encode()
    rest = memoryview(struct.pack(">I", len(body)) + body)
    while rest:
        rest = rest[os.write(1, rest) :]


def limit(limits: dict) -> None:
    """Memory, processor, no files, no processes, no core dump."""
    size = limits["memory_mb"] << 20
    for name, value in (
        ("RLIMIT_AS", size), ("RLIMIT_CPU", limits["cpu_seconds"]), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
    ):  # fmt: skip
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            continue  # not every system knows all of them


def filter_calls() -> bool:
    """From here on only `CALLS` are answered, all others with EPERM. False if there is no such filter."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return False
    import ctypes

    class Instruction(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint),
        )  # fmt: skip

    class Program(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))

    audit, numbers = CALLS[platform.machine()]
    load, equal, answer = 0x20, 0x15, 0x06
    # Another architecture's numbers mean other calls: kill. Then one comparison per call that is allowed.
    program = [Instruction(load, 0, 0, 4), Instruction(equal, 1, 0, audit), Instruction(answer, 0, 0, 0x80000000)]
    program.append(Instruction(load, 0, 0, 0))
    program += [Instruction(equal, len(numbers) - n, 0, number) for n, number in enumerate(numbers)]
    program += [Instruction(answer, 0, 0, 0x00050000 | 1), Instruction(answer, 0, 0, 0x7FFF0000)]
    code = (Instruction * len(program))(*program)
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, mode_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return libc.prctl(seccomp, mode_filter, ctypes.byref(Program(len(program), code)), 0, 0) == 0


def refuse(event: str, arguments: tuple) -> None:
    """Audit hook: what tools may not do, before the kernel says it without words."""
    if event == "import":
        raise ImportError(f"tools cannot import {arguments[0]}; they may use {', '.join(MODULES[1:])}")
    if event.startswith(REFUSED):
        raise PermissionError(f"tools have no files, processes or network ({event})")


def say(error: BaseException) -> str:
    """One line, whatever the exception's own __str__ does."""
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = "its message cannot be read"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:SAID]


def answer(namespace: dict, request: dict, most: int) -> dict:
    """The reply to one request: a call of a function, or a look at a variable."""
    name = request["name"]
    try:
        if name.startswith("_") or name not in namespace:
            return {"kind": "unknown", "error": f"there is no function {name}"}
        value = namespace[name](**request["arguments"]) if request["do"] == "call" else namespace[name]
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            return {"kind": "not_json", "error": f"the result of {name} is no JSON: {say(error)}"}
        if len(text) > most:
            return {
                "kind": "too_large",
                "error": f"the result of {name} has {len(text):,} bytes, {most:,} are allowed",
            }
        return {"kind": "ok", "value": text}
    except BaseException as error:  # SystemExit and KeyboardInterrupt are a tool's to raise, and ours to report
        return {"kind": "raised", "error": say(error)}


def main() -> None:
    """Be limited, load the code, answer until the pipe ends."""
    begin = read_frame()
    if begin is None:
        return
    for name in MODULES:
        importlib.import_module(name)
    sys.path[:0] = begin["paths"]
    namespace: dict = {"__name__": "tools", "__builtins__": __builtins__}
    for name in begin["modules"]:
        namespace |= vars(importlib.import_module(name))  # the user's own: trusted until now, limited from now on
    random.seed(begin["seed"])
    sys.stdin = sys.stdout = sys.stderr = io.StringIO()  # what tools print goes nowhere
    sys.setrecursionlimit(1000)
    limit(begin["limits"])
    filtered = filter_calls()
    for name in ("ctypes", "resource", "_ctypes"):
        sys.modules.pop(name, None)
    sys.addaudithook(refuse)
    try:
        exec(compile(begin["code"], "<tools>", "exec"), namespace)  # noqa: S102  what this process is for
    except BaseException as error:
        write_frame({"kind": "raised", "error": say(error), "filtered": filtered})
        return
    write_frame({"kind": "ok", "filtered": filtered})
    while (request := read_frame()) is not None:
        write_frame(answer(namespace, request, begin["limits"]["result_bytes"]) | {"id": request["id"]})
        sys.stdout.seek(0)
        sys.stdout.truncate()


if __name__ == "__main__":
    main()
