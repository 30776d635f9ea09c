"""Recipe step `merge`: the inputs `model_NAME`, and a `base`, as one model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.files import canonical_json, write_atomic
from ...hub_sync.pace import are_plain
from ...inference.loading import is_adapter
from .._lib.output import check_output
from .beside import beside
from .checkpoint import Checkpoint, fold_adapter, open_checkpoint, same_tensors
from .complete import refuse_incomplete
from .config import ROLE, MergeConfig, ModelSettings, OutputSettings
from .embeddings import align, drop_left_overs, padded, settle_heads, vocabulary
from .engine import merge_models
from .parents import all_layers, compare_configs, parent, refuse_quantised

if TYPE_CHECKING:
    from tqdm import tqdm


def merge(config: MergeConfig, context: StepContext) -> None:
    """Merge the inputs into `context.output`.

    Raises:
        UsageError: settings of a model nobody gave, too few or too many models, or no base.
        DataError: configs, weights or vocabularies that do not go together; weights that are missing, misshapen,
            quantised, not finite or not safetensors; files that the model needs and that are missing.
        StorageError: the merged model does not fit on the disk.
    """
    named = _in_order(config, context)
    try:
        config.check_inputs(context.inputs)
    except ValueError as error:
        raise UsageError(f"step {context.step}: {error}") from error
    first = context.inputs.get("base") or next(iter(named.values()))
    parents = open_parents(config, first, named, "base" in context.inputs, config.vocabulary)
    stage = context.workdir / "weights"
    settings = config.model_dump(exclude={"threads", "block_mb"}) | {"order": list(named)}
    plan = {"config": settings, "inputs": inputs_of(context)}
    with weights_bar(parents.base, config.method) as bar:
        merge_models(config, parents.base, parents.models, stage, plan, lambda done, _: bar.update(done - bar.n))
    take_over(stage, first, parents.files, config.dtype, context)
    _report(config, context, named, parents)


@dataclass(frozen=True)
class Parents:
    """Opened parents that go together.

    Attributes:
        base: gives config, tokenizer, dtypes and what is not floating.
        models: the others by name, in order.
        files: of the base's folder, beside the weights.
        accepted: a line for each difference of the configs that the recipe accepts.
    """

    base: Checkpoint
    models: dict[str, Checkpoint]
    files: list[str]
    accepted: list[str]


def open_parents(
    config: OutputSettings, first: Input, named: dict[str, Input], has_base: bool, how: str | None
) -> Parents:
    """Open the inputs and check that they go together, before any weight is read for the merge.

    Args:
        first: the base, or the model that stands for it.
        named: the others by name; adapters are folded into the base.
        has_base: whether `first` is an input of its own.
        how: `vocabulary` of `MergeConfig`; None: all have to be the base's.

    Raises DataError, and UsageError for an adapter without a base, as `merge` does.
    """
    donor = parent(first.path, str(first.ref))
    if not donor.config and is_adapter(first.path):
        raise _adapter_alone(first)
    if not donor.config:
        raise DataError(f"{first.ref} has no config.json, so the merged model could not be loaded: add it")
    # An adapter is read by its base's config.
    configs = {n: donor if is_adapter(one.path) else parent(one.path, str(one.ref)) for n, one in named.items()}
    accepted = compare_configs(donor, list(configs.values()), config.accept)
    files = beside(first.path, str(first.ref))
    base = open_checkpoint(first.path, str(first.ref))
    models = {name: open_model(one, base, has_base) for name, one in named.items()}
    every = [(base, donor), *((models[name], configs[name]) for name in named)]
    drop_left_overs(every)
    for model, of in every:
        all_layers(model, of)
    refuse_quantised(every)
    settle_heads(every)
    models = in_one_vocabulary(models, named, first, base, how)
    same_tensors(base, models)
    refuse_incomplete(donor)
    return Parents(base, models, files, accepted)


def inputs_of(context: StepContext) -> dict[str, str]:
    """Role -> reference, pinned: what a merge follows from beside its settings."""
    return {role: str(one.ref) for role, one in sorted(context.inputs.items())}


def take_over(stage: Path, source: Input, files: list[str], dtype: str | None, context: StepContext) -> None:
    """Move finished weights to the output, and copy `files`, which a model needs beside them, from a model folder."""
    context.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(stage.iterdir()):
        shutil.move(path, context.output / path.name)
    for name in files:
        (context.output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, context.output / name)
    path = context.output / "config.json"
    if dtype and path.is_file():
        config = json.loads(path.read_text(encoding="utf-8-sig"))
        config.pop("torch_dtype", None)
        write_atomic(path, json.dumps(config | {"dtype": dtype}, indent=2, ensure_ascii=False) + "\n")
    check_output(context)


def weights_bar(base: Checkpoint, label: str) -> tqdm:
    """A progress bar over a model's weights."""
    from tqdm.auto import tqdm

    total = sum(kind.elements for kind in base.kinds.values())
    return tqdm(total=total, unit="weight", unit_scale=True, desc=label, disable=False if are_plain() else None)


