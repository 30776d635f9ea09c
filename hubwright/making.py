"""What a step makes: its function is called, its record and plots are written, then done.json proves it."""

import gc
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .catalog import run_function
from .hub_sync import provenance
from .hub_sync.context import StepContext
from .hub_sync.errors import DataError
from .hub_sync.files import list_files, manifest, write_atomic
from .hub_sync.memory import give_back
from .hub_sync.parquet import SHARD_MB, write_shards
from .hub_sync.refs import ArtifactRef
from .preflight import step_rules
from .recipe import PlannedStep

logger = logging.getLogger("hubwright")


@dataclass(frozen=True)
class Job:
    """A step with everything settled that its result follows from.

    Attributes:
        recipe: name of the recipe.
        inputs: by role, each at a commit.
        references: what the recipe says in their place.
        config: the settings that the step's function gets.
        recorded: the same as JSON, without a path of this machine and without the settings of speed.
        speed: the settings of speed as JSON.
        sources: name, SHA-256 and size of local sources by their place in the settings.
        fingerprint: of all of it; a published one is not made again.
    """

    recipe: str
    step: PlannedStep
    inputs: Mapping[str, ArtifactRef]
    references: Mapping[str, str]
    config: BaseModel
    recorded: dict[str, Any]
    speed: dict[str, Any]
    sources: dict[str, Any]
    fingerprint: str

    def identity(self) -> dict[str, Any]:
        """What unfinished work is compared with before it is gone on with."""
        return {
            "uses": self.step.uses,
            "version": self.step.spec.version,
            "with": self.recorded,
            "sources": {name: source["sha256"] for name, source in self.sources.items()},
            "inputs": {role: str(ref) for role, ref in self.inputs.items()},
        }


def make(job: Job, context: StepContext, done: Path) -> dict[str, Any]:
    """Do the step's work in the context's folders, and write what proves it to `done`. Returns the record.

    The card is written when the result is published (`cards.py`): the author's part may change until then.

    Raises DataError for no or empty results, and what the step's function and the licence rules raise.
    """
    from .model_cards import licences, parquet, plots

    step, inputs, output = job.step, context.inputs, context.output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    context.workdir.mkdir(exist_ok=True)
    rights = {role: licences.of_card(i.path, i.ref.repo_id) for role, i in inputs.items()}
    begun = provenance.now()
    result = run_function(step.spec)(job.config, context)
    gc.collect()  # a trainer and its model are a cycle, which would stay beside the next step's
    if step.spec.kind == "builder":
        write_dataset(result, output, step.publish.shard_mb)
    if not list_files(output) and step.spec.kind != "card":
        raise DataError(f"step {step.name} ({step.uses}) made no files; nothing was published")
    licence = licences.decide(
        step.name,
        licences.carrying(rights),
        own=context.report.card.pop("license", None),
        own_name=context.report.card.pop("license_name", None),
        **step_rules(step),
    )
    record = {
        "step": {
            "recipe": job.recipe, "name": step.name, "uses": step.uses, "method_version": step.spec.version,
            "kind": step.spec.kind,
        },
        "target": {"type": step.target.repo_type, "repo_id": step.target.repo_id, "tag": step.publish.tag},
        "config": job.recorded,
        "speed": job.speed,
        "sources": job.sources,
        "inputs": [
            {"role": role, "type": i.ref.repo_type, "repo_id": i.ref.repo_id, "asked": job.references[role],
             "commit": i.ref.revision, "license": rights[role].licence}
            for role, i in sorted(inputs.items())
        ],
        "license": licence,
        "fingerprint": job.fingerprint,
        **provenance.environment(),
        "started_at": begun,
        "finished_at": provenance.now(),
        "report": asdict(context.report),
        "parquet": parquet.describe(output),
        "files": [],
    }  # fmt: skip
    warn_of_columns(step, record["parquet"], context.report.columns)
    if row := parquet.example_row(output, record["parquet"], context.report.card.get("default_config")):
        record["example"] = row
    plots.write(record["report"], output)
    record["files"] = manifest(output, provenance.DERIVED_FILES)
    write_atomic(done, json.dumps({"fingerprint": job.fingerprint, "output": record["files"], "record": record}))
    return record


def warn_of_columns(step: PlannedStep, configs: Mapping[str, Any], described: Mapping[str, str]) -> None:
    """Warn of columns that a step describes only in part, or describes and does not publish."""
    from .model_cards.parquet import described_otherwise

    without, dead = described_otherwise(configs, described)
    for names, what in (
        (without if described else [], "the card says nothing of columns"),
        (dead, "the report describes columns that the result has not:"),
    ):
        if names:
            logger.warning("warning: step %s: %s %s", step.name, what, ", ".join(names))


def write_dataset(dataset: Any, output: Path, shard_mb: int = SHARD_MB) -> None:
    """Parquet shards per config and split, in the layout the Hub reads without a loading script."""
    give_back()
    configs = dataset if isinstance(next(iter(dataset.values())), dict) else {"default": dataset}
    for config, splits in configs.items():
        for split, rows in splits.items():
            if len(rows) == 0:
                raise DataError(f"split {split!r} of {config!r} has no rows; nothing was published")
            if split == "all":  # load_dataset means every split by it, and refuses the config
                raise DataError(f"split {split!r} of {config!r} cannot be loaded by name: call it train")
            write_shards(rows, output / ("data" if config == "default" else config), split, shard_mb)
