"""The commands around evaluation: score, judge, agree, eval, tasks. Results go to stdout, messages to stderr."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..hub_sync.errors import DataError, UsageError
from .options import FormatOption
from .tables import print_table

if TYPE_CHECKING:
    from ..evals._lib.judging.benchmark import Benchmark, Shown, StoredBenchmark

BenchmarkArgument = Annotated[
    str, typer.Argument(metavar="BENCHMARK", help="Name of a judged benchmark, as its step offers it.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|ORG/NAME@REV",
        help="Take labels and weights from this data set, not from the answers' or verdicts' file.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the `hubwright` command."""
    app.command()(score)
    app.command()(judge)
    app.command()(agree)
    app.command(name="eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(evaluate)
    tasks = typer.Typer(no_args_is_help=True, help="The lm-eval tasks that hubwright brings.")
    tasks.command(name="path")(tasks_path)
    tasks.command(name="list")(tasks_list)
    app.add_typer(tasks, name="tasks")


def score(
    benchmark: BenchmarkArgument,
    verdicts: Annotated[
        str, typer.Argument(metavar="VERDICTS", help="Our verdict file, or the benchmark's own file of judgements.")
    ],
    format: FormatOption = "text",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 1234,
    dataset: DatasetOption = None,
    failed_answers: Annotated[
        str, typer.Option(help="judged: a failed call's marker keeps its verdict, as published; zero: it scores 0.")
    ] = "judged",
    max_failed: Annotated[
        float, typer.Option(min=0, max=1, help="Give no score above this share of failed answers and verdicts.")
    ] = 0.05,
) -> None:
    """Score stored verdicts.

    The macro scores as published, their slices and intervals, and what failed.

    Needs no judge, no network and no GPU; the same file gives the same figures.

    \b
    Examples:
      hubwright score fbbench verdicts.jsonl
      hubwright score fbbench model_judgment/gpt-4o-2024-08-06/DeepSeek-V3.jsonl --format json
      hubwright score fbbench verdicts.jsonl --dataset org/fb-bench@v1.0.0 --bootstrap 10000
      hubwright score alpaca_eval annotations.json --format json
      hubwright score cfbench judge/gpt4o_eval.json
      hubwright score sysbench gpt4o_analysis.xlsx
    """
    if failed_answers not in ("judged", "zero"):
        raise UsageError(f"--failed-answers {failed_answers!r} is unknown: use judged or zero")
    chosen = _benchmark(benchmark)
    report = chosen.score(
        chosen.read(verdicts),
        dataset=dataset,
        resamples=bootstrap,
        seed=seed,
        failed_answers=failed_answers,
        max_failed=max_failed,
    )
    _show(report, format, chosen.shown)


def judge(
    benchmark: BenchmarkArgument,
    answers: Annotated[
        str,
        typer.Argument(
            metavar="ANSWERS",
            help="A recipe's answers, lm-eval samples_*.jsonl, official answers, or id + answer lines.",
        ),
    ],
    judge: Annotated[
        str, typer.Option("--judge", help="openai:MODEL@BASE_URL, embedded:ORG/NAME[@REV][#FILE], replay:VERDICTS.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Verdict file, written at the end; a finished one is kept.")],
    dataset: DatasetOption = None,
    method: Annotated[
        str, typer.Option(help="text: one reply with all verdicts, as published; logprob: one token per item.")
    ] = "text",
    language: Annotated[
        str, typer.Option(help="Language of the judge's instructions: zh (as published) or en.")
    ] = "zh",
    prompt: Annotated[str, typer.Option(help="published, or brief (no reasons, for small judges).")] = "published",
    order: Annotated[str, typer.Option(help="text: list the items forward or reversed (position check).")] = "forward",
    json_schema: Annotated[bool, typer.Option(help="text: ask for the form by JSON Schema.")] = False,
    threshold: Annotated[float, typer.Option(help="logprob: probability of yes from which an item is met.")] = 0.5,
    min_mass: Annotated[
        float, typer.Option(help="logprob: probability of yes and no together below which an item is unparsable.")
    ] = 0.5,
    recording: Annotated[
        Path | None, typer.Option(help="Folder of the recorded replies; default: OUT.recording.")
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Answer from the record alone; ask no judge.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 16,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for one request; default: 120, embedded 1800.")
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Whole attempts until a reply is usable (published: 3).")] = 3,
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the key.")] = "OPENAI_API_KEY",
) -> None:
    """Have stored answers judged.

    One line per checklist item is written. Safe to kill: run it again to go on.

    Samples already judged for the same answer and prompt are kept, failures are tried again. Exits 0 also where some
    samples failed: they are counted, and `hubwright score` refuses a score when they are too many.

    \b
    Examples:
      lm_eval run --model hf --model_args pretrained=org/model --apply_chat_template --tasks fbbench \\
        --predict_only --output_path out
      hubwright judge fbbench out/*/samples_fbbench_*.jsonl --judge openai:gpt-4o-2024-08-06 --out verdicts.jsonl
      hubwright judge fbbench answers.jsonl --dataset org/fb-bench@v1.0.0 --out verdicts.jsonl \\
        --judge openai:qwen@http://127.0.0.1:8000/v1
      hubwright judge fbbench org/answers@v1.0.0 --out verdicts.jsonl --method logprob \\
        --judge embedded:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF
    """
    chosen = _benchmark(benchmark)
    from ..evals._lib.judging.benchmark import Benchmark
    from ..evals._lib.judging.judge import judge_answers, read_judge_config

    if not isinstance(chosen, Benchmark):
        raise UsageError(
            f"{benchmark} is not judged by checklists: `hubwright score {benchmark}` scores its judgements"
        )

    config = read_judge_config(
        {
            "judge": judge,
            "method": method,
            "language": language,
            "prompt": prompt,
            "order": order,
            "json_schema": json_schema,
            "threshold": threshold,
            "min_mass": min_mass,
            "concurrency": concurrency,
            "timeout": timeout,
            "attempts": attempts,
            "api_key_env": api_key_env,
        }
    )
    cases = chosen.read_answers(answers, dataset)
    rows = judge_answers(cases, config, out=out, recording=recording, replay=replay, official=(chosen.official,))
    answered = [row for row in rows if row["item"] == 0]
    states = Counter(row["state"] for row in answered)
    if states["failed"] == len(answered):
        raise DataError(f"none of {len(answered)} samples got a verdict; the first: {answered[0]['reason']}")
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(states.items()))
    print(f"{out}: {len(answered)} samples: {counts}", file=sys.stderr)
    print(f"next: hubwright score {benchmark} {out}", file=sys.stderr)


def agree(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Verdicts, ours or official: a file, folder or reference.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another judge's verdicts on the same answers.")],
    by: Annotated[str | None, typer.Option(help="Also by task, scenario or position of the item.")] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="The same judges on another model's answers: does A favour the first model? Repeatable.",
        ),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 1234,
    format: FormatOption = "text",
) -> None:
    """Tell how far two judges agree.

    Agreement, Cohen's kappa, what neither could parse, and the difference of the scores.

    Verdicts are joined by sample, item and answer. Intervals draw whole samples, because items of one answer hang
    together. For a position check give the verdicts of one judge asked forward and reversed.

    \b
    Examples:
      hubwright agree verdicts.jsonl gpt-4o-2024-08-06/Qwen2.5-7B-Instruct.jsonl --by task
      hubwright agree forward.jsonl reversed.jsonl --by position
      hubwright agree own.jsonl own-reference.jsonl --other else.jsonl,else-reference.jsonl
    """
    from ..evals._lib.judging import agreement
    from ..evals._lib.judging.benchmark import Benchmark
    from ..evals._lib.judging.verdicts import read_stored

    official = [chosen.official for chosen in _benchmarks().values() if isinstance(chosen, Benchmark)]

    def pairs_of(a: str, b: str) -> list[agreement.Pair]:
        return agreement.pair(read_stored(a, official).rows, read_stored(b, official).rows)

    pairs = pairs_of(first, second)
    report = agreement.compare(pairs, by=by, resamples=bootstrap, seed=seed)
    if other:
        others = []
        for entry in other:
            ours, comma, theirs = entry.partition(",")
            if not comma:
                raise UsageError(f"--other {entry!r}: write the two judges' verdicts as A,B")
            others.append(pairs_of(ours, theirs))
        report["self_preference"] = agreement.self_preference([pairs], others, resamples=bootstrap, seed=seed)
    _show(report, format, agreement.shown)


