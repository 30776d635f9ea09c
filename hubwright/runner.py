"""Run a recipe: resolve inputs to commits, skip what is published, do the rest, publish, lock.

A step goes through these states, each proven by a file or a commit and never by a folder's name:

    nothing -> working (runs/NAME/STEP-FINGERPRINT/work) -> built (done.json with a manifest) -> published (commit)

Killed anywhere, the same command continues: a published step is found by its fingerprint, a built one is published
from its folder after its hashes were checked, a working one gets its work folder back.
"""

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import cards, workdir
from .catalog import code_of
from .disk import Need, disk_needs, lacking
from .estimate import estimate
from .hub_sync import provenance
from .hub_sync.adapters import adapter_base
from .hub_sync.context import Input, StepContext
from .hub_sync.errors import HubError, HubwrightError, UsageError
from .hub_sync.files import exclusive_lock, list_files
from .hub_sync.hub import endpoint_url, require_hub, translate_errors
from .hub_sync.lock import RecipeLock
from .hub_sync.publish import Match, add_tag, find_match, publish
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef
from .hub_sync.settings import split_speed
from .making import Job, make
from .preflight import CARD, Outlook, examine, refuse
from .published_recipe import PublishedRecipe, publish_form, published_lock
from .recipe import Plan, PlannedStep
from .sources import resolve_sources

logger = logging.getLogger("hubwright")

