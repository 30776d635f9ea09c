"""Run a recipe: resolve inputs to commits, skip what is published, do the rest, publish, lock.

A step goes through these states, each proven by a file or a commit and never by a folder's name:

    nothing -> working (runs/NAME/STEP-FINGERPRINT/work) -> made (done.json with a manifest) -> published (commit)

Killed anywhere, the same command continues: a published step is found by its fingerprint, a made one is published
from its folder after its hashes were checked, a working one gets its work folder back.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import workdir
from .catalog import run_function
from .hub_sync import provenance
from .hub_sync.adapters import adapter_base
from .hub_sync.context import Input, StepContext
from .hub_sync.errors import DataError, HubError, HubwrightError, UsageError
from .hub_sync.files import exclusive_lock, list_files, manifest, write_atomic
from .hub_sync.hub import endpoint_url, require_hub, translate_errors
from .hub_sync.lock import RecipeLock
from .hub_sync.publish import find_published, publish
from .hub_sync.pull import pull, same_model
from .hub_sync.refs import ArtifactRef
from .preflight import CARD, check_licences, step_rules
from .recipe import Plan, PlannedStep
from .sources import resolve_sources

logger = logging.getLogger("hubwright")

Event = Callable[[str, str, dict[str, Any]], None]
"""Called with (step name, state, details); states: input, run, skip, made, published."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `state` is "published", "skipped" or "pending"; `ref` is None while pending."""

    step: str
    state: str
    fingerprint: str | None
    ref: ArtifactRef | None
    tag: str | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        runs: folder for work in progress; `runs/NAME/` is this recipe's.
        lock_path: the recipe.lock.
        only: run just this step; what it needs must be published already.
        update: read moving references again instead of at the locked commits.
        dry_run: resolve and report, run nothing.
        fresh: begin anew where a step has unfinished work with other settings, which is set aside.
        traffic: folder of recorded requests and answers; None: `runs/NAME/traffic`.
        replay: answer every request from the recorded traffic, asking no model.
    """

    runs: Path
    lock_path: Path
    only: str | None = None
    update: bool = False
    dry_run: bool = False
    fresh: bool = False
    traffic: Path | None = None
    replay: bool = False


def default_settings(plan: Plan, **changes: Any) -> Settings:
    """The lock beside the recipe (in the current folder for a shipped one), work below ./runs."""
    from .recipe import shipped_recipes

    shipped = plan.path.resolve() in {p.resolve() for p in shipped_recipes().values()}
    folder = Path.cwd() if shipped else plan.path.parent
    return replace(Settings(Path("runs"), folder / f"{plan.path.stem}.lock"), **changes)


def run(plan: Plan, settings: Settings, event: Event = lambda *_: None) -> list[Outcome]:
    """Run every step of a checked recipe in order. Raises one HubwrightError at the first step that fails."""
    if settings.only and settings.only not in {s.name for s in plan.steps}:
        raise UsageError(f"--only {settings.only!r}: the recipe has no such step")
    require_hub()
    base = settings.runs / plan.name
    # Looking writes nothing, so it needs no lock and works beside a run.
    holding = nullcontext() if settings.dry_run else exclusive_lock(base / ".lock", f"recipe {plan.name} in {base}")
    with holding, ExitStack() as resources:
        lock = RecipeLock(settings.lock_path, writable=not settings.dry_run)
        outcomes: dict[str, Outcome] = {}
        checked = False

        def before_work(first: PlannedStep) -> None:
            nonlocal checked
            if not checked:
                left = plan.steps[plan.steps.index(first) :]
                commits = {name: outcome.ref for name, outcome in outcomes.items()}
                to_run = [step for step in left if settings.only in (None, step.name)]
                check_licences(to_run, commits, lambda ref: _at_commit(ref, lock, settings.update))
            checked = True

        for step in plan.steps:
            wanted = settings.only in (None, step.name) and not settings.dry_run
            outcomes[step.name] = _run_step(
                step, plan, settings, lock, outcomes, base, wanted, event, resources, before_work
            )
        return list(outcomes.values())


def _run_step(
    step: PlannedStep,
    plan: Plan,
    settings: Settings,
    lock: RecipeLock,
    outcomes: dict[str, Outcome],
    base: Path,
    wanted: bool,
    event: Event,
    resources: ExitStack,
    before_work: Callable[[PlannedStep], None],
) -> Outcome:
    started = time.monotonic()
    inputs: dict[str, ArtifactRef] = {}
    asked: dict[str, str] = {}
    for role, said in step.inputs.items():
        if isinstance(said, str):
            made = outcomes[said].ref
            if made is None:
                if wanted:
                    raise UsageError(f"step {step.name} needs {said!r}, which is not published yet: run it first")
                return Outcome(step.name, "pending", None, None, step.publish.tag)
            inputs[role], asked[role] = made, f"steps.{said}"
        else:
            inputs[role], asked[role] = _resolve(said, lock, settings.update), str(said)
    for role in step.spec.folding(inputs):
        if (changed := adapter_base(inputs[role])) is not None:
            inputs[f"{role}.base"], asked[f"{role}.base"] = _resolve(changed, lock, settings.update), str(changed)
    config, sources, given = resolve_sources(step.config, f"steps.{step.name}.with")
    mark = provenance.fingerprint(
        step.uses, step.spec.version, config, inputs, {k: v["sha256"] for k, v in sources.items()}
    )
    with translate_errors(f"{step.target.repo_type} {step.target.repo_id}"):
        found = find_published(step.target, mark)
    if found is not None and not (wanted and _tag_is_missing(found, step.publish.tag)):
        _lock_step(lock, step, mark, found, inputs)
        event(step.name, "skip", {"commit": found.revision})
        return Outcome(step.name, "skipped", mark, found, step.publish.tag, time.monotonic() - started)
    if not wanted:
        return Outcome(step.name, "pending", mark, None, step.publish.tag)

    folder = workdir.step_folder(base, step.name, mark)
    record = workdir.made(folder, mark)
    if record is None:
        before_work(step)
        hashes = {name: source["sha256"] for name, source in sources.items()}
        settled = {"uses": step.uses, "version": step.spec.version, "with": config, "sources": hashes,
                   "inputs": {role: str(ref) for role, ref in inputs.items()}}  # fmt: skip
        for path in workdir.begin(folder, step.name, settled, settings.fresh):
            event(step.name, "aside", {"path": str(path)})
        local = {}
        for role, ref in inputs.items():
            event(step.name, "input", {"role": role, "ref": str(ref)})
            local[role] = Input(ref, pull(ref, CARD if step.spec.serves(role) else None))
        event(step.name, "run", {"uses": step.uses})
        context = StepContext(
            step.name,
            folder / "work",
            folder / "output",
            local,
            traffic=settings.traffic or base / workdir.TRAFFIC,
            replay=settings.replay,
            resources=resources,
        )
        try:
            record = _make(step, plan, folder, given, config, sources, context, asked, mark)
        except HubwrightError:
            workdir.give_up(folder)
            raise
    event(step.name, "made", {})
    published = publish(
        folder / "output",
        step.target,
        fingerprint=mark,
        title=f"{step.uses}: {plan.name}/{step.name}",
        tag=step.publish.tag,
        private=step.publish.private,
        keep_other_files=step.spec.kind == "card",
        parent_commit=_card_parent(step, inputs).revision if step.spec.kind == "card" else None,
    )
    _lock_step(lock, step, mark, published.ref, inputs)
    event(step.name, "published", {"commit": published.ref.revision, "url": published.url})
    return Outcome(step.name, "published", mark, published.ref, step.publish.tag, time.monotonic() - started)


def _card_parent(step: PlannedStep, inputs: Mapping[str, ArtifactRef]) -> ArtifactRef:
    """The commit a report goes on top of: the head of main where it still is the evaluated model, else that commit.

    The head may have reports already; with other weights on it, publishing on the evaluated commit is refused.
    """
    head, model = step.target.resolve(), inputs["model"]
    return head if same_model(head, model) else model


def _earlier_records(step: PlannedStep, inputs: Mapping[str, Input]) -> list[dict[str, Any]]:
    """Provenance that a report is added to; an earlier report of the same result, or other model, is replaced."""

    def shown(commits: Mapping[str, Any]) -> Any:
        return next(((role, commits[role]) for role in ("result", "other") if role in commits), None)

    refs = {role: i.ref for role, i in inputs.items()}
    parent = _card_parent(step, refs)
    records = provenance.load(pull(parent, [provenance.FILE_NAME]) / provenance.FILE_NAME)
    ours = shown({role: ref.revision for role, ref in refs.items()})
    return [record for record in records if shown({i["role"]: i["commit"] for i in record["inputs"]}) != ours]


def _at_commit(ref: ArtifactRef, lock: RecipeLock, update: bool) -> ArtifactRef:
    """What `_resolve` would give now, without locking it: an earlier step may still publish there."""
    locked = None if update else lock.inputs.get(f"{ref.repo_type} {ref}")
    return replace(ref, revision=locked) if locked else ref.resolve()


def _resolve(ref: ArtifactRef, lock: RecipeLock, update: bool) -> ArtifactRef:
    """The commit of an outside reference: the locked one unless `update`, else what the hub says now."""
    key = f"{ref.repo_type} {ref}"
    locked = None if update else lock.inputs.get(key)
    if locked is None:
        resolved = ref.resolve()
        lock.pin(key, resolved.revision)
        return resolved
    pinned = replace(ref, revision=locked)
    try:
        from huggingface_hub import HfApi

        with translate_errors(f"{ref.repo_type} {pinned}"):
            HfApi().repo_info(ref.repo_id, repo_type=ref.repo_type, revision=locked)
    except HubError as error:
        raise HubError(
            f"{error} (locked in {lock.path.name} for {ref}); run with --update to read {ref} again"
        ) from error
    return pinned


def _tag_is_missing(ref: ArtifactRef, tag: str | None) -> bool:
    from huggingface_hub import HfApi

    if tag is None:
        return False
    refs = HfApi().list_repo_refs(ref.repo_id, repo_type=ref.repo_type)
    return tag not in {t.name for t in refs.tags}


def _make(
    step: PlannedStep,
    plan: Plan,
    folder: Path,
    given: Any,
    config: dict[str, Any],
    sources: dict[str, Any],
    context: StepContext,
    asked: dict[str, str],
    mark: str,
) -> dict[str, Any]:
    """Do the step's work below `folder`, write provenance and card, and prove completion with done.json."""
    from .model_cards import card, licences

    inputs, output = context.inputs, context.output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    context.workdir.mkdir(exist_ok=True)
    rights = {role: licences.of_card(i.path, i.ref.repo_id) for role, i in inputs.items()}
    begun = provenance.now()
    result = run_function(step.spec)(given, context)
    if step.spec.kind == "builder":
        _write_dataset(result, output)
    _check_output(step, output)
    licence = licences.decide(
        step.name,
        licences.carrying(rights),
        own=context.report.card.pop("license", None),
        own_name=context.report.card.pop("license_name", None),
        **step_rules(step),
    )
    record = {
        "step": {
            "recipe": plan.name, "name": step.name, "uses": step.uses, "method_version": step.spec.version,
            "kind": step.spec.kind,
        },
        "target": {"type": step.target.repo_type, "repo_id": step.target.repo_id, "tag": step.publish.tag},
        "config": config,
        "sources": sources,
        "inputs": [
            {"role": role, "type": i.ref.repo_type, "repo_id": i.ref.repo_id, "asked": asked[role],
             "commit": i.ref.revision, "license": rights[role].licence}
            for role, i in sorted(inputs.items())
        ],
        "license": licence,
        "fingerprint": mark,
        **provenance.environment(),
        "started_at": begun,
        "finished_at": provenance.now(),
        "report": asdict(context.report),
        "parquet": card.describe_parquet(output),
        "files": [],
    }  # fmt: skip
    earlier = _earlier_records(step, inputs) if step.spec.kind == "card" else []
    card.write_plots(record, output)
    record["files"] = manifest(output, provenance.DERIVED_FILES)
    records = [*earlier, record]
    write_atomic(output / provenance.FILE_NAME, provenance.dump(records))
    write_atomic(output / "README.md", card.render(records))
    write_atomic(
        folder / "done.json",
        json.dumps({"fingerprint": mark, "output": manifest(output), "record": record}),
    )
    return record