def evaluate(
    context: typer.Context,
    tasks: Annotated[str, typer.Argument(metavar="TASKS", help="Task names, separated by commas.")],
) -> None:
    """Run lm-eval on our tasks.

    The 14,000 of upstream are not indexed, which takes lm-eval seconds at every start.

    Every further option is lm-eval's own (`lm_eval run --help`). Where a name is not ours it indexes upstream's too.

    \b
    Examples:
      hubwright eval fbbench_sample --model hf --model_args pretrained=org/model --apply_chat_template \\
        --metadata '{"judge": "openai:qwen@http://127.0.0.1:8000/v1"}'
      hubwright eval feedback_drills,gsm8k --model hf --model_args pretrained=org/model --limit 10
    """
    from ..catalog import register_architectures
    from ..evals.harness.command import run_lm_eval

    register_architectures()
    run_lm_eval(tasks, list(context.args))


def tasks_path() -> None:
    """Print the folder of our lm-eval YAML files.

    Example: lm_eval run --include_path "$(hubwright tasks path)" --tasks fbbench_sample
    """
    from ..evals._lib.data import tasks_dir

    print(tasks_dir())


def tasks_list(format: FormatOption = "text") -> None:
    """List our lm-eval tasks. All of them work with plain `lm_eval --tasks NAME` after `pip install hubwright`."""
    from ..evals.harness.command import list_tasks

    names = list_tasks()
    print(json.dumps(names) if format == "json" else "\n".join(names))


def _benchmarks() -> dict[str, Benchmark | StoredBenchmark]:
    """The judged benchmarks that steps offer, by name."""
    from ..catalog import catalog, load

    benchmarks = [load(spec.benchmark, spec.extra) for spec in catalog().values() if spec.benchmark]
    return {benchmark.name: benchmark for benchmark in benchmarks}


def _benchmark(name: str) -> Benchmark | StoredBenchmark:
    benchmarks = _benchmarks()
    if name not in benchmarks:
        raise UsageError(f"benchmark {name!r} is unknown: use {', '.join(benchmarks)}")
    return benchmarks[name]


def _show(report: dict[str, Any], format: str, shown: Callable[[dict[str, Any]], Sequence[Shown]]) -> None:
    """Print a report as JSON, or as tables and lines."""
    if format == "json":
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return
    for number, part in enumerate(shown(report)):
        if isinstance(part, str):
            print(part)
            continue
        if number:
            print()
        print_table(*part)
