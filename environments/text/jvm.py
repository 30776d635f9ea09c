"""The Java processes of the games that need one: a single one per worker, which ends with it."""

import importlib
import os
import shutil
from functools import cache
from typing import Any

from ...hub_sync.errors import UsageError
from .interface import TextGame

# The heap is capped, and one thread collects it: several workers share a machine.
JAVA = "-Xmx1g -XX:+UseSerialGC"


class JavaGame(TextGame):
    """A game on a Java engine, whose expert follows the solution that the engine gives."""

    expert_anywhere = False

    @classmethod
    def require(cls) -> None:
        super().require()
        if shutil.which("java") is None:
            raise UsageError(
                f"game {cls.name}: no 'java' on the PATH; install a Java runtime, 8 or newer (Debian: apt-get install "
                "default-jre-headless)"
            )


@cache
def gateway(module: str, name: str) -> Any:
    """The package's own environment, made once in a process; `gateway(...)._gateway.jvm` makes the others."""
    os.environ.setdefault("JAVA_TOOL_OPTIONS", JAVA)
    return getattr(importlib.import_module(module), name)()
