"""What `hubwright run` shows: states on stderr as they come, a table at the end on stdout, and `events.jsonl`."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any, Self

from ..hub_sync import provenance
from ..hub_sync.errors import HubError
from ..hub_sync.hub import endpoint_url
from ..hub_sync.provenance import now
from ..hub_sync.pull import pull
from ..recipe import Plan
from ..runner import Outcome
from .outlook import outlook_cells, outlook_json, print_outlooks
from .tables import print_table

_METRICS = 15  # of an evaluation that are printed at the end of a run
_LINES = {
    "skip": "already published at {commit:.12}",
    "input": "reading {role} {ref}",
    "aside": "set aside {path}; it is kept until you remove it",
    "run": "running {uses}",
    "built": "built; publishing",
    "card": "already published; its card is new at {commit:.12}",
    "published": "published at {url}",
}


class RunView:
    """Live view of a run. Plain lines, so that a log file and a terminal show the same."""

    def __init__(self, plan: Plan, *, runs: Path | None = None, quiet: bool = False) -> None:
        self.plan = plan
        self.quiet = quiet
        self.runs = runs or Path("runs")
        self._log = runs / plan.name / "events.jsonl" if runs else None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if not self.quiet:
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            logging.getLogger("hubwright").setLevel(logging.INFO)
            below = ", ".join(sorted({step.target.repo_id.partition("/")[0] for step in self.plan.steps}))
            number = len(self.plan.steps)
            print(
                f"{self.plan.name}: {number} steps on {endpoint_url()}, published below {below}",
                file=sys.stderr,
                flush=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def event(self, step: str, state: str, details: dict[str, Any]) -> None:
        """Print one state of one step, and append it to the log."""
        if self._log is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"time": now(), "step": step, "state": state, **details}) + "\n")
        if not self.quiet:
            seconds = time.monotonic() - self._started
            line = _LINES[state].format(**details)
            print(f"[{seconds:7.1f} s] {step}: {line}", file=sys.stderr, flush=True)

    def show(self, outcomes: list[Outcome], format: str, scores: bool = False) -> None:
        """Print what became of every step, as tables or JSON.

        Args:
            scores: also the figures of the evaluations, from what they published.
        """
        figures = self._scores(outcomes) if scores else {}
        targets = {step.name: step.target for step in self.plan.steps}
        private = {step.name: step.publish.private for step in self.plan.steps}
        rows: list[dict[str, Any]] = [
            {
                "step": o.step,
                "state": o.state,
                "type": targets[o.step].repo_type,
                "repo_id": targets[o.step].repo_id,
                "commit": o.ref.revision if o.ref else None,
                "tag": o.tag,
                "private": private[o.step],
                "fingerprint": o.fingerprint,
                "url": f"{endpoint_url()}/{o.ref.hub_path}/tree/{o.ref.revision}" if o.ref else None,
                "seconds": round(o.seconds, 1),
                "disk": None,
            }
            | (outlook_json(o.outlook) if o.outlook else {})
            | ({"metrics": figures[o.step]} if o.step in figures else {})
            for o in outcomes
        ]
        if format == "json":
            print(json.dumps({"recipe": self.plan.name, "steps": rows}))
            return
        columns = ["step", "state", "repository", "tag", "commit"]
        cells = [[row["step"], row["state"], row["repo_id"], row["tag"], (row["commit"] or "")[:12]] for row in rows]
        outlooks = {o.step: o.outlook for o in outcomes if o.outlook}
        if outlooks:
            columns += ["access", "fetches", "writes, about", "takes, about"]
            cells = [
                [*cell, "private" if private[o.step] else "public", *outlook_cells(o.outlook)]
                for cell, o in zip(cells, outcomes, strict=True)
            ]
        print_table(columns, cells)
        print_outlooks(outlooks, self.runs)
        for step, metrics in figures.items():
            print(f"\n{step}:")
            shown = list(metrics.items())[:_METRICS]
            print_table(("metric", "value"), [(name, f"{value:.4g}") for name, value in shown])
            if more := len(metrics) - len(shown):
                print(f"and {more} more in {next(o.ref for o in outcomes if o.step == step)}")

    def _scores(self, outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
        """Figures of each evaluation that is published, without their standard errors."""
        evals = {step.name for step in self.plan.steps if step.spec.kind == "eval"}
        figures: dict[str, dict[str, float]] = {}
        for outcome in outcomes:
            if outcome.ref is not None and outcome.step in evals:
                try:
                    folder = pull(outcome.ref, [provenance.FILE_NAME])
                except HubError as error:  # the run is done all the same
                    print(f"warning: {outcome.step}: its scores cannot be read: {error}", file=sys.stderr)
                    continue
                metrics = provenance.load(folder / provenance.FILE_NAME)[-1]["report"]["metrics"]
                known = {name: value for name, value in metrics.items() if value is not None and "stderr" not in name}
                figures |= {outcome.step: known} if known else {}
        return figures