Event = Callable[[str, str, dict[str, Any]], None]
"""Called with (step name, state, details); states: input, run, skip, card, built, published."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `state` is "published", "skipped", "card" (skipped, and its card replaced) or "pending";
    `ref` is the commit of the content, None while pending. `outlook` is what a dry run knows of a pending step."""

    step: str
    state: str
    fingerprint: str | None
    ref: ArtifactRef | None
    tag: str | None
    seconds: float = 0.0
    outlook: Outlook | None = None


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        runs: folder for work in progress; `runs/NAME/` is this recipe's.
        lock_path: the recipe.lock.
        only: run just this step; what it needs must be published already.
        update: read moving references again instead of at the locked commits.
        dry_run: resolve and report, run nothing.
        outlook: in a dry run, look at what the steps to come need and what is wrong with them.
        fresh: restart if a step has unfinished work with other settings, which is set aside.
        keep_work: keep the folders of published steps (checkpoints, shards).
        recording: folder of recorded requests and answers; None: `runs/NAME/recording`.
        replay: answer every request from the recording, asking no model.
        pins: lock that was published with the recipe; its inputs come before those at `lock_path`.
    """

    runs: Path
    lock_path: Path
    only: str | None = None
    update: bool = False
    dry_run: bool = False
    outlook: bool = True
    fresh: bool = False
    keep_work: bool = False
    recording: Path | None = None
    replay: bool = False
    pins: Path | None = None


def default_settings(plan: Plan, **changes: Any) -> Settings:
    """The lock beside the recipe (in the current folder for a shipped or published one), work below ./runs."""
    from .recipe import shipped_recipes

    if (pins := published_lock(plan.path)) is not None:
        return replace(Settings(Path("runs"), Path.cwd() / f"{plan.name}.lock", pins=pins), **changes)
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
        lock = RecipeLock(settings.lock_path, writable=not settings.dry_run, pins=settings.pins)
        whole = _Run(plan, settings, event, base, lock, resources)
        for step in plan.steps:
            whole.outcomes[step.name] = whole.run(step)
        if settings.dry_run and settings.outlook:
            for name, outlook in whole.outlooks().items():
                whole.outcomes[name] = replace(whole.outcomes[name], outlook=outlook)
        return list(whole.outcomes.values())


@dataclass
class _Run:
    """One run of a recipe.

    Attributes:
        base: folder of the recipe's work.
        resources: closed when the run ends; what later steps can share is entered here.
        outcomes: of the steps so far, by name.
        jobs: the steps so far of which the inputs are known, by name.
        checked: what is known of the steps to come was checked.
        refused: what a dry run could not resolve, by the step's name.
    """

    plan: Plan
    settings: Settings
    event: Event
    base: Path
    lock: RecipeLock
    resources: ExitStack
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    checked: bool = False
    refused: dict[str, HubwrightError] = field(default_factory=dict)

    def run(self, step: PlannedStep) -> Outcome:
        """Find the step's result on the hub, or make and publish it."""
        started = time.monotonic()
        selected = self.settings.only in (None, step.name) and not self.settings.dry_run
        try:
            job = self._prepare(step, selected)
        except HubwrightError as error:
            if not (self.settings.dry_run and self.settings.outlook):
                raise
            self.refused[step.name], job = error, None
        if job is None:
            return Outcome(step.name, "pending", None, None, step.publish.tag)

        self.jobs[step.name] = job

        def outcome(state: str, ref: ArtifactRef | None) -> Outcome:
            return Outcome(step.name, state, job.fingerprint, ref, step.publish.tag, time.monotonic() - started)

        with translate_errors(f"{step.target.repo_type} {step.target.repo_id}"):
            match = find_match(step.target, job.fingerprint)
        if match is not None:
            state = "skipped"
            if selected:
                state = self._complete(job, match)
                # A run that was killed after publishing left its folder.
                self._tidy(workdir.step_folder(self.base, step.name, job.fingerprint))
            elif self.settings.dry_run and match.card not in (None, provenance.card_mark(step.author)):
                state = "card"
            self._record(job, match.ref)
            if not (selected and state == "card"):
                self.event(step.name, "skip", {"commit": match.ref.revision})
            return outcome(state, match.ref)
        if not selected:
            return outcome("pending", None)
        folder = workdir.step_folder(self.base, step.name, job.fingerprint)
        record = workdir.built(folder, job.fingerprint) or self._make(job, folder)
        self.event(step.name, "built", {})
        parent = cards.parent_of_report(step, job.inputs) if step.spec.kind == "card" else None
        earlier = cards.records_before_report(job.inputs, parent) if parent else []
        cards.write(folder / "output", [*earlier, record], record, step.author, self._recipe(step))
        published = publish(
            folder / "output",
            step.target,
            fingerprint=job.fingerprint,
            title=f"{step.uses}: {self.plan.name}/{step.name}",
            tag=step.publish.tag,
            private=step.publish.private,
            keep_other_files=parent is not None,
            parent_commit=parent.revision if parent else None,
            card=provenance.card_mark(step.author),
        )
        self._record(job, published.ref)
        self._tidy(folder)
        self.event(step.name, "published", {"commit": published.ref.revision, "url": published.url})
        return outcome("published", published.ref)

    def _recipe(self, step: PlannedStep) -> PublishedRecipe | None:
        return publish_form(self.plan, step.target, self.jobs, self.lock)

    def _complete(self, job: Job, match: Match) -> str:
        """Give a published result the tag and the author's part of the card that the recipe has; "card" or "skipped".

        The content stays at its commit, so that what reads it is not run again.
        """
        step, commit = job.step, None
        tag = step.publish.tag if _tag_is_missing(match.ref, step.publish.tag) else None
        if tag or match.card != provenance.card_mark(step.author):
            title = f"card: {self.plan.name}/{step.name}"
            commit = cards.replace_card(job, match, tag, lambda: self._recipe(step), title)
        if tag:
            add_tag(commit or match.latest, tag)
        if commit is None:
            return "skipped"
        self.event(step.name, "card", {"commit": commit.revision})
        return "card"

    def _prepare(self, step: PlannedStep, selected: bool) -> Job | None:
        """The step with its inputs at commits; None if an input is not published and the step is not selected."""
        inputs: dict[str, ArtifactRef] = {}
        references: dict[str, str] = {}
        for role, source in step.inputs.items():
            if isinstance(source, str):
                ref = self.outcomes[source].ref
                if ref is None:
                    if selected:
                        raise UsageError(
                            f"step {step.name} needs {source!r}, which is not published yet: run it first"
                        )
                    return None
                inputs[role], references[role] = ref, f"steps.{source}"
            else:
                inputs[role], references[role] = self._resolve(source), str(source)
        for role in step.spec.folding(inputs):
            if (base := adapter_base(inputs[role])) is not None:
                inputs[f"{role}.base"], references[f"{role}.base"] = self._resolve(base), str(base)
        recorded, sources, config = resolve_sources(step.config, f"steps.{step.name}.with")
        if code := code_of(step.uses):
            sources["code"] = code
        for source in sources.values():
            stated = self.lock.sources.get(source.get("path", source["name"]))
            if stated not in (None, source["sha256"]):
                logger.warning(
                    "warning: step %s: %s is not the file that the published result was made from (SHA-256 %.12s, not "
                    "%.12s)", step.name, source["name"], source["sha256"], stated,
                )  # fmt: skip
        recorded, speed = split_speed(config, recorded)
        hashes = {name: source["sha256"] for name, source in sources.items()}
        mark = provenance.fingerprint(step.uses, step.spec.version, recorded, inputs, hashes)
        return Job(self.plan.name, step, inputs, references, config, recorded, speed, sources, mark)

    def _make(self, job: Job, folder: Path) -> dict[str, Any]:
        """Pull the inputs and do the step's work below `folder`. Returns its record."""
        step = job.step
        self._check()
        for path in workdir.begin(folder, step.name, job.identity(), self.settings.fresh):
            self.event(step.name, "aside", {"path": str(path)})
        local = {}
        for role, ref in job.inputs.items():
            self.event(step.name, "input", {"role": role, "ref": str(ref)})
            local[role] = Input(ref, pull(ref, CARD if step.spec.is_endpoint(role) else None))
        self.event(step.name, "run", {"uses": step.uses})
        context = StepContext(
            step.name,
            folder / "work",
            folder / "output",
            local,
            recording=self.settings.recording or self.base / workdir.RECORDING,
            replay=self.settings.replay,
            resources=self.resources,
        )
        try:
            return make(job, context, folder / "done.json")
        except HubwrightError:
            workdir.give_up(folder)
            raise

    def _tidy(self, folder: Path) -> None:
        """Remove the folder of a published step, unless it is to be kept."""
        if not self.settings.keep_work and folder.is_dir():
            shutil.rmtree(folder)

    def _to_run(self) -> tuple[list[PlannedStep], dict[str, ArtifactRef | None]]:
        """The steps that are not published, and the commit of each earlier one by name."""
        commits = {name: outcome.ref for name, outcome in self.outcomes.items()}
        return [
            step
            for step in self.plan.steps
            if commits.get(step.name) is None and self.settings.only in (None, step.name)
        ], commits

    def needs(self) -> dict[str, Need]:
        """What the steps need on disk that are not published, by name."""
        return disk_needs(*self._to_run(), self._at_commit)

    def outlooks(self) -> dict[str, Outlook]:
        """What a dry run tells of the steps that are not published, by name."""
        steps, commits = self._to_run()
        needs = self.needs()  # first: what is looked at is fetched
        outlooks = examine(steps, commits, self._at_commit)
        for step in steps:
            outlook = outlooks[step.name]
            outlook.disk, outlook.estimate = needs[step.name], estimate(step, self.base)
            if step.name in self.refused and not outlook.faults:
                with outlook.collected(step.name):
                    raise self.refused[step.name]
        return outlooks

    def _check(self) -> None:
        """Once, before any step works: whether the steps to come can work and publish, and disks hold them."""
        if self.checked:
            return
        logger.info("checking what the steps to come need")  # imports what they use, which takes seconds
        outlooks = examine(*self._to_run(), self._at_commit)
        for name, outlook in outlooks.items():
            for warning in outlook.warnings:
                logger.warning("warning: step %s: %s", name, warning)
        refuse(outlooks)
        if warning := lacking(self.needs().values(), self.settings.runs):
            logger.warning("warning: %s", warning)
        self.checked = True

    def _at_commit(self, ref: ArtifactRef) -> ArtifactRef:
        """What `_resolve` would give now, without locking it: an earlier step may still publish there."""
        locked = None if self.settings.update else self.lock.inputs.get(f"{ref.repo_type} {ref}")
        return replace(ref, revision=locked) if locked else ref.resolve()

    def _resolve(self, ref: ArtifactRef) -> ArtifactRef:
        """The commit of an outside reference: the locked one unless `update`, else what the hub says now."""
        key = f"{ref.repo_type} {ref}"
        locked = None if self.settings.update else self.lock.inputs.get(key)
        if locked is None:
            resolved = ref.resolve()
            self.lock.pin(key, resolved.revision)
            return resolved
        pinned = replace(ref, revision=locked)
        try:
            from huggingface_hub import HfApi

            with translate_errors(f"{ref.repo_type} {pinned}"):
                HfApi().repo_info(ref.repo_id, repo_type=ref.repo_type, revision=locked)
        except HubError as error:
            raise HubError(
                f"{error} (locked in {self.lock.path.name} for {ref}); run with --update to read {ref} again"
            ) from error
        return pinned

    def _record(self, job: Job, ref: ArtifactRef) -> None:
        """Write the published step into the lock."""
        self.lock.record(
            job.step.name,
            {
                "uses": job.step.uses,
                "type": ref.repo_type,
                "repo_id": ref.repo_id,
                "commit": ref.revision,
                "tag": job.step.publish.tag,
                "fingerprint": job.fingerprint,
                "inputs": {role: f"{i.repo_id}@{i.revision}" for role, i in sorted(job.inputs.items())},
                "endpoint": endpoint_url(),
            },
        )


def _tag_is_missing(ref: ArtifactRef, tag: str | None) -> bool:
    from huggingface_hub import HfApi

    if tag is None:
        return False
    refs = HfApi().list_repo_refs(ref.repo_id, repo_type=ref.repo_type)
    return tag not in {t.name for t in refs.tags}


def clean(plan: Plan, settings: Settings, *, everything: bool = False) -> list[tuple[Path, str, int]]:
    """Remove what runs of a recipe left: (folder, state, bytes) of each. With `settings.dry_run` nothing is removed.

    Args:
        everything: unfinished work and built results that are not published too, not only what is published or set
            aside. Recorded requests always stay.
    """
    base = settings.runs / plan.name
    if not base.is_dir():
        return []
    published = {name: entry["fingerprint"] for name, entry in RecipeLock(settings.lock_path).steps.items()}
    with exclusive_lock(base / ".lock", f"recipe {plan.name} in {base}"):
        chosen = [
            (path, state, sum(file.stat().st_size for file in list_files(path)))
            for path, state in workdir.leftovers(base, published)
            if everything or state in ("published", "set aside")
        ]
        for path, _, _ in chosen:
            if not settings.dry_run:
                shutil.rmtree(path)
    return chosen
