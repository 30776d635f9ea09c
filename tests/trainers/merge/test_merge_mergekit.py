"""A mergekit configuration becomes a recipe that says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hubwright.hub_sync.errors import UsageError
from hubwright.recipe import load_plan
from hubwright.trainers.merge.mergekit import recipe_of

TIES = """
models:
  - model: org/Base-7B
  - model: org/Math-7B
    parameters: {density: 0.5, weight: 0.3}
  - model: {model: {path: other/Math-7B, revision: v2}}
    parameters: {weight: [{value: 1.0}]}
merge_method: ties
base_model: org/Base-7B
parameters: {normalize: false, int8_mask: true, lambda: 0.9, density: 0.2}
dtype: float16
"""


def translated(said: str | dict[str, Any]) -> dict[str, Any]:
    text = said if isinstance(said, str) else yaml.safe_dump(said)
    return recipe_of(text, "merge.yml")["steps"]["merged"]


def test_ties() -> None:
    step = translated(TIES)
    assert step["inputs"] == {
        "base": "org/Base-7B", "model_math_7b": "org/Math-7B", "model_math_7b_2": "other/Math-7B@v2",
    }  # fmt: skip
    assert step["with"] == {
        "method": "ties", "normalize": False, "scale": 0.9, "dtype": "float16",
        "models": {"math_7b": {"weight": 0.3, "density": 0.5}, "math_7b_2": {"weight": 1.0, "density": 0.2}},
        "accept": ["rope", "sliding_window", "max_position_embeddings"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"merge_method": "linear", "models": [("o/a", {"weight": 1.0}), ("o/b", {"weight": 0.3})]},
         {"normalize": True, "models": {"a": {"weight": 1.0}, "b": {"weight": 0.3}}}),
        ({"merge_method": "slerp", "base_model": "o/base", "models": [("o/base", {}), ("o/a", {})],
          "parameters": {"t": 0.4}}, {"t": 0.4}),
        ({"merge_method": "dare_ties", "base_model": "o/base", "models": [("o/a", {"weight": 1, "density": 0.5})]},
         {"normalize": False, "rescale": "l1", "models": {"a": {"weight": 1, "density": 0.5}}}),
        ({"merge_method": "breadcrumbs_ties", "base_model": "o/base", "tokenizer_source": "base",
          "models": [("o/a", {"weight": 1, "gamma": 0.02})]},
         {"normalize": False, "vocabulary": "align", "models": {"a": {"weight": 1, "gamma": 0.02}}}),
        ({"merge_method": "model_stock", "base_model": "o/base", "models": [("o/a", {}), ("o/b", {})],
          "dtype": "float32", "out_dtype": "bfloat16"}, {"dtype": "bfloat16"}),
    ],
)  # fmt: skip
def test_what_mergekit_takes_by_default_is_written_out(tmp_path: Path, said: Any, wanted: Any) -> None:
    said = said | {"models": [{"model": name, "parameters": own} for name, own in said["models"]]}
    step = translated(said)
    accept = step["with"].pop("accept")
    assert accept == ["rope", "sliding_window", "max_position_embeddings"]
    assert step["with"] == {"method": said["merge_method"]} | wanted
    assert next(iter(step["inputs"])) == ("model_a" if said["merge_method"] == "linear" else "base")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe_of(yaml.safe_dump(said), "m", "mine")))
    assert load_plan(tmp_path / "r.yaml").steps[0].config.method == said["merge_method"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"merge_method": "della"}, "merge_method: della: not here; there are linear, slerp"),
        ({"slices": [{"sources": []}]}, "slices: layers of several models cannot be stacked here"),
        ({"parameters": {"weight": [0.1, 0.9]}}, "parameters: weight: changes from layer to layer or by tensor"),
        ({"parameters": {"weight": [{"filter": "mlp", "value": 1}, {"value": 0}]}}, "weight: changes from layer"),
        ({"parameters": {"epsilon": 0.1}}, "parameters: epsilon: not known here"),
        ({"parameters": {"sharpness": 0.1}}, "parameters: sharpness: not known here"),
        ({"parameters": {"rescale": True}}, "rescale: only dare rescales here"),
        ({"tokenizer_source": "union"}, "tokenizer: 'union': only the base's can be taken"),
        ({"dtype": "int8"}, "dtype: int8: write one of float32, bfloat16, float16"),
        ({"base_model": "./here"}, "model: ./here: recipes read models from a hub"),
        ({"models": [{"model": "o/a+o/lora"}]}, "in a recipe an adapter is an input model_NAME"),
        ({"models": [{"model": "o/a"}]}, "models: o/a: weight is missing"),
        ({"surprise": 1}, "surprise: not known to mergekit"),
        ({"chat_template": "auto"}, "chat_template: the base's is taken"),
    ],
)
def test_what_cannot_be_translated_is_named(change: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^merge.yml: .*{reason}"):
        translated(yaml.safe_load(TIES) | change)


def test_what_is_no_configuration_is_told() -> None:
    for text, reason in (("a: [", "not valid YAML"), ("- a", "no merge_method"), ("name: x", "no merge_method")):
        with pytest.raises(UsageError, match=f"merge.yml: {reason}"):
            translated(text)
