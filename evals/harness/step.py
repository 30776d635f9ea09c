"""lm-eval as a recipe step: a pulled model in, per-sample rows and `results.json` out.

The model is lm-eval's `HFLM`, within `interactive` for tasks that are played step by step. If every task is ours, our
folder alone is indexed, in milliseconds (upstream's 14,000 YAML files take seconds).

Written below `context.output`:

    data/samples-00000-of-00001.parquet   one row per (task, filter, document); what varies by task is JSON text
    results.json                          task -> metric -> value, standard error, direction; task hashes and versions

Neither holds a local path, a date or a duration.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, HubwrightError, UsageError
from ...hub_sync.settings import Settings
from ...hub_sync.text import utf8
from ...inference import device
from ...inference.loading import check_adapter
from .._lib.data import stream_parquet, tasks_dir
from .._lib.results import figure_table, write_json
from .._lib.tokens import model_tokenizer
from .thoughts import note_thoughts
from .weights import complete_models

HASHES = ("doc_hash", "prompt_hash", "target_hash")
PACKAGES = ("lm_eval", "transformers", "tokenizers", "torch", "datasets")


class HarnessConfig(Settings):
    """How a model is evaluated. Defaults are our choice where lm-eval's own differ (marked)."""

    tasks: list[str] = Field(min_length=1, description="Names of lm-eval tasks or groups, ours or upstream's.")
    num_fewshot: int | None = Field(None, ge=0, description="Examples in the context; null: the task's own number.")
    batch_size: int | str = Field(1, description='Sequences per forward pass, or "auto".')
    limit: int | float | None = Field(None, gt=0, description="First N documents of each task, or a share: a trial.")
    apply_chat_template: bool = Field(True, description="Use the model's chat template (our choice; lm-eval: false).")
    system_instruction: str | None = Field(None, description="System message put first; null: none.")
    gen_kwargs: dict[str, Any] = Field({}, description="Generation settings over the tasks': {max_gen_toks: 512}.")
    predict_only: bool = Field(False, description="Store the answers without metrics, to be judged later.")
    metadata: dict[str, Any] = Field({}, description="Passed to every task, e.g. {judge: 'openai:MODEL@BASE_URL'}.")
    seed: int = Field(1234, ge=0, description="Seed of random, numpy, torch and the few-shot sampler.")
    device: str = Field("auto", description='Torch device: "cpu", "cuda:0", "mps"; auto: the first of CUDA, MPS, CPU.')
    dtype: Literal["bfloat16", "float16", "float32", "auto"] | None = Field(
        None,
        description="Dtype of the weights; null: bfloat16 if the device has instructions for it, else float32 "
        "(our choice; lm-eval: auto, as stored).",
    )
    think_end_token: str | None = Field(
        None,
        min_length=1,
        description="What ends a thought, such as </think>: lm-eval's own tasks then see what follows it (ours cut "
        "thoughts anyway); null: they score whole replies, and the card names those with thoughts.",
    )
    max_length: int | None = Field(None, gt=0, description="Context window in tokens; null: the model's own.")
    threads: int | None = Field(None, gt=0, description="Torch CPU threads; null: torch's own default.")
    bootstrap_iters: int = Field(1000, ge=0, description="Resamples for standard errors (ours; lm-eval: 100000).")


def evaluate(config: HarnessConfig, context: StepContext) -> None:
    """Evaluate `context.inputs["model"]` on `config.tasks` and write rows and results below `context.output`.

    An optional `context.inputs["dataset"]` is handed to the tasks as `metadata["dataset"]`. Raises UsageError for no
    model or an unknown task; DataError if the tasks' data fail to load, or there is nothing to evaluate.
    """
    import torch

    if "model" not in context.inputs:
        raise UsageError(f"step {context.step}: an evaluation needs a `model:` input")
    chosen = device.choose(config.device)
    dtype = config.dtype or ("bfloat16" if device.has_bfloat16(chosen) else "float32")
    config = config.model_copy(update={"device": chosen, "dtype": dtype})
    metadata = {"bootstrap": config.bootstrap_iters, **config.metadata}
    if "dataset" in context.inputs:
        metadata["dataset"] = str(context.inputs["dataset"].path)
    if config.threads:
        torch.set_num_threads(config.threads)
    manager, names = find_tasks(config.tasks, metadata)
    with one_line_errors():
        results = _run(config, context, manager, names)

    scrub = Scrubber(context, config.metadata)
    samples = results["samples"] = {task: sorted(some, key=place) for task, some in results["samples"].items()}
    if not any(samples.values()):
        raise DataError(f"step {context.step}: {', '.join(names)} gave no samples")
    rows = write_samples(samples, scrub, context)
    packages = {name: version(name) for name in PACKAGES}
    settings = config.model_dump(mode="json")
    summary = scrub({"tasks": task_summary(results), "config": settings, "packages": packages})
    write_json(summary, context.output / "results.json")
    report_results(context, summary, rows, predict_only=config.predict_only, limit=config.limit)
    if not config.predict_only:
        note_thoughts(context, results["samples"])


