"""The one place where huggingface_hub's exceptions become our one-line errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ConflictError, HubError, HubwrightError, StorageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine's loopback."""


def endpoint_url() -> str:
    """The hub in use: HF_ENDPOINT as huggingface_hub read it at import, without a trailing slash."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def require_hub() -> None:
    """Ask the hub once, without retries: a wrong HF_ENDPOINT is said in a second, not after five tries."""
    from huggingface_hub.utils import get_session

    with translate_errors("hub"):
        get_session().head(endpoint_url(), timeout=10)


def user_name() -> str:
    """The name of the token's user. Raises HubError without a token, or for one that the hub refuses."""
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise HubError("no token: run `hf auth login`, or set HF_TOKEN")
    with translate_errors("user of the token"):
        return str(HfApi().whoami()["name"])


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn the client's exceptions into one line about `what`, with the remedy."""
    from huggingface_hub import errors as hub
    from huggingface_hub.utils import httpx

    where = endpoint_url()
    try:
        yield
    except HubwrightError:
        raise
    except hub.OfflineModeIsEnabled as error:
        raise HubError(f"{what}: HF_HUB_OFFLINE is set; unset it, it blocks loopback hubs too") from error
    except hub.RevisionNotFoundError as error:
        raise HubError(f"{what}: this revision does not exist on {where}") from error
    except hub.RepositoryNotFoundError as error:
        hint = "" if os.environ.get("HF_TOKEN") else " (it may be private: set HF_TOKEN)"
        raise HubError(f"{what}: not found on {where}{hint}") from error
    except hub.EntryNotFoundError as error:
        raise HubError(f"{what}: file not found on {where}") from error
    except hub.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        message = (error.server_message or str(error)).splitlines()[0]
        if status in (409, 412):
            raise ConflictError(f"{what}: {message}") from error
        if status in (401, 403):
            raise HubError(f"{what}: refused by {where} ({status}: {message}); check HF_TOKEN") from error
        raise HubError(f"{what}: {where} answered {status}: {message}") from error
    except httpx.HTTPError as error:
        raise HubError(
            f"{what}: {where} cannot be reached ({type(error).__name__}); check HF_ENDPOINT, or start one with "
            "`hubwright hub serve`"
        ) from error
    except ConnectionError as error:
        raise HubError(f"{what}: the connection to {where} broke ({error})") from error
    except OSError as error:
        if error.errno in (28, 30, 13, 122):  # ENOSPC, EROFS, EACCES, EDQUOT
            raise StorageError(f"{what}: {error.strerror}: {error.filename or ''}".rstrip(": ")) from error
        raise
