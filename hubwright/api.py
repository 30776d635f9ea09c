"""hubwright from Python: what the command line does, and single steps without a recipe.

```python
import hubwright as hw

outcomes = hw.run("recipe.yaml", namespace="me", settings={"steps.tuned.with.max_steps": 20})
str(outcomes["tuned"].ref)  # me/smollm2-drills@<commit>
made = hw.make("feedback_drills", {"train_rows": 100, "test_rows": 10, "languages": ["en"]})
made.data["train"][0], made.report.counts  # a data set, and nothing published
```
"""

from __future__ import annotations

import atexit
import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalog import catalog, code_of, config_class, run_function, spec_of
from .hub_sync.context import Input, Report, StepContext
from .hub_sync.errors import DataError, UsageError, did_you_mean
from .hub_sync.files import write_atomic
from .hub_sync.local_input import local_input
from .hub_sync.refs import ArtifactRef
from .hub_sync.step import StepSpec
from .preflight import refuse
from .recipe import Plan, check_recipe, find_recipe, validate
from .runner import Outcome, default_settings
from .runner import run as run_plan
from .sources import find_recording
from .workdir import difference
from .yaml_source import read_yaml

if TYPE_CHECKING:
    from datasets import DatasetDict

Recipe = str | Path | Mapping[str, Any]


def load_recipe(recipe: Recipe, *, namespace: str | None = None, settings: Mapping[str, Any] | None = None) -> Plan:
    """A checked recipe. Raises UsageError in one line for one that cannot run.

    Args:
        recipe: a file, the name of a shipped recipe, `datasets/org/name@revision` (or models/, spaces/) for the one
            that was published with an artifact, or the recipe itself as a mapping.
        namespace: user or organisation for repositories given without one; None: the recipe's, HUBWRIGHT_NAMESPACE,
            else the user of the token.
        settings: changes by dotted key, as `--set` makes them: {"steps.tuned.with.max_steps": 20}.
    """
    changes = dict(settings or {}) | ({"namespace": namespace} if namespace else {})
    if isinstance(recipe, Mapping):
        path = Path(f"{recipe.get('name', 'recipe')}")
        return check_recipe(path, copy.deepcopy(dict(recipe)), {}, changes.items())
    path = find_recipe(str(recipe))
    return check_recipe(path, *read_yaml(path), changes.items())


def run(
    recipe: Recipe | Plan,
    *,
    namespace: str | None = None,
    settings: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    recording: str | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, Outcome]:
    """Run a recipe: what is published is found, the rest is made and published. Safe to repeat, safe to kill.

    Args:
        recipe: as `load_recipe` takes it, or the plan that it returned.
        namespace: as `load_recipe` takes it.
        settings: as `load_recipe` takes them.
        runs: folder for work in progress.
        recording: folder of recorded requests, or with `replay` a data set that holds one.
        progress: lines about every step on stderr.
        options: `only` (a step's name), `dry_run`, `update`, `fresh`, `keep_work`, `replay`, as on the command line.

    Returns the outcomes by step: `state` ("published", "skipped" for what was published before, "card" if its card
    alone is new, "pending"), `ref` (an ArtifactRef at the commit of the content, None while pending), `tag`,
    `fingerprint`, `seconds`.

    Raises a HubwrightError for what cannot work, before any step does, and at the first step that fails; the steps
    before it stay published. A dry run raises the former too, else its outcomes have an `outlook`.
    """
    if isinstance(recipe, Plan) and (namespace or settings):
        raise UsageError("run: a plan is settled already: give namespace and settings to load_recipe")
    plan = recipe if isinstance(recipe, Plan) else load_recipe(recipe, namespace=namespace, settings=settings)
    known = ("only", "dry_run", "update", "fresh", "keep_work", "replay")
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"run has no option {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    if recording:
        options["recording"] = find_recording(recording, replay=bool(options.get("replay")))
    from .cli.progress import RunView

    with RunView(plan, runs=Path(runs), quiet=not progress) as view:
        outcomes = run_plan(plan, default_settings(plan, runs=Path(runs), **options), view.event)
    refuse({outcome.step: outcome.outlook for outcome in outcomes if outcome.outlook})
    return {outcome.step: outcome for outcome in outcomes}


