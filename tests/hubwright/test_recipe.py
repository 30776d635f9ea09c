"""Recipes: what is accepted, and that every malformed one gives one line with the place and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubwright.hub_sync.errors import UsageError
from hubwright.recipe import load_plan, shipped_recipes

GOOD = """\
name: small
namespace: acme
steps:
  sample:
    uses: fbbench
    with: {source: sample}
    publish: {dataset: fb-sample, tag: v1.0.0}
  tuned:
    uses: sft
    inputs: {model: acme/base@v2, dataset: steps.sample}
    publish: {model: other/tuned}
"""

# (what is put into GOOD: old text -> new text), and what the one line must say.
MALFORMED = {
    "unknown top key": (("namespace: acme", "namespce: acme"), "did you mean 'namespace'?"),
    "shards of a model": (("{model: other/tuned}", "{model: other/tuned, shard_mb: 50}"), "shard_mb is for builders"),
    "unknown step key": (("    uses: sft", "    use: sft"), "use"),
    "unknown kind": (("uses: fbbench", "uses: fbench"), "did you mean 'fbbench'?"),
    "unknown config key": (("{source: sample}", "{sorce: sample}"), "did you mean 'source'?"),
    "wrong type": (("{source: sample}", "{source: [1]}"), "with.source"),
    "duplicate key": (("namespace: acme", "namespace: acme\nnamespace: b"), "appears twice"),
    "anchor": (("namespace: acme", "namespace: &a acme"), "anchors and aliases"),
    "python tag": (("namespace: acme", "namespace: !!python/object/apply:os.system [x]"), "tag"),
    "bad indentation": (("  sample:", "   sample:"), "not valid YAML"),
    "tab": (("  sample:", "\tsample:"), "not valid YAML"),
    "no publish": (("    publish: {dataset: fb-sample, tag: v1.0.0}\n", ""), "'publish' is missing"),
    "two targets": (("{dataset: fb-sample", "{model: m, dataset: fb-sample"), "exactly one of"),
    "wrong target type": (("{dataset: fb-sample, tag", "{model: fb-sample, tag"), "publishes a dataset"),
    "bad repository name": (("{model: other/tuned}", "{model: other/tu ned}"), "not an artifact reference"),
    "revision in a target": (("{model: other/tuned}", "{model: other/tuned@v1}"), "the version is 'tag'"),
    "bad tag": (("v1.0.0", "'v 1'"), "not a valid tag name"),
    "unknown input step": (("steps.sample", "steps.smaple"), "did you mean 'sample'?"),
    "unknown role": (("{model: acme/base@v2,", "{modle: acme/base@v2,"), "did you mean 'model'?"),
    "missing input": (("model: acme/base@v2, ", ""), "needs the input 'model'"),
    "input of another type": (("model: acme/base@v2", "model: steps.sample"), "takes a model"),
    "bad reference": (("acme/base@v2", "acme-base"), "write org/name or org/name@revision"),
    "circle": (("uses: fbbench\n    with: {source: sample}", "uses: lm_eval\n    with: {tasks: [x]}\n    inputs: {model: steps.tuned}"), "circle"),
    "one repository twice": (("other/tuned}", "other/tuned}\n  again:\n    uses: sft\n    inputs: {model: a/b, dataset: steps.sample}\n    publish: {model: other/tuned}"), "both publish to"),
    "step name": (("  sample:", "  Sa mple:"), "step name"),
    "not a mapping": ((GOOD, "- a\n- b\n"), "a recipe is a mapping"),
    "empty": ((GOOD, ""), "a recipe is a mapping"),
    "steps are a number": ((GOOD[GOOD.index("steps:"):], "steps: 5\n"), "steps: it is not a mapping; write `key: value` lines"),
    "card is a number": (("namespace: acme", "namespace: acme\ncard: 5"), "card: it is not a mapping; write `key: value` lines"),
    "no steps": ((GOOD[GOOD.index("steps:"):], "steps: {}\n"), "steps"),
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good(tmp_path):
    plan = load_plan(write(tmp_path, GOOD))
    assert [s.name for s in plan.steps] == ["sample", "tuned"]
    assert plan.steps[0].target.repo_id == "acme/fb-sample"
    assert plan.steps[1].inputs == {"model": plan.steps[1].inputs["model"], "dataset": "sample"}
    assert str(plan.steps[1].inputs["model"]) == "acme/base@v2"


def test_namespace_is_the_recipes_else_the_environments_else_the_tokens_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Any
) -> None:
    path = write(tmp_path, GOOD.replace("namespace: acme\n", ""))
    owner = api.whoami()["name"]
    assert load_plan(path).steps[0].target.repo_id == f"{owner}/fb-sample"
    monkeypatch.setenv("HUBWRIGHT_NAMESPACE", "lab")
    assert [step.target.repo_id for step in load_plan(path).steps] == ["lab/fb-sample", "other/tuned"]
    assert load_plan(path, ["namespace=me"]).steps[0].target.repo_id == "me/fb-sample"
    assert load_plan(write(tmp_path, GOOD)).steps[0].target.repo_id == "acme/fb-sample"
    monkeypatch.setenv("HUBWRIGHT_NAMESPACE", "not a name")
    with pytest.raises(UsageError, match="not a name/fb-sample"):
        load_plan(write(tmp_path, GOOD.replace("namespace: acme\n", "")))


@pytest.mark.parametrize(
    ("token", "message"), [("", "no token: run `hf auth login`"), ("hf_wrong", "user of the token: ")]
)
def test_namespace_without_a_user_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    monkeypatch.setenv("HF_TOKEN", token)
    path = write(tmp_path, GOOD.replace("namespace: acme\n", ""))
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    assert message in str(caught.value) and "--set namespace=NAME" in str(caught.value)
    whole = write(
        tmp_path, GOOD.replace("namespace: acme\n", "").replace("dataset: fb-sample", "dataset: a/fb-sample")
    )
    assert load_plan(whole).steps[0].target.repo_id == "a/fb-sample"  # nobody is asked


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(tmp_path, name):
    (old, new), said = MALFORMED[name]
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        load_plan(write(tmp_path, GOOD.replace(old, new, 1)))
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "r.yaml" in message
    assert caught.value.exit_code == 2


def test_names_the_line(tmp_path):
    text = GOOD.replace("{source: sample}", "\n      sorce: sample")
    with pytest.raises(UsageError, match=r"r\.yaml:7: steps\.sample\.with\.sorce: unknown key"):
        load_plan(write(tmp_path, text))


def test_roles_of_any_number(tmp_path):
    text = """\
