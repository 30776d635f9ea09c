"""Recipe step `merge`: the inputs `model_NAME`, and a `base`, as one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.files import canonical_json, write_atomic
from .._output import check_output
from .checkpoint import ADAPTER_CONFIG, Checkpoint, fold_adapter, open_checkpoint, same_tensors
from .config import MergeConfig, ModelSettings
from .engine import merge_models

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
    models = {name: _open(one, base, "base" in context.inputs) for name, one in named.items()}
    same_tensors(base, models)
    if config.vocabulary == "same":
        _same_vocabulary(first, named)
    stage = context.workdir / "weights"
    inputs = {role: str(one.ref) for role, one in sorted(context.inputs.items())}
    plan = {"config": config.model_dump(exclude={"threads", "block_mb"}), "inputs": inputs}
    _merged(config, base, models, stage, plan)
    context.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(stage.iterdir()):
        shutil.move(path, context.output / path.name)
    for name in _BESIDE:
        if (first.path / name).is_file():
            shutil.copyfile(first.path / name, context.output / name)
    _tell_dtype(config, context.output / "config.json")
    _report(config, context, named, base)
    check_output(context)


def _merged(config: MergeConfig, base: Checkpoint, models: dict[str, Checkpoint], stage: Path, plan: object) -> None:
    from tqdm.auto import tqdm

    total = sum(kind.elements for kind in base.kinds.values())
    with tqdm(total=total, unit="weight", unit_scale=True, desc=config.method, disable=None) as bar:
        merge_models(config, base, models, stage, plan, lambda done, _: bar.update(done - bar.n))


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


def _open(given: Input, base: Checkpoint, has_base: bool) -> Checkpoint:
    if not (given.path / ADAPTER_CONFIG).is_file():
        return open_checkpoint(given.path, str(given.ref))
    if not has_base:
        raise UsageError(f"{given.ref} is an adapter: give the model that it belongs to as input `base`")
    return fold_adapter(base, given.path, str(given.ref))


def _same_vocabulary(first: Input, named: dict[str, Input]) -> None:
    wanted = _vocabulary(first.path)
    for one in named.values():
        found = _vocabulary(one.path)
        if wanted is None or found is None or found == wanted:
            continue
        differ = sorted(token for token in {*wanted, *found} if wanted.get(token) != found.get(token))
        raise DataError(
            f"{first.ref} and {one.ref} have other vocabularies ({len(differ)} tokens differ, {differ[0]!r:.40} "
            "among them): their rows mean other words; set vocabulary: base if that is wanted"
        )


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Token -> id of a fast tokenizer; None where the folder has none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        vocab = said["model"]["vocab"]
        pairs = vocab.items() if isinstance(vocab, dict) else ((one[0], n) for n, one in enumerate(vocab))
        return dict(pairs) | {one["content"]: one["id"] for one in said.get("added_tokens", ())}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path.name} of a model to be merged cannot be read: {error!r:.80}") from error


def _tell_dtype(config: MergeConfig, path: Path) -> None:
    if config.dtype and path.is_file():
        said = json.loads(path.read_text(encoding="utf-8"))
        said.pop("torch_dtype", None)
        write_atomic(path, json.dumps(said | {"dtype": config.dtype}, indent=2, ensure_ascii=False) + "\n")


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