def _write_dataset(dataset: Any, output: Path) -> None:
    """One Parquet file per config and split, in the layout the Hub reads without a loading script."""
    configs = dataset if isinstance(next(iter(dataset.values())), dict) else {"default": dataset}
    for config, splits in configs.items():
        for split, rows in splits.items():
            if len(rows) == 0:
                raise DataError(f"split {split!r} of {config!r} has no rows; nothing was published")
            if split == "all":  # load_dataset means every split by it, and refuses the config
                raise DataError(f"split {split!r} of {config!r} cannot be loaded by name: call it train")
            folder = output / ("data" if config == "default" else config)
            folder.mkdir(parents=True, exist_ok=True)
            rows.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))


def _check_output(step: PlannedStep, output: Path) -> None:
    if not list_files(output) and step.spec.kind != "card":
        raise DataError(f"step {step.name} ({step.uses}) made no files; nothing was published")


def _lock_step(
    lock: RecipeLock, step: PlannedStep, mark: str, ref: ArtifactRef, inputs: dict[str, ArtifactRef]
) -> None:
    lock.record(
        step.name,
        {
            "uses": step.uses,
            "type": ref.repo_type,
            "repo_id": ref.repo_id,
            "commit": ref.revision,
            "tag": step.publish.tag,
            "fingerprint": mark,
            "inputs": {role: f"{i.repo_id}@{i.revision}" for role, i in sorted(inputs.items())},
            "endpoint": endpoint_url(),
        },
    )


def clean_work(plan: Plan, settings: Settings) -> list[Path]:
    """Remove the folders of steps that are published; returns them. What is unfinished stays."""
    base = settings.runs / plan.name
    published = {name: entry["fingerprint"] for name, entry in RecipeLock(settings.lock_path).steps.items()}
    with exclusive_lock(base / ".lock", f"recipe {plan.name} in {base}"):
        return workdir.clean(base, published)
