"""lm-eval as a recipe step: a pulled model or an endpoint in, per-sample rows and `results.json` out.

The model is one of lm-eval's own (`backends.py`), within `interactive` for tasks that are played step by step.
Upstream's 14,000 YAML files are indexed only if a task is neither ours nor the recipe's: it takes seconds.

Written below `context.output`:

    data/samples-00000-of-00001.parquet   one row per (task, filter, document); what varies by task is JSON text
    results.json                          task -> metric -> value, standard error, direction; task hashes and versions
    tasks/                                the files of `include_path`

Neither holds a local path, a date or a duration.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self
from unittest import mock

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, HubwrightError, UsageError
from ...hub_sync.peek import has_chat_template
from ...hub_sync.settings import added
from ...hub_sync.step import Preview
from ...inference import device
from ...inference.accelerate_config import AccelerateSettings
from ...inference.launch import LAUNCHED, launch
from .._lib.results import write_json
from .._lib.tokens import model_tokenizer
from . import backends, known_tasks, own_tasks
from .own_tasks import find_tasks
from .samples import Scrubber, chance, hash_images, place, report_results, task_summary, write_samples
from .thoughts import note_thoughts

PACKAGES = ("lm_eval", "transformers", "tokenizers", "torch", "datasets")


class HarnessConfig(AccelerateSettings):
    """How a model is evaluated. Defaults are our choice where lm-eval's own differ (marked)."""

    tasks: list[str] = Field(min_length=1, description="Names of lm-eval tasks or groups, ours or upstream's.")
    include_path: str | None = added(
        None,
        description="Folder of your own tasks (lm-eval YAML files and their code), one such file, or `package:folder` "
        "of an installed package; published.",
    )
    backend: backends.Backend = added(
        "hf",
        description="lm-eval's model: hf, hf-multimodal for models of images and text, vllm, or an OpenAI-compatible "
        "endpoint, local-completions or local-chat-completions, named by model_args.",
    )
    model_args: dict[str, Any] = added(
        {},
        description="Other arguments of that model: {add_bos_token: true}; an endpoint's {model: NAME, base_url: URL, "
        "num_concurrent: 8}, its key in OPENAI_API_KEY.",
    )
    num_fewshot: int | None = Field(None, ge=0, description="Examples in the context; null: the task's own number.")
    batch_size: int | str = Field(1, description='Sequences per forward pass, or "auto"; vllm takes 1 for "auto".')
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

    @field_validator("include_path")
    @classmethod
    def _is_there(cls, value: str | None) -> str | None:
        return value and own_tasks.check_path(value)

    @field_validator("model_args")
    @classmethod
    def _known_arguments(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        backend = info.data.get("backend", "hf")
        return backends.check_model_args(backend, value) if value or backend in backends.ROUTES else value

    @model_validator(mode="after")
    def _every_setting_acts(self) -> Self:
        if self.backend in backends.ROUTES and not self.model_args:
            backends.check_model_args(self.backend, {})
        idle = set() if self.backend in backends.HF else {"device", "threads", "num_processes", "accelerate_config"}
        idle |= {"dtype"} if self.backend in backends.ROUTES else set()
        idle |= {"think_end_token"} if self.backend == "local-completions" else set()
        changed = {name for name in idle if getattr(self, name) != type(self).model_fields[name].default}
        if name := next(iter(sorted(changed)), ""):
            more = ", or model_args: {data_parallel_size: N}" if self.backend == "vllm" and "num" in name else ""
            raise ValueError(f"{name}: backend {self.backend} does not use it: drop it{more}")
        if self.backend == "local-chat-completions" and not self.apply_chat_template:
            raise ValueError("apply_chat_template: a chat endpoint applies its own: drop it, or use local-completions")
        sends_text = self.model_args.get("tokenizer_backend", "auto") in (None, "None", "none")
        if self.backend == "local-completions" and self.apply_chat_template and sends_text:
            raise ValueError(
                "apply_chat_template: it needs the tokenizer: set model_args.tokenizer, or set it to false"
            )
        return self

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line for inputs of the step that do not go with its backend."""
        served = self.backend in backends.ROUTES
        if served and "model" in names:
            raise ValueError(f"backend {self.backend} asks model_args.model, not the input 'model': drop one of them")
        if not served and "model" not in names:
            raise ValueError("lm_eval needs the input 'model': add it below 'inputs', or set backend")

    def lacks(self) -> str:
        if self.backend == "vllm" and find_spec("vllm") is None:
            return "backend: vllm is not installed: pip install 'lm-eval[vllm]'"
        if self.device not in ("auto", "cpu") and find_spec("torch"):
            try:
                device.choose(self.device)
            except UsageError as error:
                return str(error)
        return super().lacks()

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """What may go wrong with the tasks' data. Raises UsageError for unknown tasks, own ones that cannot be read,
        and a model without the chat template that lm-eval's own tasks are to use."""
        with own_tasks.temporary_copy(self.include_path) as own:
            known_tasks.check_known(self.tasks, own)
            sources = known_tasks.data_sets(self.tasks, own)
        model = inputs.get("model", Preview())
        templated = self.apply_chat_template and not known_tasks.are_ours(self.tasks)
        if templated and model.source and model.template is None and not has_chat_template(model.source):
            raise UsageError(f"model {model.name} has no chat template: set apply_chat_template: false")
        return Preview(warnings=tuple(known_tasks.out_of_reach(sources)))


def evaluate(config: HarnessConfig, context: StepContext) -> None:
    """Evaluate `context.inputs["model"]` on `config.tasks` and write rows and results below `context.output`.

    An optional `context.inputs["dataset"]` is handed to the tasks as `metadata["dataset"]`. Raises UsageError for no
    model or an unknown task; DataError if the tasks' data fail to load, or there is nothing to evaluate.
    """
    import torch

    served = config.backend in backends.ROUTES
    if not served and "model" not in context.inputs:
        raise UsageError(f"step {context.step}: an evaluation needs a `model:` input")
    if absent := config.lacks():
        raise UsageError(f"step {context.step}: {absent}")
    if not served:
        chosen = device.choose(config.device)
        dtype = config.dtype or ("bfloat16" if device.has_bfloat16(chosen) else "float32")
        config = config.model_copy(update={"device": chosen, "dtype": dtype})
    own = own_tasks.copied(config.include_path, context)
    if (config.num_processes > 1 or config.accelerate_config is not None) and LAUNCHED not in os.environ:
        cpu, within = config.device == "cpu", "hubwright.catalog:call_registered"
        launch(f"{__name__}:evaluate", config, context, cpu=cpu, within=within)
        return
    metadata = {"bootstrap": config.bootstrap_iters, **config.metadata}
    if "dataset" in context.inputs:
        metadata["dataset"] = str(context.inputs["dataset"].path)
    if config.threads:
        torch.set_num_threads(config.threads)
    manager, names = find_tasks(config.tasks, metadata, str(own) if own else None)
    with one_line_errors(), backends.hidden_key():
        results = _run(config, context, manager, names)
    if results is None:  # one of several processes, whose samples the first one has
        return

    scrub = Scrubber(context, config.metadata)
    samples = results["samples"] = {task: sorted(some, key=place) for task, some in results["samples"].items()}
    for some in samples.values():
        hash_images(some)
    if not any(samples.values()):
        raise DataError(f"step {context.step}: {', '.join(names)} gave no samples")
    rows = write_samples(samples, scrub, context)
    packages = {name: version(name) for name in (*PACKAGES, *(["vllm"] if config.backend == "vllm" else []))}
    settings = config.model_dump(mode="json")
    if own is not None:
        settings["include_path"] = Path(str(config.include_path)).name
        shutil.copytree(own, context.output / own_tasks.FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
    about = backends.describe_endpoint(config, samples, context) if served else ""
    summary = scrub({"tasks": task_summary(results), "config": settings, "packages": packages})
    write_json(summary, context.output / "results.json")
    context.report.chance |= chance(results)
    report_results(context, summary, rows, predict_only=config.predict_only, limit=config.limit, about=about)
    if own is not None:
        context.report.section("Own tasks", f"The tasks' files are in `{own_tasks.FOLDER}/` of this repository.")
    if not config.predict_only:
        note_thoughts(context, results["samples"])


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what lm-eval and transformers raise for bad models and options into one line, ours passing through."""
    from aiohttp import ClientError

    try:
        yield
    except HubwrightError:
        raise
    except (OSError, ValueError, ImportError, AssertionError, NotImplementedError, ClientError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"lm-eval: {message}") from error


def _run(config: HarnessConfig, context: StepContext, manager: Any, names: list[str]) -> dict[str, Any] | None:
    from lm_eval import simple_evaluate

    from .._lib.interactive.model import InteractiveLM

    # Its warnings are about group scores and overridden settings, which a recipe states on purpose; those about an
    # endpoint tell of failed requests and empty answers.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("lm_eval.models").setLevel(
        logging.WARNING if config.backend in backends.ROUTES else logging.ERROR
    )
    lm, tokenizer = backends.load(config, context)
    # lm-eval asks git about the folder that the recipe runs in, and git complains on stderr if that is no repository.
    # The result's `git_hash` is not read here.
    with model_tokenizer(tokenizer), mock.patch("lm_eval.evaluator.get_git_commit_hash", lambda: None):
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
    if results is None and lm.rank > 0:
        return None
    return dict(results or {"samples": {}, "results": {}})
