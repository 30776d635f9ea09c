"""What an unmodified client needs in its environment to use a hub: nothing else has to change.

HF_ENDPOINT is read when huggingface_hub is imported, so the variables must be set before the client starts.
"""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from pathlib import Path

from ..hub import LOOPBACK
from .state import HubState, open_hub, read_token

DEFAULT_PORT = 8741


def client_env(hub: HubState, endpoint: str, token: str) -> dict[str, str]:
    """The variables by name. The client's caches lie below the hub's root, one folder per hub id: a wiped hub on the
    same port must not meet the caches of its predecessor."""
    home = hub.root.resolve() / "client" / hub.hub_id
    no_proxy = ",".join(dict.fromkeys([*filter(None, os.environ.get("NO_PROXY", "").split(",")), *LOOPBACK]))
    return {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_XET_CACHE": str(home / "xet"),
        # On loopback, plain LFS is as fast as Xet and has fewer parts. Without this variable Xet works too.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_XET_TELEMETRY_ENABLED": "0",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def env_of_root(root: Path, port: int, host: str = "127.0.0.1") -> dict[str, str]:
    """`client_env` of a root, served or not; an absent root is created, with its token."""
    with closing(open_hub(root)) as hub:
        return client_env(hub, f"http://{host}:{port}", read_token(root))


def export_lines(env: dict[str, str]) -> str:
    """`export NAME=value` lines for a POSIX shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
