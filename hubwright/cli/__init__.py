"""The `hubwright` command. Data goes to stdout, messages to stderr; heavy imports wait until a command needs them."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..hub_sync.errors import HubwrightError
from . import engine as cli_engine
from . import evaluation as cli_eval
from . import hub as cli_hub
from .tables import print_table

app = typer.Typer(
    name="hubwright",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Declarative recipes in, versioned Hugging Face Hub repositories out.\n\n"
    "Start with `hubwright demo`, or write a recipe and `hubwright run recipe.yaml`. The hub in use is HF_ENDPOINT "
    '(huggingface.co when unset); `eval "$(hubwright hub env)"` points this shell at a local one.\n\n'
    "Exit codes: 0 done, 2 bad recipe or option, 3 bad data, 4 hub refused, 5 conflict, 6 disk, 130 interrupted.",
)

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one value of the recipe, e.g. namespace=me. May be repeated."),
]
RunsOption = Annotated[Path, typer.Option(help="Folder for work in progress.")]
FormatOption = Annotated[str, typer.Option("--format", help="human or json.")]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    recipe: RecipeArgument,
    only: Annotated[str | None, typer.Option(metavar="STEP", help="Run just this step.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and resolve everything, run nothing.")] = False,
    set_: SetOption = None,
    update: Annotated[
        bool, typer.Option("--update", help="Read moving inputs again, not at the locked commits.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set unfinished work with other settings aside and restart.")
    ] = False,
    recording: Annotated[
        str | None,
        typer.Option(metavar="DIR|ORG/NAME@REV", help="Recorded requests and answers; default RUNS/NAME/recording."),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Answer every request from the recording; ask no model.")
    ] = False,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep checkpoints and shards of published steps below RUNS.")
    ] = False,
    runs: RunsOption = Path("runs"),
    format: FormatOption = "human",
) -> None:
    """Run a recipe: build, train, evaluate, write cards, publish. Safe to repeat, safe to kill.

    Steps whose result is published already are skipped. The commits of everything read and made go to the lock file
    beside the recipe.

    \b
    Examples:
      hubwright run demo
      hubwright run fbbench --set namespace=me --set steps.fb_bench.with.source=fb_bench_dataset_v3.json
      hubwright run recipe.yaml --only tuned
      hubwright run judged.yaml --replay --recording org/verdicts@v1.0.0   # rebuild without any model
    """
    from ..preflight import check_machine
    from ..recipe import find_recipe, load_plan
    from ..runner import default_settings
    from ..runner import run as run_plan
    from ..sources import find_recording
    from .progress import RunView

    plan = load_plan(find_recipe(recipe), set_)
    settings = default_settings(
        plan,
        runs=runs,
        only=only,
        update=update,
        dry_run=dry_run,
        fresh=fresh,
        keep_work=keep_work,
        recording=find_recording(recording, replay=replay) if recording else None,
        replay=replay,
    )
    with RunView(plan, runs=runs, quiet=format == "json") as view:
        outcomes = run_plan(plan, settings, view.event)
    view.show(outcomes, format)
    pending = {outcome.step for outcome in outcomes if outcome.state == "pending"}
    check_machine(step for step in plan.steps if dry_run and step.name in pending and only in (None, step.name))


@app.command()
def status(recipe: RecipeArgument, set_: SetOption = None, format: FormatOption = "human") -> None:
    """Show which steps of a recipe are published, at which commit, and which are still to do."""
    from ..recipe import find_recipe, load_plan
    from ..runner import default_settings
    from ..runner import run as run_plan
    from .progress import RunView

    plan = load_plan(find_recipe(recipe), set_)
    outcomes = run_plan(plan, default_settings(plan, dry_run=True))
    RunView(plan, quiet=True).show(outcomes, format)


@app.command()
def clean(
    recipe: RecipeArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Unfinished work and unpublished results too; it cannot be resumed then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, remove nothing.")] = False,
    set_: SetOption = None,
    runs: RunsOption = Path("runs"),
    format: FormatOption = "human",
) -> None:
    """Remove what runs of a recipe left on disk: work of published steps, and what --fresh set aside.

    Recorded requests (RUNS/NAME/recording) stay: they may have cost money.

    \b
    Examples:
      hubwright clean demo --dry-run
      hubwright clean demo --all
    """
    from ..recipe import find_recipe, load_plan
    from ..runner import clean as clean_work
    from ..runner import default_settings

    plan = load_plan(find_recipe(recipe), set_)
    removed = clean_work(plan, default_settings(plan, runs=runs, dry_run=dry_run), everything=everything)
    if format == "json":
        rows = [{"folder": str(path), "state": state, "bytes": size} for path, state, size in removed]
        print(json.dumps({"recipe": plan.name, "removed": not dry_run, "folders": rows}))
        return
    if removed:
        print_table(("folder", "state", "MB"), [(path, state, f"{size / 1e6:.1f}") for path, state, size in removed])
    print(f"{'would free' if dry_run else 'freed'} {sum(size for _, _, size in removed) / 1e6:.1f} MB")


@app.command()
def verify(
    artifact: Annotated[
        str, typer.Argument(metavar="REPO@REV", help="org/name@rev, datasets/org/name@rev or models/...")
    ],
    format: FormatOption = "human",
) -> None:
    """Check a published artifact: files, fingerprints, card and inputs against provenance.json and the hub.

    Exits 3 when a check fails. Example: hubwright verify datasets/hubwright/fb-bench@v1.0.0
    """
    from .. import verify as checks

    ref, results = checks.verify(checks.find_artifact(artifact))
    if format == "json":
        print(json.dumps({"artifact": str(ref), "checks": [c.__dict__ for c in results]}))
    else:
        print(f"{ref.repo_type} {ref}")
        words = {True: "ok", False: "FAILED", None: "unknown"}
        print_table(("", "check", "detail"), [(words[c.ok], c.name, c.detail) for c in results])
    if any(c.ok is False for c in results):
        raise typer.Exit(3)


@app.command()
def recipes(
    kinds: Annotated[bool, typer.Option("--kinds", help="List what a step's `uses:` may say instead.")] = False,
) -> None:
    """List the shipped recipes; with --kinds, the words a step may use."""
    if kinds:
        from ..catalog import catalog

        print_table(("uses", "kind", "what it does"), [(n, spec.kind, spec.help) for n, spec in catalog().items()])
        return
    from ..recipe import shipped_recipes
    from ..yaml_source import read_yaml

    shipped = shipped_recipes().items()
    rows = [(name, path.parent.name, read_yaml(path)[0].get("description", "")) for name, path in shipped]
    print_table(("recipe", "folder", "what it makes"), rows)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes; editors complete and check by it (the wheel has it as recipe.schema.json)."""
    from ..recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=1, sort_keys=True))


