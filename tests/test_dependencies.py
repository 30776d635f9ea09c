"""No GPL, LGPL or AGPL in the dependency tree, but for the one exception docs/dependencies.md names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

EXCEPTIONS = {"chardet"}  # through lm-eval; see docs/dependencies.md
COPYLEFT = re.compile(r"\b(A|L)?GPL|GNU (Affero |Lesser )?General Public", re.IGNORECASE)


def dependency_tree(extras: set[str]) -> set[str]:
    """Names of everything installed that hubwright with these extras pulls in."""
    seen: set[str] = set()
    todo = [("hubwright", frozenset(extras))]
    while todo:
        name, wanted = todo.pop()
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen and not wanted:
            continue
        seen.add(key)
        for line in requires:
            need = Requirement(line)
            environments = [{"extra": e} for e in (wanted or {""})]
            if need.marker is None or any(need.marker.evaluate(e) for e in environments):
                todo.append((need.name, frozenset(need.extras)))
    return seen


def test_licences():
    tree = dependency_tree({"train", "eval", "hub", "llm", "games", "vision"})
    assert {"torch", "lm-eval", "starlette", "trl", "xllamacpp", "gymnasium", "scienceworld", "imagehash"} <= tree
    run = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format=json", "--from=all"],
        capture_output=True,
        text=True,
        check=True,
    )
    copyleft = set()
    for package in json.loads(run.stdout):
        name = re.sub(r"[-_.]+", "-", package["Name"]).lower()
        # Some packages put whole licence texts of bundled, more freely licensed parts here; an id is short.
        stated = " ".join(str(v) for k, v in package.items() if k.startswith("License") and len(str(v)) < 200)
        if name in tree and COPYLEFT.search(stated):
            copyleft.add(name)
    assert copyleft <= EXCEPTIONS, f"copyleft in the tree: {sorted(copyleft - EXCEPTIONS)}"
