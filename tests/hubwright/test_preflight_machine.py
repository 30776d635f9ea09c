"""What a step needs and this machine has not is told by the dry run, and before any step works."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

RECIPE = """\
name: small
namespace: {namespace}
steps:
  drills:
    uses: feedback_drills
    with: {{train_rows: 32, test_rows: 16}}
    publish: {{dataset: drills}}
  tuned:
    uses: {uses}
    inputs: {{{model}dataset: steps.drills}}
    with: {{{settings}}}
    publish: {{model: tuned}}
"""


@pytest.mark.parametrize(
    ("settings", "package", "line"),
    [
        ("report_to: [wandb]", "wandb", "report_to: wandb is not installed: pip install wandb"),
        (
            "trainer_args: {optim: paged_adamw_8bit}",
            "bitsandbytes",
            "trainer_args.optim paged_adamw_8bit: You need to",
        ),
    ],
)
def test_absent_package_is_named_before_any_step_works(
    hubwright_in_process, tmp_path, namespace, settings, package, line
):
    if find_spec(package):
        pytest.skip(f"the refusal is not here: {package} is installed")
    recipe = RECIPE.format(namespace=namespace, uses="pretrain", model="", settings=settings)
    (tmp_path / "small.yaml").write_text(recipe)
    for options in (("--dry-run",), ()):
        run = hubwright_in_process("run", "small.yaml", *options)
        assert run.returncode == 2 and f"step tuned: {line}" in run.stderr, run.stderr
    assert not list((tmp_path / "runs" / "small").glob("*-*"))
    assert hubwright_in_process("status", "small.yaml").returncode == 0


def test_wrong_trainer_argument_has_its_line_in_the_recipe(hubwright_in_process, tmp_path, namespace):
    settings = "trainer_args: {optin: adafactor}"
    recipe = RECIPE.format(namespace=namespace, uses="sft", model="model: org/any, ", settings=settings)
    (tmp_path / "small.yaml").write_text(recipe)
    run = hubwright_in_process("run", "small.yaml", "--dry-run")
    assert run.returncode == 2
    assert "small.yaml:11: steps.tuned.with.trainer_args: optin: SFTConfig has no such argument" in run.stderr
    assert "did you mean 'optim'?" in run.stderr
