"""Reference losses: what a model that knows a domain well loses on the domain's held-out rows, in nats per token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError, did_you_mean
from ...inference import loading
from .._lib import measure
from .._lib import model as models
from .config import DomainSettings
from .updates import Array, check_losses

ROLE = "reference"


def role_of(name: str, context: StepContext) -> str | None:
    """The input that measures a domain's reference loss: its own, or the one of all domains."""
    return next((role for role in (f"{ROLE}_{name}", ROLE) if role in context.inputs), None)


def check(config: DomainSettings, context: StepContext, names: Sequence[str]) -> None:
    """Raises UsageError for a reference of an unknown domain, two for one domain, or none where it is needed."""
    given = config.reference_losses
    measured = [role.removeprefix(f"{ROLE}_") for role in context.inputs if role.startswith(f"{ROLE}_")]
    for name in [*given, *measured]:
        if name not in names:
            raise UsageError(f"reference losses: there is no domain {name!r}{did_you_mean(name, names)}")
    if both := sorted(set(given).intersection(measured)):
        raise UsageError(f"reference_losses.{both[0]}: the input {ROLE}_{both[0]} measures it: drop one of the two")
    check_losses(given.values(), list(given), "in reference_losses: give a finite number above 0")
    needed: Sequence[str] = ()
    if config.strategy == "doremi" or (config.strategy == "versatune" and config.option("sigma")):
        needed = names
    elif config.strategy == "versatune" and config.target is not None and config.epsilon is None:
        needed = [config.target]
    if missing := [name for name in needed if name not in given and role_of(name, context) is None]:
        raise UsageError(
            f"strategy {config.strategy} compares held-out losses with references, and {', '.join(missing)} has "
            f"none: set reference_losses, or give the input `{ROLE}` or `{ROLE}_{missing[0]}`"
        )


def measure_all(trainer: Any, config: DomainSettings, context: StepContext, names: Sequence[str]) -> Array:
    """The reference losses in the order of `names`, NaN for a domain without one, (k,).

    A model's is the mean over all scored tokens of the domain's held-out rows, as the trained model's is. Every model
    is loaded once. Raises UsageError for a model with another vocabulary or too short a window.
    """
    values = np.array([config.reference_losses.get(name, np.nan) for name in names])
    roles = {name: role for name in names if name not in config.reference_losses and (role := role_of(name, context))}
    for role in dict.fromkeys(roles.values()):
        called = str(context.inputs[role].ref)
        tokenizer = models.read_tokenizer(context, role)
        if tokenizer.get_vocab() != trainer.processing_class.get_vocab():
            raise UsageError(
                f"{ROLE} {called} has another vocabulary than the trained model, and nats per token compare only "
                "within one: use a reference with the same tokenizer, or set reference_losses"
            )
        model = models.read_model(config, context, role).to(trainer.args.device)
        loading.check_ids([max(tokenizer.get_vocab().values())], _rows_of(model), tokenizer, called)
        models.check_isolation(model, called)
        for number, name in enumerate(names):
            if roles.get(name) == role:
                rows = trainer.eval_dataset[name]
                loading.check_window([max(len(row["input_ids"]) for row in rows)], model.config, called)
                with trainer.accelerator.autocast():
                    loss, _, scored = measure.token_sums(trainer, rows, model)
                values[number] = check_losses([loss / scored], [name], f"with the {ROLE} {called}: use another")[0]
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return values


def _rows_of(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])
