"""Recipe step `maet_transfer`: abilities and languages, each trained from the base, added to it."""

import re
from collections.abc import Mapping
from typing import Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.files import canonical_json, write_atomic
from ..merge.step import inputs_of, merged_card, open_parents, report_accepted, take_over, weights_bar
from .config import AbilitySettings, LanguageSettings, TransferConfig
from .masks import check_fit, load_masks
from .transfer import Measured, Parts, measure, select, transfer

REPORT = "maet_report.json"
_ROLES = ("ability", "general", "mask", "language")


def transfer_step(config: TransferConfig, context: StepContext) -> None:
    """Merge the inputs into `context.output`; the figures of every tensor go to `maet_report.json` beside it.

    Raises:
        UsageError: settings or inputs that belong to no ability or language, an ability without its general model.
        DataError: weights that are missing, misshapen, not finite or no safetensors; vocabularies that differ.
        StorageError: the merged model does not fit on the disk.
    """
    inputs = {role: _named(context, role) for role in _ROLES}
    _check(config, context, inputs)
    first = context.inputs["base"]
    roles = ("ability", "general", "language")
    trained = {f"{role}_{name}": one for role in roles for name, one in inputs[role].items()}
    opened = open_parents(config, first, trained, has_base=True, how=None)
    base = opened.base
    masks = {name: load_masks(one.path, str(one.ref)) for name, one in inputs["mask"].items()}
    for one in masks.values():
        check_fit(one, base.kinds, base.called)
    abilities, generals, languages = (
        {name: opened.models[f"{role}_{name}"] for name in inputs[role]} for role in roles
    )
    parts = Parts(base, abilities, generals, masks, languages)
    with weights_bar(base, "cosines") as bar:
        measured = measure(config, parts, lambda done: bar.update(done) and None)
    chosen = select(config, measured)
    stage = context.workdir / "weights"
    plan = {"config": config.model_dump(exclude={"threads", "block_mb"}), "inputs": inputs_of(context)}
    with weights_bar(base, "maet") as bar:
        transfer(config, parts, chosen, stage, plan, lambda done, _: bar.update(done - bar.n))
    context.output.mkdir(parents=True, exist_ok=True)
    rows = tensor_rows(measured, chosen)
    write_atomic(context.output / REPORT, canonical_json({"inputs": inputs_of(context), "tensors": rows}) + b"\n")
    take_over(stage, first, opened.files, config.dtype, context)
    matrices = {name for name, kind in base.kinds.items() if len(kind.shape) > 1}
    _report(config, context, inputs, measured, chosen, matrices)
    report_accepted(opened.accepted, context)


def _named(context: StepContext, role: str) -> dict[str, Input]:
    return {r.removeprefix(f"{role}_"): one for r, one in sorted(context.inputs.items()) if r.startswith(f"{role}_")}


def _check(config: TransferConfig, context: StepContext, inputs: Mapping[str, Mapping[str, Input]]) -> None:
    def refuse(fault: str) -> UsageError:
        return UsageError(f"step {context.step}: {fault}")

    if not inputs["ability"] and not inputs["language"]:
        raise refuse("nothing to add: give an input ability_NAME or language_NAME")
    for field, role in (("abilities", "ability"), ("languages", "language")):
        if unknown := sorted(set(getattr(config, field)) - set(inputs[role])):
            raise refuse(f"{field}: {unknown[0]}: there is no input {role}_{unknown[0]}")
    for role in ("general", "mask"):
        if alone := sorted(set(inputs[role]) - set(inputs["ability"])):
            raise refuse(f"input {role}_{alone[0]} belongs to no input ability_{alone[0]}")
    for name in inputs["ability"]:
        beta = config.abilities.get(name, AbilitySettings()).beta
        if beta and name not in inputs["general"]:
            raise refuse(f"abilities: {name}: beta is {beta:g}: give the input general_{name}, or set beta: 0")
        if not beta and name in inputs["general"]:
            raise refuse(f"input general_{name} has no use while abilities.{name}.beta is 0: drop one")


def tensor_rows(measured: Mapping[str, Measured], chosen: Mapping[str, set[str]]) -> list[dict[str, Any]]:
    """A row a tensor and ability: norms of R(A) and R_Lang, their cosine, and whether the ability is added there."""
    return [
        {
            "tensor": name,
            "ability": ability,
            "cosine": one.cosines[ability],
            "norm": one.norms[ability],
            "language_norm": one.language_norm,
            "chosen": name in chosen[ability],
        }
        for name, one in measured.items()
        for ability in one.norms
    ]


def place(name: str) -> tuple[int | None, str]:
    """Number of a tensor's layer, None outside of layers, and its part in it, by the names that transformers gives."""
    match = re.search(r"\.(\d+)\.(.+?)(?:\.weight)?$", name)
    return (int(match[1]), match[2]) if match else (None, name.removesuffix(".weight"))


def _report(
    config: TransferConfig, context: StepContext, inputs: Mapping[str, Mapping[str, Input]],
    measured: Mapping[str, Measured], chosen: Mapping[str, set[str]], matrices: set[str],
) -> None:  # fmt: skip
    report, base = context.report, context.inputs["base"]
    models = [one for role in ("ability", "general", "language") for one in inputs[role].values()]
    what = [*(f"the ability `{name}`" for name in inputs["ability"]), *(f"`{name}`" for name in inputs["language"])]
    report.summary = (
        f"`{base.ref.repo_id}` with {', '.join(what)} added by MAET (arXiv 2410.07825): weights trained elsewhere are "
        "added tensor by tensor, in float32 and rounded once; nothing was trained here."
    )
    report.card |= merged_card([base, *models], "maet")
    rows: list[list[Any]] = []
    for name, one in inputs["ability"].items():
        own = config.abilities.get(name, AbilitySettings())
        general = inputs["general"].get(name)
        factors = f"alpha {own.alpha:g}, beta {own.beta:g}, gamma {own.gamma:g}"
        rows.append(["ability", name, str(one.ref), str(general.ref) if general else "", factors])
    for name, one in inputs["language"].items():
        mu = config.languages.get(name, LanguageSettings()).mu
        rows.append(["language", name, str(one.ref), "", f"mu {mu:g}, eta {config.eta:g}"])
    report.table("What was added", ["", "name", "model", "taken away", "factors"], rows)
    for ability in inputs["ability"]:
        report.metrics[f"tensors_with_{ability}"] = len(chosen[ability])
        parts: dict[str, list[str]] = {}
        for name in (name for name, one in measured.items() if one.norms[ability]):
            parts.setdefault(place(name)[1], []).append(name)
        rows, series = [], {}
        for part, names in sorted(parts.items()):
            ones = [measured[name] for name in names]
            figures = [(one.cosines[ability], one.norms[ability], one.language_norm) for one in ones]
            means = [sum(column) / len(names) for column in zip(*figures, strict=True)]
            rows.append([part, len(names), len(chosen[ability].intersection(names)), *means])
            if len(names) > 1 and matrices.issuperset(names):
                series[part] = sorted([place(name)[0], measured[name].cosines[ability]] for name in names)
        columns = ["part", "tensors", "of them taken", "mean cosine", "mean norm", "mean norm of R_Lang"]
        note = f"keep: {config.select.keep}. `{REPORT}` has every tensor."
        report.table(f"Where {ability} is added", columns, rows, note)
        if inputs["language"]:
            report.curve(f"Cosine of {ability} and the languages", "layer", "cosine", series)
