"""Recipe step `metric`: a scorer as a Space that `evaluate.load("org/NAME")` loads.

A metric module lies in its benchmark's folder. It holds an `evaluate.Metric` over the scorer of the installed package
and four texts: NAME, TITLE, SUMMARY and EXAMPLE (code). It imports its package by the full name, because the Space
gets a copy of it. The repository has to be named NAME: `evaluate` looks for NAME.py in org/NAME.
"""

import importlib
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.settings import Settings


class MetricConfig(Settings):
    """Which metric."""

    module: str = Field(
        pattern=r"^\w+(\.\w+)+$",
        description="Dotted name of the metric module; the Space must bear the module's NAME.",
    )


def write_metric(config: MetricConfig, context: StepContext) -> None:
    """Write NAME.py and requirements.txt below `context.output`; the card is rendered from the report.

    Raises UsageError for a module that cannot be imported or is not a metric.
    """
    try:
        module = importlib.import_module(config.module)
        name, title, summary, example = module.NAME, module.TITLE, module.SUMMARY, module.EXAMPLE
        source = Path(str(module.__file__)).read_bytes()
        package = config.module.partition(".")[0]
        requirements = f"{package}=={version(package)}\nevaluate>=0.4.6\n"
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"metric {config.module}: {error}; name a module with an evaluate.Metric, NAME, TITLE, SUMMARY and EXAMPLE"
        ) from error
    (context.output / f"{name}.py").write_bytes(source)
    (context.output / "requirements.txt").write_text(requirements, encoding="utf-8")
    report = context.report
    report.card |= {"pretty_name": title, "license": "apache-2.0", "tags": ["evaluate", "metric"]}
    report.summary = f"A metric for `evaluate`: {summary}. It needs `pip install {package} evaluate`."
    report.section("Use", f"```python\nimport evaluate\n\n{example.strip()}\n```")
