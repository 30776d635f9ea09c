"""Recipe step `metric`: one of our scorers as a Space that `evaluate.load("org/NAME")` loads.

The module is a thin one over the plain scorer of the installed package, so both give the same figures by being the
same code. The repository has to be named like the module: `evaluate` looks for NAME.py in org/NAME.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import StepContext

MODULES = Path(__file__).parent / "modules"
ABOUT = {
    "fb_bench": (
        "FB-Bench score",
        "the published macro scores of FB-Bench (arXiv:2410.09412) from a judge's checklist verdicts",
        'evaluate.load("{repo}").compute(\n    predictions=[["yes", "no"]],\n    references=[{{"bench_type": '
        '"Error Correction", "task_type": "Coding", "items": ["runs", "explains"], "weights": [0.7, 0.3]}}],\n)',
    ),
    "tool_calls": (
        "Tool calls, exact",
        "function calls compared as JSON values, and restraint where no call is right",
        'evaluate.load("{repo}").compute(\n    predictions=[\'{{"name": "now", "arguments": {{}}}}\'],\n    '
        'references=[\'[{{"name": "now", "arguments": {{}}}}]\'],\n)',
    ),
    "feedback_drills": (
        "Feedback drills accuracy",
        "exact answers after feedback: the last `Answer: VALUE` of a response",
        'evaluate.load("{repo}").compute(predictions=["Answer: 7"], references=["7"])',
    ),
}


class MetricConfig(BaseModel):
    """Which metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["fb_bench", "tool_calls", "feedback_drills"] = Field(
        description="The metric; the Space it is published as must bear the same name."
    )


def write_metric(config: MetricConfig, context: StepContext) -> None:
    """Write NAME.py and requirements.txt below `context.output`; the card is rendered from the report."""
    source = MODULES / f"{config.name}.py"
    (context.output / source.name).write_bytes(source.read_bytes())
    needs = f"hubwright=={version('hubwright')}\nevaluate>=0.4.6\n"
    (context.output / "requirements.txt").write_text(needs, encoding="utf-8")
    title, what, example = ABOUT[config.name]
    report = context.report
    report.card |= {"pretty_name": title, "license": "apache-2.0", "tags": ["evaluate", "metric"]}
    report.summary = f"A metric for `evaluate`: {what}. It needs `pip install hubwright evaluate`."
    call = example.format(repo=f"ORG/{config.name}")
    report.sections.append({"title": "Use", "body": f"```python\nimport evaluate\n\n{call}\n```"})