@app.command("from-mergekit")
def from_mergekit(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A mergekit configuration (YAML).")],
    name: Annotated[str, typer.Option(help="Name of the recipe and of the model it publishes.")] = "merged",
) -> None:
    """Print the recipe that merges what a mergekit configuration merges.

    \b
    Example:
      hubwright from-mergekit ties.yml --name my-merge > recipe.yaml && hubwright run recipe.yaml --set namespace=me
    """
    import yaml

    from ..hub_sync.errors import UsageError
    from ..trainers.merge.mergekit import recipe_of

    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} cannot be read: {error}") from error
    recipe = recipe_of(text, str(config), name, lambda line: typer.echo(f"warning: {line}", err=True))
    print(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), end="")


@app.command()
def demo(
    root: Annotated[Path, typer.Option(help="Folder of the demo's hub and runs.")] = Path(".hub"),
    port: Annotated[int, typer.Option(help="Port on the loopback; 0 takes a free one.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the hub running until Ctrl-C.")] = False,
) -> None:
    """Run a recipe end to end on a local hub in a few minutes: data sets, a tuned model, its evaluation, its card."""
    from .demo import run_demo

    run_demo(root, port, keep)


app.add_typer(cli_hub.app, name="hub")
app.add_typer(cli_engine.app, name="engine")
cli_eval.register(app)


def main(argv: list[str] | None = None) -> Any:
    """Entry point. A HubwrightError becomes one line and its exit code; anything else is our defect, so it shows."""
    if not sys.stderr.isatty():
        # Bars redraw one line; in a log file every redraw is a line of its own.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        return app(argv, standalone_mode=True)
    except HubwrightError as error:
        print("hubwright:", *str(error).split(), file=sys.stderr)
        if os.environ.get("HUBWRIGHT_DEBUG"):
            raise
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("hubwright: interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        import errno

        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            print(
                f"hubwright: {error.strerror}: {error.filename}; free some space and run this again", file=sys.stderr
            )
            sys.exit(6)
        raise


if __name__ == "__main__":
    main()
