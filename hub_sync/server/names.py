"""What names are allowed: users, repositories, branches, tags, and the paths of files.

Everything a client sends that later becomes a path segment, a ref or a row passes through here first.
"""

import re

from ..text import is_well_formed
from .problems import bad_request, invalid_path

REPO_TYPES = ("model", "dataset", "space")
SPACE_SDKS = ("gradio", "streamlit", "docker", "static")
PATH_MAX_BYTES = 1024
SEGMENT_MAX_BYTES = 255

# The Hub's rule for names; reserved words are the first segments of this server's own routes.
_NAME = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_RESERVED = frozenset({"api", "datasets", "models", "spaces", "resolve", "static", "favicon.ico", "robots.txt"})
_REF_BAD = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(?:/|$)|^@$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text.lower() not in _RESERVED


def check_repo_name(namespace: str, name: str) -> None:
    """Raises Problem 400 where `namespace/name` breaks the Hub's rule."""
    for part in (namespace, name):
        if not isinstance(part, str) or not is_name(part):
            raise bad_request(
                f"Invalid repository name {part!r}: 1 to 96 letters, digits, '-', '_' or '.'; no '--' or '..', "
                "not starting or ending with '-' or '.', not ending in '.git'"
            )
    if namespace.startswith("_"):
        raise bad_request(f"Invalid namespace {namespace!r}: it may not start with '_'")


def check_ref_name(name: object) -> None:
    """Raises Problem 400 where git would refuse the branch or tag name, or where it looks like a commit."""
    if (
        not isinstance(name, str)
        or not 0 < len(name.encode("utf-8", "replace")) <= 200
        or _REF_BAD.search(name)
        or _COMMIT.fullmatch(name)
        or name.startswith("refs/")
        or name == "HEAD"
        or not name.isprintable()
        or not is_well_formed(name)
    ):
        raise bad_request(f"Invalid reference name: {name!r}")


def is_sha256(text: object) -> bool:
    return isinstance(text, str) and bool(_SHA256.fullmatch(text))


def split_path(path: object) -> list[str]:
    """The segments of a file's path in a repository. Raises Problem 422 where it could escape or confuse git."""
    if not isinstance(path, str) or not path:
        raise invalid_path("A file path is missing")
    fault = _path_fault(path)
    if fault:
        raise invalid_path(f"Invalid path {path[:200]!a}: {fault}")
    return path.split("/")


def _path_fault(path: str) -> str | None:
    if not is_well_formed(path):
        return "it is not valid Unicode"
    if len(path.encode()) > PATH_MAX_BYTES:
        return f"longer than {PATH_MAX_BYTES} bytes"
    if any(ord(c) < 32 or ord(c) == 127 for c in path) or "\\" in path:
        return "control characters and backslashes are not allowed"
    for segment in path.split("/"):
        if segment in ("", ".", "..") or len(segment.encode()) > SEGMENT_MAX_BYTES:
            return f"segments must be 1 to {SEGMENT_MAX_BYTES} bytes, not '.' or '..'"
        if _is_dot_git(segment):
            return "'.git' is not allowed"
    return None


# Code points that HFS+ drops when it compares names: '.g\u200cit' would be written into '.git' there.
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def _is_dot_git(segment: str) -> bool:
    """True for every spelling that some file system takes for `.git` (case, trailing dots, git~1, ADS)."""
    plain = segment.translate(_IGNORED).lower().split(":", 1)[0].rstrip(". ")
    return plain in (".git", "git~1")
