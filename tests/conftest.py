"""One embedded hub for each process of tests, in a process of its own, reached by unmodified clients over HTTP.

huggingface_hub reads HF_ENDPOINT at import, so the hub starts and the environment is set before any test module loads.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import loopback_guard
import pytest
from command_line import run_in_process
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

_session: dict = {}

# The same examples on every run; `make explore` draws new ones. No example fails for being slow.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HUBWRIGHT_HYPOTHESIS", "fixed"))

pytest_plugins = ["skip_list"]


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        return  # the tests run in workers, each of which comes here
    assert "huggingface_hub" not in sys.modules, "imported before HF_ENDPOINT was set"
    from hubwright.hub_sync.server.embedded import start_hub_process

    folder = Path(tempfile.mkdtemp(prefix="hubwright-tests-"))
    hub = start_hub_process(folder / "hub", 0)
    os.environ.update(hub.env)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _session.update(hub=hub, folder=folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _session:
        _session["hub"].stop()
        shutil.rmtree(_session["folder"], ignore_errors=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported so far stays, so no collection looks at it again: each training makes one of everything."""
    gc.freeze()


@pytest.fixture(autouse=True)
def loopback_only() -> Iterator[None]:
    """Whoever swallows the hook's error fails all the same."""
    loopback_guard.strayed.clear()
    yield
    assert not loopback_guard.strayed, f"connected beyond the loopback: {', '.join(loopback_guard.strayed)}"


@pytest.fixture(scope="session")
def hub():
    """The running hub: `endpoint`, `token`, `env`."""
    return _session["hub"]


@pytest.fixture
def api(hub):
    """An HfApi of the hub's own user."""
    from huggingface_hub import HfApi

    return HfApi()


_numbers = itertools.count()


@pytest.fixture
def namespace() -> str:
    """An organisation name no other test uses."""
    return f"org{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def hubwright(hub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the `hubwright` command in a process of its own, in `tmp_path`."""

    def call(*arguments: str, env: dict[str, str] | None = None, timeout: float = 240) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "hubwright", *arguments],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return call


@pytest.fixture
def hubwright_in_process(hub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the `hubwright` command in this process, in `tmp_path`: what needs no process of its own is imported once."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return run_in_process(arguments, tmp_path)

    return call


@pytest.fixture
def shared_data() -> Path:
    """The folder of public raw data; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data are not here")
    return SHARED_DATA


@pytest.fixture
def quiet_progress() -> Iterator[None]:
    """No progress bars of huggingface_hub in the test's output."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    yield
    enable_progress_bars()
