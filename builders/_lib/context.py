"""A step's context outside a recipe: a temporary folder and an empty report."""

import atexit
import shutil
import tempfile
from pathlib import Path

from ...hub_sync.context import StepContext
from ...hub_sync.local_input import local_input


def local_context(**inputs: str | Path) -> StepContext:
    """A context for `build(config, context)`; a build without one makes its own, whose report nobody sees.

        >>> context = local_context(part_a="data/general", part_b="me/calls@v1.0.0")
        >>> splits = build(MixConfig(), context)
        >>> context.report.counts
        {'a_rows': 1000, 'b_rows': 1000}

    The folder, where rows lie that do not fit into memory, is deleted when the process ends.

    Args:
        inputs: role -> folder of a data set, or a Hub data set `org/name@revision`, which is pulled.

    Raises UsageError or HubError for an input that is neither, or cannot be pulled.
    """
    folder = Path(tempfile.mkdtemp(prefix="hubwright-build-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    by_role = {
        name: one for role, source in inputs.items() for name, one in local_input(role, source, "dataset").items()
    }
    return StepContext("build", folder / "work", folder / "output", by_role)
