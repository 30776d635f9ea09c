"""Matching of `.gitattributes` and `.gitignore` lines, as far as a hub needs it."""

import fnmatch
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# What a new repository stores outside git from the start: formats that are binary and do not diff.
DEFAULT_GITATTRIBUTES = (Path(__file__).parent / "gitattributes.txt").read_text()


class Glob:
    """Git's glob: `*` and `?` stay inside a segment, `**` crosses them; without a slash any depth matches.

    Each segment is matched by `fnmatch`, whose regular expressions do not backtrack over stars: a pattern sent
    by a client cannot hold the process.
    """

    def __init__(self, glob: str) -> None:
        # `*.ext` is nearly every line there is, and every file of an upload meets every line.
        self._suffix = glob[1:] if re.fullmatch(r"\*[A-Za-z0-9._-]+", glob) else None
        anchored = "/" in glob.rstrip("/")
        parts = [part for part in glob.split("/") if part]
        self._parts: list[re.Pattern[str] | None] = [] if anchored else [None]
        for part in parts:
            if part != "**":
                self._parts.append(re.compile(fnmatch.translate(re.sub(r"\\(.)", r"[\1]", part))))
            elif not self._parts or self._parts[-1] is not None:
                self._parts.append(None)

    def matches(self, segments: list[str]) -> bool:
        """True where the glob matches the whole path, given as its segments. A final `**` needs one segment."""
        if self._suffix is not None:
            return segments[-1].endswith(self._suffix)
        reached = {0}  # how many segments the parts so far can have consumed
        for number, part in enumerate(self._parts):
            if part is None:
                least = min(reached) + (number == len(self._parts) - 1)
                reached = set(range(least, len(segments) + 1))
            else:
                reached = {n + 1 for n in reached if n < len(segments) and part.match(segments[n])}
            if not reached:
                return False
        return len(segments) in reached


_compile = lru_cache(maxsize=4096)(Glob)


@dataclass(frozen=True)
class _Rule:
    glob: Glob
    negated: bool
    folders_only: bool


def parse_ignore(text: str) -> list[_Rule]:
    """The rules of a .gitignore file, in order."""
    rules = []
    for line in text.splitlines()[:10_000]:
        glob = line.rstrip()
        if not glob or glob.startswith("#") or len(glob) > 1024:
            continue
        negated = glob.startswith("!")
        glob = glob.removeprefix("!").removeprefix("\\")
        if glob.strip("/"):
            rules.append(_Rule(_compile(glob), negated, glob.endswith("/")))
    return rules


def is_ignored(rules: list[_Rule], path: str) -> bool:
    """True where a .gitignore with these rules leaves the file out. The last matching rule wins."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        acting = [rule for rule in rules if not (rule.folders_only and depth == len(parts))]
        last = next((rule for rule in reversed(acting) if rule.glob.matches(parts[:depth])), None)
        if last and not last.negated:
            return True  # what lies below an ignored folder cannot be brought back
    return False


@lru_cache(maxsize=64)
def parse_lfs_rules(text: str) -> list[tuple[Glob, bool]]:
    """(pattern, kept in LFS?) for every line of a .gitattributes file that says something about `filter`."""
    rules = []
    for line in text.splitlines()[:10_000]:
        words = line.split()
        if len(words) < 2 or words[0].startswith("#") or len(words[0]) > 1024:
            continue
        for word in words[1:]:
            if word == "filter=lfs":
                rules.append((_compile(words[0]), True))
            elif word in ("-filter", "!filter") or word.startswith("filter="):
                rules.append((_compile(words[0]), False))
    return rules


def is_lfs(rules: list[tuple[Glob, bool]], path: str) -> bool:
    """True where the last rule that matches `path` keeps it in LFS."""
    segments = path.split("/")
    return next((lfs for glob, lfs in reversed(rules) if glob.matches(segments)), False)
