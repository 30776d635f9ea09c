"""mergekit configurations in forms that people publish: the bytes that mergekit 0.1.5 writes, or one line.

The digests are of mergekit's own results, printed by `mergekit_reference.py` (the command is there); where mergekit sums in
float32 what ours sums in float64 (SLERP, Model Stock), the right values are those of the formula in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from merge_parts import arc, read, stock
from mergekit_reference import digest, save
from safetensors.torch import load_file

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.recipe import load_plan
from hubwright.trainers.merge.mergekit import recipe_of
from hubwright.trainers.merge.step import merge

SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "mergekit"

# Our own, written for these tests.
FORMS = {
    "breadcrumbs_gamma": """
merge_method: breadcrumbs
base_model: t/base
models:
- {model: t/a, parameters: {weight: 1, density: 0.5, gamma: 0.1}}
- {model: t/c, parameters: {weight: -0.5, density: 0.7}}
""",
    "constant_lists": """
merge_method: task_arithmetic
base_model: t/base
models:
- {model: t/a, parameters: {weight: [0.5, 0.5], density: [0.1, 0.9]}}
- {model: t/b, parameters: {weight: [{filter: '*', value: 0.25}]}}
""",
    "dare_rescale_quoted": """
merge_method: dare_linear
base_model: t/base
models:
- {model: t/a, parameters: {weight: 0.5, density: 1}}
- {model: t/b, parameters: {weight: 0.5}}
parameters: {rescale: 'false'}
out_dtype: float16
""",
    "density_on_linear": """
merge_method: linear
models:
- {model: t/a, parameters: {weight: 0.25, density: 0.5}}
- {model: t/b, parameters: {weight: 0.75}}
""",
    "linear_base_added": """
merge_method: linear
base_model: t/zfirst
models:
- model: t/b
- model: t/a
parameters: {weight: 0.5, normalize: 'off'}
dtype: torch.float32
""",
    "padded": """
merge_method: ties
base_model: t/base
models:
- {model: t/pad, parameters: {weight: 1, density: 0.5}}
- {model: t/inv, parameters: {weight: 1, density: 0.5}}
tokenizer: {source: base}
""",
    "per_model_switches": """
merge_method: ties
base_model: t/base
models:
- {model: t/a, parameters: {weight: 1, density: 0.3, normalize: false, lambda: 3}}
- {model: t/b, parameters: {weight: 0.5, density: 0.6}}
""",
    "text_numbers": """
merge_method: ties
base_model: t/base
models:
- {model: t/a, parameters: {weight: '0.5', density: '5e-1'}}
- {model: t/b, parameters: {weight: '1', density: 2}}
parameters: {normalize: 'no', lambda: '0.5'}
""",
    "tied_first_untied_last": """
merge_method: linear
models:
- model: t/base
- model: t/tied
parameters: {weight: 1}
dtype: float32
""",
    "weight_lists_on_model_stock": """
