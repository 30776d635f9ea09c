"""The domains of a data set: a config each, with a train and a held-out split; and what mixture.json says of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, did_you_mean, first_line
from .._lib import loop
from . import references
from .config import DomainSettings
from .updates import Array, bounded, check_weights

MIXTURE = "mixture.json"
TRAIN, HELD_OUT = "train_", "eval_"  # roles of a domain's splits


def choose(config: DomainSettings, context: StepContext) -> tuple[list[str], Array]:
    """The domains to train on, sorted, and their weights at the start.

    Raises UsageError for domains that are not there and weights that do not fit, DataError for a data set without
    domains or with a mixture.json that cannot be read.
    """
    source_name = loop.name(context, "dataset")
    mixture = _mixture(context, source_name)
    try:
        known = sorted(
            mixture.get("domains") or datasets.get_dataset_config_names(str(context.inputs["dataset"].path))
        )
    except Exception as error:  # datasets raises anything
        raise DataError(f"{source_name}: its configs cannot be read: {first_line(error)}") from error
    for name in config.domains:
        if name not in known:
            raise UsageError(f"domains: {source_name} has no domain {name!r}{did_you_mean(name, known)}")
    chosen = sorted(set(config.domains)) or known
    if config.target is not None and config.target not in chosen:
        raise UsageError(f"target: there is no domain {config.target!r}{did_you_mean(config.target, chosen)}")
    weights = _weights(config, chosen, mixture, source_name)
    if config.target is not None and not 0 < weights[chosen.index(config.target)] < 1:
        raise UsageError(
            f"target: {config.target} has weight {weights[chosen.index(config.target)]:g} at the start: give it and "
            "another domain a weight above 0"
        )
    bounded(weights, config.option("floor") or 0.0)
    return chosen, weights


def _weights(config: DomainSettings, chosen: Sequence[str], mixture: Mapping[str, Any], source_name: str) -> Array:
    if config.weights is not None:
        return check_weights(config.weights, chosen)
    if "weights" not in mixture:
        raise UsageError(f"{source_name} has no {MIXTURE} with weights: set weights for {', '.join(chosen)}")
    weights = mixture["weights"]
    kept = {name: weights[name] for name in chosen if name in weights} if config.domains else weights
    return check_weights(kept, chosen, f"{source_name}, {MIXTURE}, weights")


def unit(config: DomainSettings, context: StepContext) -> str:
    """What the weights are shares of, "samples" or "tokens". Raises DataError for another unit of mixture.json."""
    if config.weigh_by is not None:
        return config.weigh_by
    source_name = loop.name(context, "dataset")
    stated = _mixture(context, source_name).get("unit", "samples")
    if stated not in ("samples", "tokens"):
        raise DataError(f"{source_name}: {MIXTURE} has weights by {stated!r:.40}, not samples or tokens: set weigh_by")
    return str(stated)


def load_splits(config: DomainSettings, context: StepContext) -> dict[str, Any]:
    """The splits by role: `train_DOMAIN` of all domains, then `eval_DOMAIN`. Raises DataError for a split that is not
    there or empty, and for domains with different columns; UsageError as `choose` and for references."""
    names, _ = choose(config, context)
    references.check(config, context, names)
    train, held_out = {}, {}
    columns: dict[str, list[str]] = {}
    for name in names:
        parts = loop.load_splits(config.model_copy(update={"dataset_configs": (name,)}), context)
        train[TRAIN + name], held_out[HELD_OUT + name] = parts["train"], parts["eval"]
        read = {"text", "targets", "messages", "conversations", "prompt", "completion", "tools", "system"}
        columns[name] = sorted(read.intersection(parts["train"].column_names))
        if columns[name] != columns[names[0]]:
            raise DataError(
                f"{loop.name(context, 'dataset')}: domain {name} has the columns {', '.join(columns[name])} and "
                f"{names[0]} has {', '.join(columns[names[0]])}: give all domains the same form"
            )
    return train | held_out


def join(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Train rows of all domains, one domain after another, with their number in the column `domain`; and held-out rows
    by domain."""
    names = sorted(role.removeprefix(TRAIN) for role in rows if role.startswith(TRAIN))
    parts = [
        part.add_column("domain", np.full(len(part), number, dtype=np.int32))
        for number, part in enumerate(rows[TRAIN + name] for name in names)
    ]
    form = rows[TRAIN + names[0]].format
    train = datasets.concatenate_datasets(parts).with_format(form["type"])
    return {"train": train, "eval": {name: rows[HELD_OUT + name] for name in names}}


def row_sizes(rows: Any) -> dict[str, NDArray[np.int64]]:
    """`tokens` of every row, without padding, and its `samples`, (rows,): packed rows hold several documents (a window
    of a long one counts as one) or conversations."""
    import pyarrow.compute as pc

    packed = "seq_lengths" in rows.column_names
    sizes: dict[str, list[Any]] = {"tokens": [], "samples": []}
    for batch in rows.select_columns(["input_ids", *["seq_lengths"] * packed]).with_format("arrow").iter(10_000):
        sizes["tokens"].append(pc.list_value_length(batch["input_ids"]).to_numpy())
        sizes["samples"].append(
            pc.list_value_length(batch["seq_lengths"]).to_numpy() if packed else np.ones(len(batch))
        )
    return {name: np.concatenate(parts).astype(np.int64) for name, parts in sizes.items()}


def sizes(rows: Any, names: Sequence[str]) -> dict[str, int]:
    """Rows of every domain among joined train rows."""
    numbers = rows.data.column("domain").to_numpy()
    return dict(zip(names, np.bincount(numbers, minlength=len(names)).tolist(), strict=True))


def _mixture(context: StepContext, source_name: str) -> dict[str, Any]:
    path = context.inputs["dataset"].path / MIXTURE
    if not path.is_file():
        return {}
    try:
        mixture = json.loads(path.read_text(encoding="utf-8"))
        forms = {"domains": list, "weights": dict}
        if not isinstance(mixture, dict) or not all(isinstance(mixture.get(k, f()), f) for k, f in forms.items()):
            raise ValueError("it is not an object with a list `domains` and an object `weights`")
    except ValueError as error:
        raise DataError(f"{source_name}: {MIXTURE} cannot be read: {first_line(error)}") from error
    return mixture
