"""The embedded hub: the Hub's HTTP protocol over git objects in SQLite and content-addressed blobs.

`EmbeddedHub` serves from a thread, `start_hub_process` from a process; both are real servers that unmodified
clients (huggingface_hub, datasets, transformers, `hf`) use over HTTP. Needs the extra `hubwright[hub]`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedded import EmbeddedHub, HubProcess, serve, start_hub_process
    from .state import client_env, env_of_root

__all__ = ["EmbeddedHub", "HubProcess", "client_env", "env_of_root", "serve", "start_hub_process"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that importing the package costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(".state" if "env" in name else ".embedded", __name__), name)