merge_method: model_stock
base_model: t/base
models:
- {model: t/a, parameters: {weight: [0, 0.5, 1]}}
- {model: t/b, parameters: {weight: 2}}
parameters: {normalize: 'true'}
""",
}
WANTED = {  # mergekit's
    "breadcrumbs_gamma": "b4292aac79afd1f5",
    "constant_lists": "b23861b20e449d35",
    "dare_rescale_quoted": "c1dbaf2317a55cc4",
    "density_on_linear": "1645d72f81ae4b45",
    "linear_base_added": "56a27fb2257ee9f5",
    "padded": "71e404e7597e3aaa",
    "per_model_switches": "b24e28f5e1b43ca7",
    "text_numbers": "ee24605f19f5f86e",
    "tied_first_untied_last": "bb460f31cbba9cd1",
}
WANTED_SHARED = {  # mergekit's, of the configurations in ../shared/cases/mergekit
    "y01_dare_ties_density1": "05560bb36397d513",
    "y03_ties_no_dtype": "d9c1877fe20be5e6",
    "y05_linear_base_in_list": "73eca6d9ace73f58",
    "y07_breadcrumbs_ties": "926976e3e9791a1c",
    "y11_linear_base_no_dtype": "56f7c38c7421b9f0",
    "y13_ties_int8_mask_normalize_false": "695017bfa68fc8d2",
    "y17_task_arith_with_density": "67d98ffa89a80047",
    "y19_ties_normalize_per_model_zero_weight": "729d0281ace37853",
    "y27_weight_quoted": "1645d72f81ae4b45",
    "y29_normalize_string": "f2100e1b1769bd41",
    "y33_normalize_per_model_common_normalize_true_ta": "1645d72f81ae4b45",
    "y35_tied_head_vs_none": "4c11ba54e52c625b",
    "y37_padded": "3b1b188206ca35fa",
    "y39_inv_freq": "134f5e33356760a5",
    "z1_normalize_string_false": "384291cb49e4947b",
}
REFUSED_SHARED = {
    "y15_same_model_twice": "models: entry 2: t/a is listed twice",  # mergekit: "Duplicate merge inputs"
    "y21_multi_doc": "2 YAML documents: write one configuration a file",
    "y23_models_plain_strings": "models: entry 1: 't/a': write `model: org/name`",
    "y25_models_mapping": "models: write a list of entries, each with `model: org/name`",
    "y31_tokenizer_string": "tokenizer: 'base': write `tokenizer_source: base`",
    "z3_rescale_on_ties": "parameters: rescale: only dare rescales here",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder)
    return folder


def result(text: str, root: Path, out: Path) -> Path:
    """What `from-mergekit` and then `run` make of a configuration, without a hub between them."""
    out.mkdir()
    (out / "r.yaml").write_text(yaml.safe_dump(recipe_of(text, "m.yml"), sort_keys=False))
    step = load_plan(out / "r.yaml").steps[0]
    inputs = {
        role: Input(ArtifactRef("model", ref.repo_id, "a" * 40), root / ref.repo_id)
        for role, ref in step.inputs.items()
        if isinstance(ref, ArtifactRef)
    }
    merge(step.config, StepContext("m", out / "work", out / "made", inputs))  # type: ignore[arg-type]
    return out / "made"


def shared(name: str) -> str:
    path = SHARED / f"{name}.yml"
    if not path.is_file():
        pytest.skip("the shared configurations are not here")
    return path.read_text()


@pytest.mark.parametrize("name", WANTED)
def test_mergekit_form_gives_mergekits_bytes(tmp_path: Path, root: Path, name: str) -> None:
    assert digest(result(FORMS[name], root, tmp_path / "out")) == WANTED[name]


@pytest.mark.parametrize("name", WANTED_SHARED)
def test_mergekit_published_form_gives_mergekits_bytes(tmp_path: Path, root: Path, name: str) -> None:
    assert digest(result(shared(name), root, tmp_path / "out")) == WANTED_SHARED[name]


def test_mergekit_slerp_of_one_model_beside_its_base_is_the_formula(tmp_path: Path, root: Path) -> None:
    found = read(result(shared("y09_slerp_one_model"), root, tmp_path / "out"))
    a, b = (load_file(root / "t" / name / "model.safetensors") for name in ("base", "a"))
    for name, one in found.items():
        wanted = arc(a[name], b[name], 0.45)
        assert one.dtype == torch.bfloat16
        assert ((one.double() - wanted).abs() <= 2.0**-8 * wanted.abs() + 1e-9).all(), name


def test_mergekit_weight_lists_on_model_stock_are_passed_over(tmp_path: Path, root: Path) -> None:
    found = read(result(FORMS["weight_lists_on_model_stock"], root, tmp_path / "out"))
    base, *models = (load_file(root / "t" / name / "model.safetensors") for name in ("base", "a", "b"))
    for name, one in found.items():
        wanted = stock(base[name], [model[name] for model in models])
        assert torch.allclose(one.double(), wanted, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize(("name", "reason"), REFUSED_SHARED.items())
def test_mergekit_published_form_that_is_not_supported_is_one_line(name: str, reason: str) -> None:
    one_line(shared(name), reason)


def one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        recipe_of(text, "m.yml")
    assert str(error.value).startswith("m.yml: ") and reason in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


TWO = "models: [{model: t/a, parameters: {weight: 1}}, {model: t/b, parameters: {weight: 1}}]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("merge_method: linear", "models: write a list of entries"),
        ("merge_method: linear\nmodels: []", "models: write a list of entries"),
        ("merge_method: linear\nmodels: [null]", "models: entry 1: None: write `model: org/name`"),
        ("merge_method: linear\nmodels: [t/a, t/b]", "models: entry 1: 't/a': write `model: org/name`"),
        ("merge_method: linear\nmodels: {one: {model: t/a}}", "models: write a list of entries"),
        ("merge_method: linear\nmodels: [{model: }]", "models: entry 1: a model without a name"),
        ("merge_method: linear\nmodels: [{model: 7}]", "models: entry 1: a model without a name"),
        ("merge_method: linear\nmodels: [{model: {path: null}}]", "models: entry 1: a model without a name"),
        ("merge_method: linear\nmodels: [{model: t/a, weight: 1}]", "models: entry 1: ['model', 'weight']: write"),
        ("merge_method: linear\nmodels: [{model: 't/a b'}]", "models: entry 1: model:"),
        ("merge_method: linear\nmodels: [{model: t/a, parameters: [weight]}]", "write `name: value` pairs"),
        (f"merge_method: linear\n{TWO}\nparameters: [{{weight: 1}}]", "parameters: write `name: value` pairs"),
        (f"merge_method: linear\n{TWO}\nparameters: {{normalize: maybe}}", "normalize: 'maybe' is not true or false"),
        (f"merge_method: linear\n{TWO}\ntokenizer: base", "tokenizer: 'base': write `tokenizer_source: base`"),
        (f"merge_method: linear\n{TWO}\ntokenizer: {{}}", "tokenizer: 'union': only the base's"),
        (f"merge_method: linear\n{TWO}\ndtype: [float32]", "dtype: ['float32']: write one of"),
        (f"merge_method: linear\n{TWO}\n---\n{TWO}", "2 YAML documents"),
        (f"merge_method: linear\n{TWO}\n7: x", "7: not known to mergekit"),
        (f"merge_method: [linear]\n{TWO}", "merge_method: ['linear']: not here"),
        (f"merge_method: ties\n{TWO}", "base_model is missing: ties counts changes from a base"),
        (f"merge_method: ties\nbase_model: t/base\n{TWO}\nparameters: {{rescale: 'true'}}", "rescale: only dare"),
        (f"merge_method: slerp\nbase_model: t/base\n{TWO}\nparameters: {{t: 0.5}}",
         "models: slerp takes one model beside the base, and 2 are given"),
        ("merge_method: slerp\nbase_model: t/base\nmodels: [{model: t/a}]\nparameters: {t: 1.5}", "t: Input should be"),
        ("merge_method: slerp\nbase_model: t/base\nmodels: [{model: t/a}]\nparameters: {t: [0, 1]}", "t: changes from l"),
        ("merge_method: slerp\nbase_model: t/base\nmodels: [{model: t/a}]\nparameters: {t: [0, a]}", "t: changes from l"),
        ("merge_method: model_stock\nbase_model: t/base\nmodels: [{model: t/a}]",
         "models: model_stock takes 2 or more models beside the base, and 1 are given"),
        ("merge_method: linear\nmodels: [{model: t/a, parameters: {weight: x}}]", "weight: 'x' is not a number"),
        ("merge_method: linear\nmodels: [{model: t/a, parameters: {weight: .nan}}, {model: t/b, parameters: {weight: 1}}]",
         "models.a.weight: Input should be a finite number"),
        ("merge_method: ties\nbase_model: t/base\nmodels: [{model: t/a, parameters: {weight: 1, density: -1}}]",
         "models.a.density: Input should be greater than or equal to 0"),
        ("merge_method: linear\nmodels: [{model: t/a}, {model: t/b, parameters: {weight: 1}}]", "t/a: weight is missing"),
        ("merge_method: linear\nmodels: [{model: t/a, parameters: {weight: 0}}, {model: t/b, parameters: {weight: 0}}]",
         "the weights 0, 0 have the sum 0, by which linear divides"),
        ("", "no merge_method"),
    ],
)  # fmt: skip
def test_mergekit_form_that_cannot_be_merged_is_one_line(text: str, reason: str) -> None:
    one_line(text, reason)


def test_mergekit_name_that_no_recipe_can_have_is_refused() -> None:
    for name in ("My-Merge", "1st", "", "x" * 41):
        with pytest.raises(UsageError, match=r"--name .*: use lower-case letters, digits"):
            recipe_of(f"merge_method: linear\n{TWO}", "m.yml", name)


def test_mergekit_what_is_passed_over_is_told(hubwright: Any, tmp_path: Path) -> None:
    """The recipe goes to stdout, warnings to stderr."""
    (tmp_path / "m.yml").write_text(FORMS["density_on_linear"])
    done = hubwright("from-mergekit", "m.yml", "--name", "mine")
    assert done.returncode == 0, done.stderr
    step = yaml.safe_load(done.stdout)["steps"]["merged"]
    assert step["with"]["accept"] == ["rope", "sliding_window", "max_position_embeddings"]
    assert step["with"]["models"] == {"a": {"weight": 0.25}, "b": {"weight": 0.75}}
    assert "warning: m.yml: models: t/a: density: passed over, as by mergekit: linear does not read it" in done.stderr
    assert (
        "warning: m.yml: mergekit compares no configs: another rope, sliding window or position limit" in done.stderr
    )
