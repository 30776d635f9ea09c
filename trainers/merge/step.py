"""Recipe step `merge`: the inputs `model_NAME`, and a `base`, as one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.files import canonical_json, write_atomic
from .._output import check_output
from .checkpoint import ADAPTER_CONFIG, Checkpoint, fold_adapter, open_checkpoint, same_tensors
from .config import MergeConfig, ModelSettings
from .embeddings import align, drop_tied_heads, vocabulary
from .engine import merge_models

if TYPE_CHECKING:
    from tqdm import tqdm

ROLE = "model_"
# What a model needs beside its weights, taken from the base (for `linear` without one, from the first model).
_BESIDE = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
_MODELS = {"slerp": (1, 1), "model_stock": (2, None)}  # fewest and most models beside the base


def merge(config: MergeConfig, context: StepContext) -> None:
    """Merge the inputs into `context.output`.

    Raises:
        UsageError: settings of a model nobody gave, too few or too many models, or no base.
        DataError: weights that are missing, misshapen, not finite or no safetensors; vocabularies that differ.
        StorageError: the merged model does not fit on the disk.
    """
    named = {role.removeprefix(ROLE): one for role, one in sorted(context.inputs.items()) if role.startswith(ROLE)}
    _check(config, context, named)
    first = context.inputs.get("base") or next(iter(named.values()))
    base = open_checkpoint(first.path, str(first.ref))
    models = {name: open_model(one, base, "base" in context.inputs) for name, one in named.items()}
    drop_tied_heads([(base, first.path), *((models[name], one.path) for name, one in named.items())])
    models = in_one_vocabulary(models, named, first, base, config.vocabulary)
    same_tensors(base, models)
    stage = context.workdir / "weights"
    plan = {"config": config.model_dump(exclude={"threads", "block_mb"}), "inputs": inputs_of(context)}
    with weights_bar(base, config.method) as bar:
        merge_models(config, base, models, stage, plan, lambda done, _: bar.update(done - bar.n))
    take_over(stage, first.path, config.dtype, context)
    _report(config, context, named, base)


def inputs_of(context: StepContext) -> dict[str, str]:
    """Role -> reference, pinned: what a merge follows from beside its settings."""
    return {role: str(one.ref) for role, one in sorted(context.inputs.items())}


def take_over(stage: Path, beside: Path, dtype: str | None, context: StepContext) -> None:
    """Move finished weights to the output, with the files beside them that a model needs, from the folder `beside`."""
    context.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(stage.iterdir()):
        shutil.move(path, context.output / path.name)
    for name in _BESIDE:
        if (beside / name).is_file():
            shutil.copyfile(beside / name, context.output / name)
    _tell_dtype(dtype, context.output / "config.json")
    check_output(context)


def weights_bar(base: Checkpoint, said: str) -> tqdm:
    """A progress bar over a model's weights."""
    from tqdm.auto import tqdm

    total = sum(kind.elements for kind in base.kinds.values())
    return tqdm(total=total, unit="weight", unit_scale=True, desc=said, disable=None)


def _check(config: MergeConfig, context: StepContext, named: dict[str, Input]) -> None:
    if unknown := sorted(set(config.models) - set(named)):
        given = ", ".join(f"{ROLE}{name}" for name in named) or "none"
        raise UsageError(f"step {context.step}: models: there is no input {ROLE}{unknown[0]} (given: {given})")
    fewest, most = _MODELS.get(config.method, (1, None))
    if config.method == "linear":
        fewest = 2
    elif "base" not in context.inputs:
        raise UsageError(f"step {context.step}: {config.method} counts changes from a base: give the input `base`")
    if len(named) < fewest or (most is not None and len(named) > most):
        wanted = f"{fewest}" if fewest == most else f"{fewest} or more"
        raise UsageError(
            f"step {context.step}: {config.method} takes {wanted} inputs {ROLE}NAME"
            f"{'' if config.method == 'linear' else ' beside the base'}: {len(named)} given"
        )


def open_model(given: Input, base: Checkpoint, has_base: bool) -> Checkpoint:
    """The tensors of an input, an adapter folded into the base. Raises UsageError for an adapter without a base."""
    if not (given.path / ADAPTER_CONFIG).is_file():
        return open_checkpoint(given.path, str(given.ref))
    if not has_base:
        raise UsageError(f"{given.ref} is an adapter: give the model that it belongs to as input `base`")
    return fold_adapter(base, given.path, str(given.ref))


def in_one_vocabulary(
    models: dict[str, Checkpoint], named: dict[str, Input], first: Input, base: Checkpoint, how: str
) -> dict[str, Checkpoint]:
    """The models, with their rows of tokens in the base's order if that is wanted. Raises DataError where vocabularies
    differ and nothing was said about it."""
    wanted = vocabulary(first.path)
    found = dict(models)
    for name, one in named.items():
        tokens = vocabulary(one.path)
        if how == "base" or wanted is None or tokens is None or tokens == wanted:
            continue
        if how == "align":
            found[name] = align(models[name], base, tokens, wanted)
            continue
        differ = sorted(token for token in {*wanted, *tokens} if wanted.get(token) != tokens.get(token))
        raise DataError(
            f"{first.ref} and {one.ref} have other vocabularies ({len(differ)} tokens differ, {differ[0]!r:.40} "
            "among them): their rows mean other words; set vocabulary: align to put them in the base's order"
        )
    return found


def _tell_dtype(dtype: str | None, path: Path) -> None:
    if dtype and path.is_file():
        said = json.loads(path.read_text(encoding="utf-8"))
        said.pop("torch_dtype", None)
        write_atomic(path, json.dumps(said | {"dtype": dtype}, indent=2, ensure_ascii=False) + "\n")


def _report(config: MergeConfig, context: StepContext, named: dict[str, Input], base: Checkpoint) -> None:
    report = context.report
    parents = [context.inputs["base"], *named.values()] if "base" in context.inputs else list(named.values())
    report.summary = (
        f"{len(named)} model{'s' if len(named) > 1 else ''} merged by `{config.method}`"
        f"{f' onto {parents[0].ref.repo_id}' if 'base' in context.inputs else ''}, in float32 and rounded once."
    )
    report.card |= {
        "base_model": list(dict.fromkeys(one.ref.repo_id for one in parents)),
        "base_model_relation": "merge",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", config.method.replace("_", "-")],
    }
    columns = ["model", *ModelSettings.model_fields]
    rows: list[list[Any]] = [
        [str(one.ref), *config.models.get(name, ModelSettings()).model_dump().values()] for name, one in named.items()
    ]
    report.tables.append({"title": "Models", "columns": columns, "rows": rows})
    report.metrics |= {
        "parameters": sum(kind.elements for kind in base.kinds.values()),
        "tensors": len(base.kinds),
    }
    settings = config.model_dump(exclude={"models"}, exclude_defaults=True)
    report.sections.append({"title": "Settings", "body": f"```json\n{canonical_json(settings).decode()}\n```"})