def find_tasks(
    names: Sequence[str], metadata: Mapping[str, Any] | None = None, include_path: str | None = None
) -> tuple[Any, list[str]]:
    """The index that knows all of `names` (glob patterns allowed), and the names that they match. Raises UsageError.

    It holds ours (and those below `include_path`) alone if they suffice, else upstream's too.
    """
    from lm_eval.tasks import TaskManager

    ours = [str(tasks_dir()), *([include_path] if include_path else [])]
    for defaults in (False, True):
        manager = TaskManager(include_defaults=defaults, include_path=list(ours), metadata=dict(metadata or {}))
        result = {name: manager.match_tasks([name]) for name in names}
        matches = list(dict.fromkeys(match for several in result.values() for match in several))
        if all(result.values()) and (defaults or all(_members_known(manager, match) for match in matches)):
            return manager, matches
    missing = ", ".join(name for name, several in result.items() if not several)
    raise UsageError(f"task {missing} is unknown; `hubwright tasks list` names ours, `lm_eval ls tasks` upstream's")


def _members_known(manager: Any, name: str) -> bool:
    """False for a group of ours that names a task of upstream's, which an index of ours alone takes for a new one."""
    config = manager.task_index[name].cfg or {}
    if "group" not in config:
        return True
    members = [m if isinstance(m, str) else m.get("group") or m.get("task") for m in config.get("task") or ()]
    return all(member in manager.task_index and _members_known(manager, member) for member in members)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what lm-eval and transformers raise for bad models and options into one line, ours passing through."""
    try:
        yield
    except HubwrightError:
        raise
    except (OSError, ValueError, ImportError, AssertionError, NotImplementedError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"lm-eval: {message}") from error


def _run(config: HarnessConfig, context: StepContext, manager: Any, names: list[str]) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from .._lib.interactive.model import InteractiveLM

    # Its warnings are about group scores and overridden settings, which a recipe states on purpose.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = context.inputs["model"]
    base = context.inputs.get("model.base", model)
    own_tokenizer = (model.path / "tokenizer_config.json").is_file()
    if base is not model:
        check_adapter(model.path, str(model.ref))
    tokenizer = str((model if own_tokenizer else base).path)
    with complete_models({str(base.path): str(base.ref)}):
        lm = HFLM(
            pretrained=str(base.path),
            peft=None if base is model else str(model.path),
            tokenizer=tokenizer,
            device=config.device,
            dtype=config.dtype,
            batch_size=config.batch_size,
            max_length=config.max_length,
            think_end_token=config.think_end_token,
        )
    with model_tokenizer(tokenizer):
        results = simple_evaluate(
            model=InteractiveLM(lm),  # what is not interactive it passes on
            tasks=list(names),
            task_manager=manager,
            num_fewshot=config.num_fewshot,
            batch_size=config.batch_size,
            limit=config.limit,
            apply_chat_template=config.apply_chat_template,
            fewshot_as_multiturn=config.apply_chat_template,
            system_instruction=config.system_instruction,
            gen_kwargs=dict(config.gen_kwargs) or None,
            predict_only=config.predict_only,
            log_samples=True,
            bootstrap_iters=config.bootstrap_iters,
            random_seed=config.seed,
            numpy_random_seed=config.seed,
            torch_random_seed=config.seed,
            fewshot_random_seed=config.seed,
        )
    return dict(results or {"samples": {}, "results": {}})


class Scrubber:
    """Replaces this machine's paths in any JSON value by what a reader elsewhere can use."""

    def __init__(self, context: StepContext, metadata: Mapping[str, Any]) -> None:
        names = {str(tasks_dir()): "hubwright/evals/tasks", str(tasks_dir().resolve()): "hubwright/evals/tasks"}
        for item in context.inputs.values():
            names |= {str(item.path): str(item.ref), str(item.path.resolve()): str(item.ref)}
        judge = metadata.get("judge")  # its settings, or a string alone
        texts = [*metadata.values(), *(judge.values() if isinstance(judge, Mapping) else ())]
        for value in texts:  # a judge's or verdicts' file keeps its name only
            local = Path(value.removeprefix("replay:")) if isinstance(value, str) else Path()
            if local.is_absolute() and local.parent != local:
                names.setdefault(str(local), local.name)
        for path in (context.workdir, context.output):
            names.setdefault(str(path.resolve()), "<local>")
        self._names = sorted(names.items(), key=lambda pair: -len(pair[0]))  # the longest path first

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            for path, name in self._names:
                value = value.replace(path, name)
            return value
        if isinstance(value, Mapping):
            return {str(self(key)): self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value


def _plain(value: Any) -> Any:
    """JSON-ready: numpy scalars to Python numbers, NaN and infinity to null, anything else to its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def place(sample: Mapping[str, Any]) -> tuple[str, int]:
    """What samples of a task are ordered by."""
    return sample["filter"], sample["doc_id"]


def write_samples(samples: Mapping[str, Iterable[Mapping[str, Any]]], scrub: Scrubber, context: StepContext) -> int:
    """Write the rows of all tasks below `context.output`; their number."""
    from datasets import Value

    names = ("task", "doc_id", "filter", "doc", "target", "arguments", "resps", "filtered_resps", "metrics", *HASHES)
    types = {name: Value("int64" if name == "doc_id" else "string") for name in names}
    rows = (row for task in sorted(samples) for row in sample_rows(task, samples[task], scrub))
    return stream_parquet(rows, context.output / "data", "samples", types)


def sample_rows(task: str, samples: Iterable[Mapping[str, Any]], scrub: Scrubber) -> Iterator[dict[str, Any]]:
    """The published rows of one task's samples, which are in order; what varies by task as JSON text."""

    def text(value: Any) -> str:
        return json.dumps(scrub(_plain(value)), ensure_ascii=False, sort_keys=True)

    for sample in samples:
        yield {
            "task": task,
            "doc_id": int(sample["doc_id"]),
            "filter": str(sample["filter"]),
            "doc": text(sample["doc"]),
            "target": scrub(str(sample["target"])),
            **{name: text(sample[name]) for name in ("arguments", "resps", "filtered_resps")},
            "metrics": text({name: sample[name] for name in sample["metrics"]}),
            **{name: sample[name] for name in HASHES},
        }


def task_summary(results: dict[str, Any]) -> dict[str, Any]:
    """task -> metrics, numbers of documents, hashes and settings, from lm-eval's results with samples in order."""
    tasks = {}
    for task, values in results["results"].items():
        metrics: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            metric, _, filter_name = key.partition(",")
            if not filter_name or metric.endswith("_stderr") or metric == "bypass":
                continue
            stderr = _plain(values.get(f"{metric}_stderr,{filter_name}"))
            metrics[metric if filter_name == "none" else key] = {
                "value": _plain(value),
                "stderr": None if stderr == "N/A" else stderr,
                "higher_is_better": results["higher_is_better"].get(task, {}).get(metric),
            }
        hashes = (sample[name] for sample in results["samples"].get(task, []) for name in HASHES)
        settings, sizes = results["configs"].get(task, {}), results["n-samples"].get(task, {})
        tasks[task] = {
            "metrics": metrics,
            "n": sizes.get("effective"),
            "n_available": sizes.get("original"),
            "version": results["versions"].get(task),
            "num_fewshot": results["n-shot"].get(task),
            # What was asked, in one figure: from the same three hashes as lm-eval's `task_hashes`.
            "task_hash": hashlib.sha256(utf8("".join(hashes))).hexdigest(),
            "generation_kwargs": _plain(settings.get("generation_kwargs")),
            "metadata": _plain({k: v for k, v in (settings.get("metadata") or {}).items() if k != "config_source"}),
        }
    return tasks


def report_results(
    context: StepContext, summary: dict[str, Any], rows: int, *, predict_only: bool, limit: int | float | None
) -> None:
    """Fill the report from a summary: one table a task, every figure as a metric."""
    report, model = context.report, context.inputs["model"].ref
    report.card.setdefault("pretty_name", f"Evaluation of {model.repo_id}")
    named = sorted(summary["tasks"])
    if any(values["n"] is None for values in summary["tasks"].values()):
        named = summary["config"].get("tasks") or named  # a group may have a hundred tasks: say what was asked for
    report.card.setdefault("tags", ["evaluation", "lm-eval", *named])
    report.summary = (
        f"`{model}` on {', '.join(named)}, measured with lm-eval {summary['packages']['lm_eval']}. One row per task, "
        "filter and document, with prompt, answer and metrics; `results.json` holds the aggregates."
    )
    if predict_only:
        report.summary += " The answers are stored without a score."
    if limit:
        report.summary += f" A trial on the first {limit} documents: not to be compared with full runs."
    report.counts["samples"] = rows
    for task, values in sorted(summary["tasks"].items()):
        report.metrics |= {f"{task}/{metric}": entry["value"] for metric, entry in values["metrics"].items()}
        note = "The tasks of the group together."
        if values["n"] is not None:  # a group has no documents of its own, and may have no figure of its own
            note = (
                f"{values['n']} of {values['n_available']} documents; task version {values['version']}, "
                f"task hash `{values['task_hash'][:12]}`."
            )
            if not values["metrics"]:  # answers without a score
                report.counts[f"{task}: documents answered"] = values["n"]
                report.counts[f"{task}: documents in the data set"] = values["n_available"]
        if values["metrics"]:
            report.tables.append(figure_table(task, values["metrics"], note))
