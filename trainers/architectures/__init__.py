"""Model classes of our own, a package each. Builders and evaluations reach them through transformers' Auto classes.

A package offers `register()`, and may offer `retrofit.retrofit(model, **options)`, a trained model of a known
architecture as one of its own, and `report.describe(model, report)`, what its card shows of it. Importing them needs
torch.
"""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from ...hub_sync.context import Report
from ...hub_sync.errors import UsageError


def names() -> list[str]:
    """The `model_type` of every architecture of ours."""
    return [module.name for module in iter_modules(__path__) if module.ispkg]


def register() -> None:
    """Make AutoConfig, AutoModel and AutoModelForCausalLM know them. Calling it again changes nothing."""
    for name in names():
        import_module(f".{name}", __package__).register()


def retrofit(model: Any, model_type: str, options: dict[str, Any]) -> Any:
    """A trained model as one of the architecture `model_type` that computes the same. Raises UsageError."""
    known = [name for name in names() if find_spec(f".{name}.retrofit", __package__)]
    if model_type not in known:
        raise UsageError(f"retrofit.model_type {model_type!r} is unknown: use {', '.join(known)}")
    return import_module(f".{model_type}.retrofit", __package__).retrofit(model, **options)


def describe(model: Any, report: Report) -> None:
    """Add what an architecture of ours shows of itself; nothing for other models."""
    model_type = model.config.model_type
    if model_type in names() and find_spec(f".{model_type}.report", __package__):
        import_module(f".{model_type}.report", __package__).describe(model, report)