def steps(kind: str | None = None) -> dict[str, StepSpec]:
    """The steps by the word of `uses:`, of one kind ("builder", "trainer", "eval", "card") or of all."""
    return {name: spec for name, spec in catalog().items() if kind in (None, spec.kind)}


def verify(reference: str | ArtifactRef) -> ArtifactRef:
    """Check a published artifact as `hubwright verify` does, and return its commit.

    Args:
        reference: `datasets/org/name@rev` or `models/org/name@rev`; without the type where one type has the name.

    Raises DataError that names the first check that failed.
    """
    from .verification import find_artifact
    from .verification import verify as check

    commit, checks = check(find_artifact(reference) if isinstance(reference, str) else reference)
    for one in checks:
        if one.ok is False:
            raise DataError(f"{commit}: {one.name}: {one.detail}")
    return commit


@dataclass(frozen=True)
class Made:
    """What a step made.

    Attributes:
        data: a builder's data set, or {config: DatasetDict}; None of other steps.
        folder: files of a trainer or an evaluation.
        report: counts, metrics, tables and card data.
    """

    data: DatasetDict | Mapping[str, DatasetDict] | None
    folder: Path
    report: Report


def make(
    uses: str, settings: Mapping[str, Any] | None = None, *, folder: str | Path | None = None, **inputs: str | Path
) -> Made:
    """Do one step here, without a recipe; nothing is published.

    Args:
        uses: the step, as in a recipe.
        settings: its `with:`.
        folder: for its files, of which `folder/output` is what a recipe would publish; the same call goes on with
            what was killed in it, another one is refused. None: a temporary one, removed when the process ends.
        inputs: role -> folder, or `org/name@revision` of the hub.

    Raises UsageError for settings or inputs that do not fit, or a folder of another call, and what the step raises.
    """
    spec = spec_of(uses)
    local: dict[str, Input] = {}
    for name, source in inputs.items():
        role = spec.role(name)
        if role is None:
            hint = did_you_mean(name, spec.role_names()) if spec.inputs else "; it takes none"
            raise UsageError(f"{uses} has no input {name!r}{hint}")
        local |= local_input(name, source, role.type, folds=role.folds)
    if missing := [n for n, role in spec.inputs.items() if not (n in local or role.optional or n.endswith("*"))]:
        raise UsageError(f"{uses} needs the input {missing[0]!r}")
    config = validate(config_class(spec), dict(settings or {}), Path(uses), {}, ())
    if folder is None:
        folder = tempfile.mkdtemp(prefix="hubwright-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    context = StepContext(uses, Path(folder) / "work", Path(folder) / "output", local)
    shutil.rmtree(context.output, ignore_errors=True)
    for path in (context.workdir, context.output):
        path.mkdir(parents=True, exist_ok=True)
    _same_call(Path(folder), {
        "uses": uses, "version": spec.version, "with": config.model_dump(mode="json"), "code": code_of(uses),
        "inputs": {name: str(one.path) for name, one in local.items()},
    })  # fmt: skip
    with context.resources:
        result = run_function(spec)(config, context)
    return Made(result if spec.kind == "builder" else None, context.output, context.report)


def _same_call(folder: Path, call: dict[str, Any]) -> None:
    """Note what works in a folder. Raises UsageError if it was another call, whose checkpoints would be used."""
    file = folder / "step.json"
    if file.is_file() and (changed := difference(json.loads(file.read_text(encoding="utf-8")), call)):
        raise UsageError(
            f"{folder} holds the work of another call: {changed}; take another folder, or remove this one"
        )
    write_atomic(file, json.dumps(call, sort_keys=True))
