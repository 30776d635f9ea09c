"""The `hubwright` command. Data goes to stdout, messages to stderr; heavy imports wait until a command needs them."""

import json
import os
import shlex
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..hub_sync.errors import HubwrightError
from ..hub_sync.pace import plain_bars
from . import engine as cli_engine
from . import evaluation as cli_eval
from . import hub as cli_hub
from .options import FormatOption
from .tables import print_table

app = typer.Typer(
    name="hubwright",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Declarative recipes in, versioned Hugging Face Hub repositories out.\n\n"
    "Start with `hubwright demo`, or write a recipe and `hubwright run recipe.yaml`. The hub in use is HF_ENDPOINT "
    '(huggingface.co when unset); `eval "$(hubwright hub env)"` points this shell at a local one.\n\n'
    "Exit codes: 0 done, 2 bad recipe or option, 3 bad data, 4 hub refused, 5 conflict, 6 disk, "
    "130 interrupted, 143 terminated.",
)

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, the name of a shipped one, or datasets/org/name@v1.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one value of the recipe, e.g. namespace=me. May be repeated."),
]
RunsOption = Annotated[Path, typer.Option(help="Folder for work in progress.")]


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
    format: FormatOption = "text",
) -> None:
    """Run a recipe: build, train, evaluate, write cards, publish. Safe to repeat, safe to kill.

    Everything that can be known is checked before any step works, and by --dry-run: inputs, licences, tasks, chat
    templates, packages, devices, disk. --dry-run also says where each step publishes and about how long it takes.

    Steps whose result is published already are skipped. The commits of everything read and made go to the lock file
    beside the recipe.

    \b
    Examples:
      hubwright run demo
      hubwright run fbbench --set namespace=me --set steps.fb_bench.with.source=fb_bench_dataset_v3.json
      hubwright run recipe.yaml --only tuned
      hubwright run judged.yaml --replay --recording org/verdicts@v1.0.0   # rebuild without any model
    """
    from ..preflight import refuse
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
    view.show(outcomes, format, scores=not dry_run)
    refuse({outcome.step: outcome.outlook for outcome in outcomes if outcome.outlook})


@app.command()
def status(recipe: RecipeArgument, set_: SetOption = None, format: FormatOption = "text") -> None:
    """Show what a recipe has published, and what is still to do."""
    from ..recipe import find_recipe, load_plan
    from ..runner import default_settings
    from ..runner import run as run_plan
    from .progress import RunView

    plan = load_plan(find_recipe(recipe), set_)
    outcomes = run_plan(plan, default_settings(plan, dry_run=True, outlook=False))
    found = [replace(one, state="published") if one.ref else one for one in outcomes]
    RunView(plan, quiet=True).show(found, format)


@app.command()
def clean(
    recipe: RecipeArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Unfinished work and unpublished results too; it cannot be resumed then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, remove nothing.")] = False,
    set_: SetOption = None,
    runs: RunsOption = Path("runs"),
    format: FormatOption = "text",
) -> None:
    """Remove the folders that runs of a recipe left.

    These are the work of published steps, and what --fresh set aside.

    Recorded requests (RUNS/NAME/recording) stay: they may have cost money.

    \b
    Examples:
      hubwright clean demo --dry-run
      hubwright clean demo --all
    """
    from ..recipe import find_recipe, load_plan
    from ..runner import clean as clean_work
    from ..runner import default_settings

    plan = load_plan(find_recipe(recipe), set_, user="nobody")  # where steps publish is of no concern here
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
    format: FormatOption = "text",
) -> None:
    """Check a published artifact against its own provenance.

    Its files, fingerprints, card and inputs are compared with provenance.json and the hub.

    Exits 3 when a check fails. Example: hubwright verify datasets/hubwright/fb-bench@v1.0.0
    """
    from .. import verification as checks

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
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this recipe; with --kinds, explain this step.")
    ] = None,
    kinds: Annotated[bool, typer.Option("--kinds", help="List what a step's `uses:` may say instead.")] = False,
) -> None:
    """List the shipped recipes and the steps, or show one.

    \b
    Examples:
      hubwright recipes demo > my-recipe.yaml
      hubwright recipes --kinds
      hubwright recipes --kinds sft
    """
    from ..catalog import catalog
    from ..recipe import find_recipe, shipped_recipes
    from ..yaml_source import read_yaml

    if kinds and name:
        from .steps import explain

        explain(name)
    elif kinds:
        print_table(("uses", "kind", "what it does"), [(n, spec.kind, spec.help) for n, spec in catalog().items()])
    elif name:
        print(find_recipe(name).read_text(encoding="utf-8"), end="")
    else:
        shipped = shipped_recipes().items()
        rows = [(word, path.parent.name, read_yaml(path)[0].get("description", "")) for word, path in shipped]
        print_table(("recipe", "folder", "what it makes"), rows)


@app.command()
def schema(
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="The schema of this step's `with:` alone.")
    ] = None,
) -> None:
    """Print the JSON Schema of recipes, or of one step.

    Editors complete and check recipes by it; the wheel has it as recipe.schema.json.

    \b
    Examples:
      hubwright schema > recipe.schema.json
      hubwright schema sft
    """
    from ..catalog import config_class, spec_of
    from ..recipe import recipe_schema

    value = config_class(spec_of(step)).model_json_schema(by_alias=True) if step else recipe_schema()
    print(json.dumps(value, indent=1, sort_keys=True))


@app.command("from-mergekit")
def from_mergekit(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A mergekit configuration (YAML).")],
    name: Annotated[str, typer.Option(help="Name of the recipe and of the model it publishes.")] = "merged",
) -> None:
    """Print a mergekit configuration as a recipe.

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
    """Run a recipe end to end on a local hub, in minutes.

    Data sets, a tuned model, its evaluation and its card; the hub lies below --root.
    """
    from .demo import run_demo

    run_demo(root, port, keep)


app.add_typer(cli_hub.app, name="hub")
app.add_typer(cli_engine.app, name="engine")
cli_eval.register(app)


def _interrupt(number: int, owner: int, terminated: list[int]) -> None:
    """End as on Ctrl-C, so that servers are stopped and locks given back; a forked worker ends at once."""
    if os.getpid() != owner:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    terminated.append(number)
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> Any:
    """Entry point. A HubwrightError becomes one line and its exit code; anything else is our defect, so it shows."""
    if not sys.stderr.isatty():
        plain_bars()
    # Arrow's allocator otherwise holds on to what a build has freed.
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
    terminated: list[int] = []
    if threading.current_thread() is threading.main_thread():
        owner = os.getpid()
        signal.signal(signal.SIGTERM, lambda number, _: _interrupt(number, owner, terminated))
    try:
        return app(argv, standalone_mode=True)
    except HubwrightError as error:
        for one in getattr(error, "errors", [error]):
            print("hubwright:", *str(one).split(), file=sys.stderr)
        if os.environ.get("HUBWRIGHT_DEBUG"):
            raise
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of KeyboardInterrupt
            command = shlex.join(["hubwright", *(sys.argv[1:] if argv is None else argv)])
            print(f"hubwright: {'terminated' if terminated else 'interrupted'}; to go on: {command}", file=sys.stderr)
            sys.exit(143 if terminated else 130)
        raise
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
