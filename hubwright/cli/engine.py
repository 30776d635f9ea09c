"""`hubwright engine`: list, start, stop. A llama.cpp server on the loopback, with a GGUF from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import FormatOption

if TYPE_CHECKING:
    from ..inference.engine import Engine

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A local model server for any OpenAI client.\n\n"
    "llama.cpp on the loopback, for teachers, simulators and judges.\n\n"
    "Recipes start and share engines by themselves; these commands are for looking and for work by hand.\n\n"
    "\b\n"
    "Examples:\n"
    "  hubwright hub seed smollm2-135m-gguf                           put a small GGUF on the local hub\n"
    "  hubwright engine start HuggingFaceTB/SmolLM2-135M-Instruct-GGUF\n"
    "  hubwright engine list                                          its id and URL\n"
    '  curl URL/chat/completions -d \'{"messages": [{"role": "user", "content": "Hello"}]}\'\n'
    "  hubwright engine stop --all",
)


@app.command("list")
def list_(format: FormatOption = "text") -> None:
    """List the running engines.

    Id, pid, URL, model, slots and their context, threads, and the start (UTC) of each.

    Example: hubwright engine list --format json
    """
    from ..inference.engine import list_engines

    for engine in list_engines():
        _show(engine, format)


@app.command()
def start(
    model: Annotated[
        str, typer.Argument(metavar="REPO[@REV]", help="A model of the hub, or the path of a GGUF file.")
    ],
    file: Annotated[
        str | None, typer.Option(metavar="F", help="Which GGUF, where the repository has several.")
    ] = None,
    context: Annotated[int, typer.Option(metavar="N", help="Tokens per slot, prompt and answer together.")] = 8192,
    slots: Annotated[int, typer.Option(metavar="N", help="Requests worked on at the same time.")] = 1,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU threads; all CPUs when left out.")] = None,
    idle: Annotated[float, typer.Option(metavar="S", help="End after so many seconds without a request.")] = 600.0,
    format: FormatOption = "text",
) -> None:
    """Start an engine and print its id and URL.

    It stays until `hubwright engine stop`, or until it is idle. One that serves the same file with the same settings
    already is shown instead. The file is pulled from HF_ENDPOINT at its commit and its SHA-256 is verified.

    \b
    Examples:
      hubwright engine start HuggingFaceTB/SmolLM2-135M-Instruct-GGUF --slots 4 --context 2048
      hubwright engine start Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF@main --file qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
      hubwright engine start ./model.gguf --idle 3600
    """
    from ..hub_sync.refs import ArtifactRef
    from ..inference.engine import start_engine

    local = Path(model)
    source = local if local.suffix == ".gguf" else ArtifactRef.parse(model, "model")
    _show(
        start_engine(
            source, file=file, context_tokens=context, slots=slots, threads=threads, keep=True, idle_seconds=idle
        ),
        format,
    )


@app.command()
def stop(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="From `hubwright engine list`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every running engine.")] = False,
) -> None:
    """Stop engines, also while something uses them. Prints the ids that were stopped.

    Example: hubwright engine stop 3f9c21d07ab4
    """
    from ..hub_sync.errors import UsageError
    from ..inference.engine import list_engines, stop_engine

    if bool(ids) == all_:
        raise UsageError("say which engines to stop: ids of `hubwright engine list`, or --all")
    running = [engine.id for engine in list_engines()]
    unknown = [one for one in ids or [] if one not in running]
    if unknown:
        raise UsageError(f"no engine runs as {', '.join(unknown)}; running: {', '.join(running) or 'none'}")
    for one in ids or running:
        if stop_engine(one):
            typer.echo(one)


def _show(engine: Engine, format: str) -> None:
    if format == "json":
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(engine)))
        return
    typer.echo(
        f"{engine.id}\tpid {engine.pid}\t{engine.url}\t{engine.model}\t{engine.slots} x {engine.context_tokens} tokens"
        f"\t{engine.threads} threads\t{engine.started_at}"
    )
