"""Half a surrogate pair: what the ECMAScript standard makes of it, and that no file encodes foreign text by itself."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.hub_sync.files import canonical_json, write_atomic
from hubwright.hub_sync.text import is_well_formed, utf8, well_formed

PACKAGE = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "formed"),
    [  # the examples of String.prototype.toWellFormed
        ("ab\ud800", "ab\ufffd"),
        ("ab\ud800c", "ab\ufffdc"),
        ("\udfffab", "\ufffdab"),
        ("c\udfffab", "c\ufffdab"),
        ("abc", "abc"),
        ("ab\U0001f604c", "ab\U0001f604c"),
        ("ab\ud83d\ude04c", "ab\U0001f604c"),  # one character there
        ("\ude04\ud83d", "\ufffd\ufffd"),
    ],
)
def test_well_formed_text_is_ecmascripts(text: str, formed: str) -> None:
    assert well_formed(text) == formed
    assert is_well_formed(text) == (text.isascii() or text == "ab\U0001f604c")
    assert well_formed({text: [text, (1, None, text)]}) == {formed: [formed, (1, None, formed)]}


@given(st.text())
def test_utf8_of_well_formed_text_is_pythons(text: str) -> None:
    assert utf8(text) == text.encode() and well_formed(text) == text


@given(st.text(st.characters(categories=["Cs", "Lu", "So"])))
def test_utf8_of_any_text_is_told_apart_and_well_formed_is_stored(text: str) -> None:
    assert utf8(text).decode("utf-8", "surrogatepass") == text
    assert is_well_formed(well_formed(text)) and json.loads(canonical_json([text]).decode("utf-8", "surrogatepass"))


def test_write_atomic_half_a_pair_gives_a_utf8_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "x\ud800")
    assert (tmp_path / "a").read_text("utf-8") == "x\ufffd"


# Calls of `.encode()` without a word for half a pair: what they encode is ours (hex digits, JSON in ASCII).
OURS = {
    "inference/shards.py": 2,
    "trainers/merge/sparsify.py": 1,
    "trainers/merge/writer.py": 2,
    "environments/jail.py": 1,
    "environments/sandbox.py": 1,
}


def bare_encodes(path: Path) -> int:
    calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
    return sum(
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "encode"
        and (not call.args or (len(call.args) == 1 and ast.unparse(call.args[0]) in ("'utf-8'", "'utf8'")))
        and not call.keywords
        for call in calls
    )


@pytest.mark.parametrize("package", ["builders", "evals", "inference", "environments", "trainers", "model_cards"])
def test_encode_of_foreign_text_is_in_one_place(package: str) -> None:
    for path in sorted((PACKAGE / package).rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        assert bare_encodes(path) <= OURS.get(file, 0), f"{file}: use hub_sync.text.utf8"


def test_ids_of_foreign_text_are_those_of_before() -> None:
    from hubwright.builders.corpus.build import document_id
    from hubwright.evals.fbbench.samples import sample_id

    assert document_id("é") == hashlib.sha256("é".encode()).hexdigest()[:16]
    assert sample_id("é") == "fb-" + hashlib.sha1("é".encode(), usedforsecurity=False).hexdigest()[:12]
    assert len(document_id("\ud800")) == 16 and sample_id("\ud800") != sample_id("\ud801")
