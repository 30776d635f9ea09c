from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hubwright.builders.corpus import CorpusConfig
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.licence_ids import LICENCE_IDS, licence_id
from hubwright.model_cards.licences import ATTRIBUTION, PUBLIC_DOMAIN, UNSTATED, Right, decide, of_card
from hubwright.recipe import Publish

RESTRICTING = ["cc-by-sa-4.0", "cc-by-nc-4.0", "gemma", "llama3.1", "gpl-3.0"]
ANY = st.sampled_from([*sorted(ATTRIBUTION), *sorted(PUBLIC_DOMAIN), *RESTRICTING])


def test_main_input_gives_the_licence():
    rights = {"dataset": Right("cc-by-4.0"), "model": Right("apache-2.0")}
    assert decide("s", rights)["id"] == "apache-2.0"
    assert [link["from"] for link in decide("s", rights)["chain"]] == ["dataset", "model"]


def test_restriction_is_inherited_and_cannot_be_dropped():
    rights = {"dataset": Right("cc-by-sa-4.0"), "model": Right("apache-2.0")}
    assert decide("s", rights)["id"] == "cc-by-sa-4.0"
    with pytest.raises(UsageError, match=r"'mit' conflicts .*dataset is cc-by-sa-4\.0"):
        decide("s", rights, declared="mit")


def test_conflict_shows_the_chain():
    with pytest.raises(DataError, match=r"conflict.*dataset is cc-by-nc-4\.0, model is gemma"):
        decide("s", {"dataset": Right("cc-by-nc-4.0"), "model": Right("gemma")})


def test_no_derivatives():
    with pytest.raises(DataError, match="no derivatives"):
        decide("s", {"dataset": Right("cc-by-nd-4.0")})


def test_unstated_needs_a_reason_or_privacy():
    rights = {"dataset": Right(UNSTATED)}
    with pytest.raises(DataError, match="dataset states no licence"):
        decide("s", rights)
    assert decide("s", rights, private=True)["id"] == "other"
    assert decide("s", rights, accepted="a hub on this machine")["accepted"] == "a hub on this machine"
    with pytest.raises(DataError, match="source states no licence"):
        decide("s", {}, own="other", own_name=UNSTATED)


@given(st.dictionaries(st.sampled_from(["model", "dataset", "result"]), ANY, min_size=1))
def test_never_laxer_than_an_input(licences):
    rights = {role: Right(licence) for role, licence in licences.items()}
    restricting = {v for v in licences.values() if v in RESTRICTING}
    if len(restricting) > 1:
        with pytest.raises(DataError):
            decide("s", rights)
    else:
        found = decide("s", rights)["id"]
        assert found in licences.values()
        assert not restricting or found in restricting


def test_reads_cards(tmp_path):
    for name, header in {
        "a": "license: mit",
        "b": "license: other\nlicense_name: none-stated-by-upstream",
        "c": "tags: [x]",
        "d": "license: other\nlicense_name: gemma-terms",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\n{header}\n---\n# t\n")
    (tmp_path / "e").mkdir()
    assert [of_card(tmp_path / n).licence for n in "abcde"] == ["mit", UNSTATED, UNSTATED, "other", UNSTATED]


def card_with(folder, content: bytes):
    (folder / "README.md").write_bytes(content)
    return of_card(folder, "org/name")


@pytest.mark.parametrize(
    ("written", "spdx"),
    [
        ("MIT", "mit"), ("The MIT License", "mit"), ("Apache 2.0", "apache-2.0"), ("Apache-2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"), ("BSD 3-Clause", "bsd-3-clause"), ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0"), ("GPL-3.0-only", "gpl-3.0"), ("GPLv3", "gpl-3.0"), ("CC0", "cc0-1.0"),
    ],
)  # fmt: skip
def test_of_card_with_a_licence_as_people_write_it_gives_the_hub_id(tmp_path, written, spdx):
    assert card_with(tmp_path, f"---\nlicense: {written}\n---\n".encode()).licence == spdx


def test_licence_id_of_every_hub_id_is_itself_in_any_letters():
    for one in LICENCE_IDS:
        assert licence_id(one) == licence_id(one.upper()) == one


def test_licence_id_of_an_unknown_licence_is_none_and_the_card_says_other(tmp_path):
    for text in ("proprietary", "Apache", "cc-by", "MIT with Commons Clause", "do what you want"):
        assert licence_id(text) is None
        right = card_with(tmp_path, f"---\nlicense: {text}\n---\n".encode())
        assert (right.licence, right.name) == ("other", text)


BROKEN = {
    "no YAML": (b"---\nlicense: [mit\n---\n", "cannot be read"),
    "levels": (b"---\nx: " + b"[" * 100_000 + b"\n---\n", "nested"),
    "several licences": (b"---\nlicense: [mit, gpl-3.0]\n---\n", r"names 2 licences \(mit, gpl-3.0\)"),
    "a list for a name": (b"---\nlicense: other\nlicense_name: [a, b]\n---\n", "is not text"),
    "a number": (b"---\nlicense: 2.0\n---\n", "is not text"),
    "a tag": (b"---\nlicense: !!bool maybe\n---\n", "cannot be read"),
    "Latin-1": ("---\nlicense: mit # é\n---\n".encode("latin-1"), "not UTF-8"),
    "a scalar": (b"---\njust text\n---\n", "mapping"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_decide_with_an_unreadable_card_names_the_input_in_one_line(tmp_path, name):
    content, reason = BROKEN[name]
    right = card_with(tmp_path, content)
    with pytest.raises(DataError, match=f"step s: model org/name states no licence.*{reason}") as caught:
        decide("s", {"model": right})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert decide("s", {"model": right}, private=True)["id"] == "other"


def test_of_card_reads_a_bom_crlf_and_lists_of_one(tmp_path):
    assert card_with(tmp_path, b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n# T\r\n").licence == "mit"
    right = card_with(tmp_path, b"---\nlicense: [other]\nlicense_name: [gemma-terms]\n---\n")
    assert (right.licence, right.name) == ("other", "gemma-terms")


def test_recipe_and_builder_fields_hold_the_licence_id_and_refuse_others():
    source = {"source": "a.json", "format": "json", "name": "a", "license": "mit"}
    assert Publish(model="x", license="Apache 2.0").license == "apache-2.0"
    assert CorpusConfig(sources=[source], license="CC BY 4.0").license == "cc-by-4.0"
    with pytest.raises(
        ValidationError, match=r"'apache-2\.00' is not a licence id of the Hub; did you mean 'apache-2\.0'"
    ):
        Publish(model="x", license="apache-2.00")
    with pytest.raises(ValidationError, match="'my own' is not a licence id of the Hub; write 'other'"):
        CorpusConfig(sources=[source], license="my own")


@pytest.mark.parametrize("text", ["unknown", "Unknown", "UNKNOWN", "none", "N/A", "UNLICENSED", "''", "Not specified"])
def test_of_card_with_a_word_for_no_licence_is_unstated(tmp_path, text):
    assert card_with(tmp_path, f"---\nlicense: {text}\n---\n".encode()).licence == UNSTATED