def _in_order(config: MergeConfig, context: StepContext) -> dict[str, Input]:
    """The inputs model_NAME by name, in the order that the config says, or in which they were given."""
    named = {role.removeprefix(ROLE): one for role, one in context.inputs.items() if role.startswith(ROLE)}
    if config.order is None:
        return named
    if sorted(config.order) != sorted(named):
        raise UsageError(
            f"step {context.step}: order: [{', '.join(config.order)}] are not the inputs {ROLE}NAME "
            f"({', '.join(named) or 'none'}): name each of them once, or drop `order`"
        )
    return {name: named[name] for name in config.order}


def open_model(model: Input, base: Checkpoint, has_base: bool) -> Checkpoint:
    """The tensors of an input, an adapter folded into the base. Raises UsageError for an adapter without a base."""
    if not is_adapter(model.path):
        return open_checkpoint(model.path, str(model.ref))
    if not has_base:
        raise _adapter_alone(model)
    return fold_adapter(base, model.path, str(model.ref))


def _adapter_alone(adapter: Input) -> UsageError:
    return UsageError(f"{adapter.ref} is an adapter: give the model that it belongs to as input `base`")


def in_one_vocabulary(
    models: dict[str, Checkpoint], named: dict[str, Input], first: Input, base: Checkpoint, how: str | None
) -> dict[str, Checkpoint]:
    """The models, with their rows of tokens in the base's order if `how` is "align". Raises DataError if vocabularies
    or numbers of rows differ and `how` does not say what to do."""
    ids = vocabulary(first.path, str(first.ref))
    aligned = dict(models)
    remedy = "set vocabulary: align to put them in the base's order" if how else "train it from this base"
    for name, one in named.items():
        tokens = vocabulary(one.path, str(one.ref))
        if how == "base" or (tokens is None and is_adapter(one.path)):
            continue  # an adapter without a tokenizer has its base's
        longer = padded(models[name], base)
        if tokens == ids and not longer:
            continue
        if how == "align":
            if tokens is None or ids is None:
                without = one if tokens is None else first
                raise DataError(f"{without.ref} has no tokenizer.json, so tokens cannot be aligned: add it")
            aligned[name] = align(models[name], base, tokens, ids)
            continue
        if longer:
            raise DataError(f"the embeddings of {first.ref} and {one.ref} have other numbers of rows: {remedy}")
        if tokens is not None and ids is not None:
            differ = sorted(token for token in {*ids, *tokens} if ids.get(token) != tokens.get(token))
            raise DataError(
                f"{first.ref} and {one.ref} have other vocabularies ({len(differ)} tokens differ, {differ[0]!r:.40} "
                f"among them): their rows mean other words; {remedy}"
            )
    return aligned


def report_accepted(accepted: list[str], context: StepContext) -> None:
    """Say on the card in which fields the parents' configs differ."""
    if accepted:
        body = "\n".join(f"- {line}" for line in accepted)
        context.report.section("Accepted differences", body)


def merged_card(inputs: list[Input], tag: str) -> dict[str, Any]:
    """The metadata of a model that was merged from these."""
    return {
        "base_model": list(dict.fromkeys(one.ref.repo_id for one in inputs)),
        "base_model_relation": "merge",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", tag],
    }


def _report(config: MergeConfig, context: StepContext, named: dict[str, Input], parents: Parents) -> None:
    report, base = context.report, parents.base
    inputs = [context.inputs["base"], *named.values()] if "base" in context.inputs else list(named.values())
    report.summary = (
        f"{len(named)} model{'s' if len(named) > 1 else ''} merged by `{config.method}`"
        f"{f' onto {inputs[0].ref.repo_id}' if 'base' in context.inputs else ''}, in float32 and rounded once."
    )
    report.card |= merged_card(inputs, config.method.replace("_", "-"))
    columns = ["model", *ModelSettings.model_fields]
    rows: list[list[Any]] = [
        [str(one.ref), *config.models.get(name, ModelSettings()).model_dump().values()] for name, one in named.items()
    ]
    report.table("Models", columns, rows)
    report.metrics |= {"parameters": sum(kind.elements for kind in base.kinds.values()), "tensors": len(base.kinds)}
    report_accepted(parents.accepted, context)
    settings = config.model_dump(exclude={"models"}, exclude_defaults=True)
    report.section("Settings", f"```json\n{canonical_json(settings).decode()}\n```")
