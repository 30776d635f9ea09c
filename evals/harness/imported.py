"""Output of the stock `lm_eval` command as a recipe step: its samples and figures become a data set with provenance.

For evaluations that run elsewhere: `lm_eval run ... --log_samples --output_path DIR`, then this step with `source:
DIR`. What is published has the form of an `lm_eval` step. The output must be about the step's model: lm-eval writes
the commit of a model that it loads from the Hub, which has to be the input's, or one with the same weights, tokenizer
and settings (a commit that only changed the card).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.files import canonical_json
from ...hub_sync.pull import same_model
from ...hub_sync.settings import Settings
from ...inference.row_file import RowFile
from .._lib.data import read_split
from .._lib.results import write_json
from .samples import Scrubber, chance, place, report_results, task_summary, write_samples


class LmEvalOutputConfig(Settings):
    """Where lm-eval wrote its output."""

    source: str = Field(
        description="Folder that `--output_path` named (or the one below it), with one results_*.json and the "
        "samples_*.jsonl of `--log_samples`."
    )


def collect(config: LmEvalOutputConfig, context: StepContext) -> None:
    """Check the output against `context.inputs["model"]` and write rows and results below `context.output`.

    Raises DataError: no or several runs in the folder, no samples, another model or another commit of it.
    """
    results_path = _only_results(Path(config.source).expanduser())
    results = _read(results_path)
    _check_model(results, context, results_path.name)
    stamp = results_path.stem.removeprefix("results_")
    samples = {}
    documents = _documents(context)
    for task in results["configs"]:
        path = results_path.with_name(f"samples_{task}_{stamp}.jsonl")
        if not path.is_file():
            raise DataError(f"{path.name} is missing beside {results_path.name}; run lm_eval with --log_samples")
        samples[task] = _samples(path, results["n-samples"][task]["effective"], documents, context)
    scrub = Scrubber(context, {})
    rows = write_samples(samples, scrub, context)
    settings = results["config"]
    names = {
        "model": "model", "dtype": "model_dtype", "gen_kwargs": "gen_kwargs", "limit": "limit",
        "batch_size": "batch_size", "seed": "random_seed",
    }  # fmt: skip
    config_summary = {name: settings.get(theirs) for name, theirs in names.items()}
    config_summary["system_instruction"] = results.get("system_instruction")
    packages = {name: results.get(f"{name}_version") for name in ("lm_eval", "transformers")}
    tasks = task_summary({**results, "samples": samples})
    context.report.chance |= chance({**results, "samples": samples})
    summary = scrub({"tasks": tasks, "config": config_summary, "packages": packages})
    write_json(summary, context.output / "results.json")
    predicted = all(not entry["metrics"] for entry in summary["tasks"].values())
    report_results(context, summary, rows, predict_only=predicted, limit=settings.get("limit"))


def _only_results(folder: Path) -> Path:
    paths = sorted(folder.rglob("results_*.json")) if folder.is_dir() else []
    if len(paths) != 1:
        what = f"{len(paths)} runs ({', '.join(path.name for path in paths[:3])})" if paths else "no results_*.json"
        raise DataError(f"{folder.name}: {what} in the folder; give the one that holds one run of lm_eval")
    return paths[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in ("results", "configs", "config", "n-samples", "versions") if key not in results]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    if missing:
        raise DataError(f"{path.name}: lacks {', '.join(missing)}; it is not the result of lm_eval")
    return results


def _check_model(results: dict[str, Any], context: StepContext, name: str) -> None:
    model = context.inputs["model"].ref
    commit = results["config"].get("model_sha")
    value = results["config"].get("model_args")
    pretrained = value.get("pretrained") if isinstance(value, dict) else results.get("model_name")
    if pretrained != model.repo_id or not commit or not same_model(model, replace(model, revision=str(commit))):
        raise DataError(f"{name} is about {pretrained}@{str(commit)[:12]}, not about the step's model {model}")


def _documents(context: StepContext) -> set[bytes] | None:
    """SHA-256 of the rows of the step's data set, where the step names one: each document has to be one of them."""
    source = context.inputs.get("dataset")
    return {_digest(dict(row)) for row in read_split(source.path, "test")} if source else None


def _digest(row: Any) -> bytes:
    return hashlib.sha256(canonical_json(row)).digest()


def _samples(path: Path, expected: int, documents: set[bytes] | None, context: StepContext) -> RowFile:
    """The samples of a file in order, on the disk."""
    places: list[tuple[str, int, int]] = []

    def read() -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                sample = json.loads(line)
                places.append((*place(sample), number))
                if documents is not None and _digest(sample["doc"]) not in documents:
                    raise DataError(
                        f"{path.name}: document {sample['doc_id']} is not a row of {context.inputs['dataset'].ref}; "
                        "name the data set that was evaluated, or none where the task changes its rows"
                    )
                yield sample

    try:
        samples = RowFile(context.workdir, read())
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name}: cannot be read ({type(error).__name__}: {error})") from error
    if (count := len({doc_id for _, doc_id, _ in places})) != expected:
        raise DataError(f"{path.name}: holds {count} documents, results say {expected}; the file is incomplete")
    return RowFile(context.workdir, (samples[number] for *_, number in sorted(places)))
