"""`hubwright eval`: lm-eval's own command line on an index that holds our tasks alone where they suffice.

The arguments are parsed and the results saved and printed by lm-eval's own code. Only its `process_tasks`, which
always indexes every YAML file of upstream, is left out; so are the trackers, which are refused, not passed over.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from ...hub_sync.errors import UsageError
from .._lib.data import tasks_dir
from .step import find_tasks, one_line_errors
from .weights import complete_models


def list_tasks() -> list[str]:
    """Names of the tasks in our folder, in alphabetical order, without importing lm-eval."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads `!function` as nothing: the names are all that is wanted."""

    Loader.add_constructor("!function", lambda loader, node: None)
    names = []
    for path in tasks_dir().glob("**/*.yaml"):
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506
        if isinstance(value, dict):
            names += [value[key] for key in ("task", "group") if isinstance(value.get(key), str)]
    return sorted(set(names))


def run_lm_eval(tasks: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Evaluate `tasks` (names or globs, separated by commas) with the arguments of `lm_eval run`.

    Prints lm-eval's table, saves what `--output_path` asks for, and returns the results (None except on rank 0).

    Raises UsageError for an unknown task or a bad argument; exits 2 with argparse's message for a wrong option.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from lm_eval.config.evaluate_config import EvaluatorConfig

    from .._lib.interactive import model as _registers  # noqa: F401  `--model interactive`

    try:
        config = EvaluatorConfig.from_cli(_parse([*arguments, "--tasks", tasks]))
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    for option in ("wandb_args", "trackio_args"):
        if getattr(config, option):
            raise UsageError(f"--{option} is not handled here; use `lm_eval run --tasks {tasks} --{option} ...`")
    names = [name for name in tasks.split(",") if name]
    manager, names = find_tasks(names, config.metadata, include_path=config.include_path)

    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.utils import make_table

    if config.output_path:
        config.hf_hub_log_args["output_path"] = config.output_path
    if os.environ.get("HF_TOKEN"):
        config.hf_hub_log_args.setdefault("token", os.environ["HF_TOKEN"])
    tracker = EvaluationTracker(**config.hf_hub_log_args)
    seeds = config.seed if isinstance(config.seed, list) else [None] * 4
    with one_line_errors(), complete_models():
        results = simple_evaluate(
            model=config.model,
            model_args=config.model_args,
            tasks=list(names),
            num_fewshot=config.num_fewshot,
            batch_size=config.batch_size,
            max_batch_size=config.max_batch_size,
            device=config.device,
            use_cache=config.use_cache,
            cache_requests=config.cache_requests.get("cache_requests", False),
            rewrite_requests_cache=config.cache_requests.get("rewrite_requests_cache", False),
            delete_requests_cache=config.cache_requests.get("delete_requests_cache", False),
            check_integrity=config.check_integrity,
            limit=config.limit,
            samples=config.samples if isinstance(config.samples, dict) else None,
            write_out=config.write_out,
            log_samples=config.log_samples,
            evaluation_tracker=tracker,
            system_instruction=config.system_instruction,
            apply_chat_template=config.apply_chat_template,
            fewshot_as_multiturn=bool(config.fewshot_as_multiturn),
            gen_kwargs=config.gen_kwargs,
            task_manager=manager,
            predict_only=config.predict_only,
            random_seed=seeds[0],
            numpy_random_seed=seeds[1],
            torch_random_seed=seeds[2],
            fewshot_random_seed=seeds[3],
            confirm_run_unsafe_code=config.confirm_run_unsafe_code,
            metadata=config.metadata,
        )
    if results is None:
        return None
    values: dict[str, Any] = dict(results)
    samples = values.pop("samples", None) if config.log_samples else None
    tracker.save_results_aggregated(results=values, samples=samples)
    if samples is not None:
        for name in values["configs"]:
            tracker.save_results_samples(task_name=name, samples=samples[name])
    if tracker.push_results_to_hub or tracker.push_samples_to_hub:
        tracker.recreate_metadata_card()
    if config.show_config:
        from lm_eval.utils import handle_non_serializable

        print(json.dumps(values, indent=2, default=handle_non_serializable, ensure_ascii=False))
    print(make_table(values))
    if "groups" in values:
        print(make_table(values, "groups"))
    return values


def _parse(arguments: list[str]) -> argparse.Namespace:
    from lm_eval._cli.run import Run

    parser = argparse.ArgumentParser(prog="hubwright eval")
    Run.create(parser.add_subparsers())
    return parser.parse_args(["run", *arguments])
