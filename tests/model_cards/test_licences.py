from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.model_cards.licences import ATTRIBUTION, PUBLIC_DOMAIN, UNSTATED, Right, decide, of_inputs

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
    rights = of_inputs({n: tmp_path / n for n in "abcde"})
    assert [rights[n].licence for n in "abcde"] == ["mit", UNSTATED, UNSTATED, "other", UNSTATED]