name: small
namespace: acme
steps:
  mixed:
    uses: mix
    inputs: {part_a: x/a@v1, part_b: x/b@v1}
    publish: {dataset: mixed}
"""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    assert sorted(load_plan(path).steps[0].inputs) == ["part_a", "part_b"]
    for wrong in ("part_", "prat_b", "part", "part_*", "part_a b"):
        path.write_text(text.replace("part_b", wrong))
        with pytest.raises(UsageError, match=re.escape(f"mix has no input {wrong!r}; ") + ".*part_NAME"):
            load_plan(path)


def test_settings(tmp_path):
    path = write(tmp_path, GOOD)
    plan = load_plan(path, ["namespace=me", "steps.sample.publish.private=true"])
    assert plan.steps[0].target.repo_id == "me/fb-sample"
    assert plan.steps[0].publish.private is True
    for setting, said in {
        "x": "path.to.key=value",
        "name.x=1": "not a mapping",
        "nme=1": "did you mean 'name'?",
    }.items():
        with pytest.raises(UsageError, match=said.replace("?", r"\?")):
            load_plan(path, [setting])


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b"a: [" * 3000, b"a: " + b"x" * (1 << 20)])
def test_hostile_bytes(tmp_path, raw):
    path = tmp_path / "r.yaml"
    path.write_bytes(raw)
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200))
@example("=")
@example("=: 1")
@example("name: =")
def test_any_text_is_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    assert "\n" not in str(caught.value)


def test_shipped_recipes_are_valid():
    found = shipped_recipes()
    assert {"demo", "fbbench"} <= set(found)
    for path in found.values():
        assert load_plan(path, ["namespace=acme"]).name == path.stem


@pytest.mark.parametrize(
    ("temperature", "said"),
    [
        ("{by: task}", "steps.s.with.temperature.values: 'values' is missing"),
        ("hot", r"steps.s.with.temperature: Input should be a valid number.* \(found 'hot'\)"),
    ],
)
def test_load_plan_value_of_several_forms_names_the_file_s_keys(tmp_path, temperature, said):
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nnamespace: me\nsteps:\n  s:\n    uses: answers\n    inputs: {dataset: a/b}\n"
        f"    with: {{temperature: {temperature}}}\n    publish: {{dataset: d}}\n"
    )
    with pytest.raises(UsageError, match=said):
        load_plan(path)
