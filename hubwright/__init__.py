"""hubwright: declarative recipes in, versioned Hugging Face Hub repositories out.

    import hubwright as hw

    outcomes = hw.run("recipe.yaml", namespace="me")

The names below are loaded when they are used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import Made, load_recipe, make, run, steps, verify
    from .hub_sync.errors import HubwrightError
    from .runner import Outcome

__all__ = ["HubwrightError", "Made", "Outcome", "load_recipe", "make", "run", "steps", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api
    from .hub_sync.errors import HubwrightError

    return HubwrightError if name == "HubwrightError" else getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
