"""Steps of other packages, offered by entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubwright import catalog
from hubwright.hub_sync.errors import UsageError

MODULE = """
from hubwright.hub_sync.step import StepSpec
STEPS = {"squares": StepSpec("builder", "squares_steps:Config", "squares_steps:build", "dataset", "squares")}
TAKEN = {"sft": STEPS["squares"]}
LIST = list(STEPS)
def __getattr__(name):
    raise ValueError("broken") if name == "BROKEN" else AttributeError(name)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Makes a package installed that offers `squares_steps:NAME`, as pip would leave it."""

    def put(name: str) -> None:
        (tmp_path / "squares_steps.py").write_text(MODULE)
        folder = tmp_path / "squares-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: squares\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[hubwright.steps]\nsquares = squares_steps:{name}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    catalog.catalog.cache_clear()
    yield put
    catalog.catalog.cache_clear()
    sys.modules.pop("squares_steps", None)


def test_catalog_installed_package_its_steps_are_known(install) -> None:
    install("STEPS")
    assert catalog.spec_of("squares").help == "squares" and "sft" in catalog.catalog()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TAKEN", "entry point squares_steps:TAKEN of hubwright.steps: 'sft' is the name of another step"),
        ("LIST", "entry point squares_steps:LIST of hubwright.steps is not a dict of StepSpec"),
        ("BROKEN", "entry point squares_steps:BROKEN of hubwright.steps cannot be loaded: broken"),
        ("NONE", "entry point squares_steps:NONE of hubwright.steps cannot be loaded: "),
    ],
)
def test_catalog_entry_point_that_offers_something_else_is_refused(install, name: str, reason: str) -> None:
    install(name)
    with pytest.raises(UsageError, match=f"^{reason}"):
        catalog.catalog()


@pytest.mark.parametrize(
    ("uses", "reason"),
    [
        ("nowhere.steps:squares", "'nowhere.steps:squares': there is no module nowhere: install its package, or put its folder"),
        ("squares_steps:sqares", r"squares_steps has no StepSpec called 'sqares'; did you mean 'squares'\?"),
        ("squares_steps:LIST", "squares_steps has no StepSpec called 'LIST'"),
        ("squares_steps:BROKEN", "squares_steps has no StepSpec called 'BROKEN'"),
        ("broken_steps:squares", "broken_steps cannot be imported: No module named 'absent_library'"),
        ("raising_steps:squares", "raising_steps cannot be imported: raised at import"),
        ("os:path", "os has no StepSpec called 'path'"),
    ],
)  # fmt: skip
def test_step_of_a_module_that_is_none_is_refused_in_one_line(install, tmp_path: Path, uses: str, reason: str) -> None:
    install("STEPS")
    (tmp_path / "broken_steps.py").write_text("import absent_library\n")
    (tmp_path / "raising_steps.py").write_text("raise RuntimeError('raised at import')\n")
    with pytest.raises(UsageError, match=reason) as caught:
        catalog.spec_of(uses)
    assert "\n" not in str(caught.value)


def test_step_of_a_module_is_known_by_its_name_and_by_its_code(install, tmp_path: Path) -> None:
    install("NONE_OF_THEM")
    assert catalog.spec_of("squares_steps:squares").help == "squares"
    before = catalog.code_of("squares_steps:squares")
    assert before and before["name"] == "squares_steps" and before["bytes"] == len(MODULE)
    (tmp_path / "squares_steps.py").write_text(f"{MODULE}\n# another version\n")
    assert catalog.code_of("squares_steps:squares")["sha256"] != before["sha256"]
    assert catalog.code_of("sft") is None
