"""A hub in this process for the tests of its own code, besides the session's hub of tests/conftest.py."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hubwright.hub_sync.server import EmbeddedHub

if TYPE_CHECKING:  # importing it would fix HF_ENDPOINT before tests/conftest.py sets it
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """A hub that splits LFS uploads into parts of 4 MiB."""
    with EmbeddedHub(tmp_path_factory.mktemp("hub"), multipart_bytes=4 << 20) as hub:
        yield hub


@pytest.fixture(scope="session")
def admin(server: EmbeddedHub) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=server.endpoint, token=server.token)


@pytest.fixture
def repo(admin: HfApi) -> str:
    """A fresh public model repository."""
    return admin.create_repo(f"acme/repo{next(_numbers)}").repo_id


@pytest.fixture
def name() -> str:
    """A name no other test uses."""
    return f"name{next(_numbers)}"


@pytest.fixture
def user(server: EmbeddedHub) -> Callable[..., HfApi]:
    """Make an ordinary user and return its client."""
    from huggingface_hub import HfApi

    def make(role: str = "write") -> HfApi:
        return HfApi(endpoint=server.endpoint, token=server.create_user(f"user{next(_numbers)}", role))

    return make


@pytest.fixture
def http(server: EmbeddedHub) -> Iterator[httpx.Client]:
    """Raw HTTP with the administrator's token; the path is sent as it is given."""
    from huggingface_hub.utils import httpx

    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.endpoint, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def anonymous(server: EmbeddedHub) -> Iterator[httpx.Client]:
    from huggingface_hub.utils import httpx

    with httpx.Client(base_url=server.endpoint, trust_env=False) as client:
        yield client


@pytest.fixture
def run_python(server: EmbeddedHub, tmp_path: Path) -> Callable[..., str]:
    """Run code in a process whose environment knows nothing but HF_ENDPOINT, a token and a cache; return its stdout."""

    def run(code: str, *, xet: bool = False, token: str | None = None, timeout: float = 120) -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        env |= {
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": server.token if token is None else token,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
        }
        if not xet:
            env["HF_HUB_DISABLE_XET"] = "1"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run
