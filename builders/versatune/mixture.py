"""Builder `versatune_mixture`: domains as configs of one data set, held-out slices, and the weights to draw them with.

    config = MixtureConfig(strategy="inverse", caps={"code": 0.4})
    splits = build(config, local_context(domain_code="data/code", domain_law="data/law", probe="data/probe"))

Rows are read and written in a stream; memory holds a batch, and the disk 32 to 64 bytes per row besides the rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.card_yaml import parse_metadata, split_card
from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.files import canonical_json, write_atomic
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.settings import Settings
from ...hub_sync.text import is_well_formed
from ...inference.conversations import read_messages, read_tools, with_system
from ...inference.padding import padded, pads_arguments
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.overlap import Questions, read_questions
from .._lib.rejections import Rejections
from .._lib.row_writer import RowWriter
from .._lib.sources import read_rows
from .._lib.splits import unit_hash
from . import weights as weighing
from .report import describe_mixture
from .strategies import Share, bounds, check_names

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

DOMAIN, TRAIN, HELD_OUT = "domain_", "train", "held_out"
BATCH = 500  # rows whose tokens are counted at once
Strategy = Literal["matched", "uniform", "inverse", "proportional", "temperature", "given", "regress"]
Form = Literal["text", "messages"]


class MixtureConfig(Settings):
    """Which rows, and how the weights are found. Defaults are our choice, except for the forms of the strategies."""

    strategy: Strategy = Field(
        "matched",
        description="matched: the probe's shares P. inverse: (1-P)/sum(1-P). uniform. proportional: what is there. "
        "temperature: proportional^(1/T). given: `weights`. regress: a law fitted to the runs of the input `runs`.",
    )
    labels: Literal["soft", "hard"] = Field("soft", description="Which shares of the probe are P.")
    allow_weak_judge: bool = Field(
        False, description="Take P from a probe whose judge's labels hold little of the probability."
    )
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="Strategy `given`: a weight per domain; they sum to 1."
    )
    temperature: float = Field(2.0, gt=0, allow_inf_nan=False, description="Strategy `temperature`: T.")
    targets: tuple[str, ...] = Field(
        (), description="Strategy `regress`: domains whose mean predicted loss is lowered; empty: all measured ones."
    )
    kl: float = Field(
        0.05, ge=0, allow_inf_nan=False,
        description="Strategy `regress`: nats of loss per nat of divergence from the proportional mixture (Olmix: "
        "0.05).",
    )  # fmt: skip
    caps: dict[str, Share] = Field(default_factory=dict, description="Largest weight by domain.")
    floors: dict[str, Share] = Field(default_factory=dict, description="Least weight by domain.")
    unit: Literal["samples", "tokens"] = Field(
        "samples", description="What the weights are shares of. tokens needs the input `tokenizer`."
    )
    draw: int | None = Field(
        None, ge=1, description="Samples or tokens (`unit`) that a training will draw, to tell the passes over each "
        "domain.",
    )  # fmt: skip
    max_passes: float | None = Field(
        None, gt=0, description="With `draw`: no weight makes a training read a domain more often (Olmix: 4)."
    )
    splits: dict[str, str] = Field(default_factory=dict, description="Split that is read, by domain; else train.")
    configs: dict[str, str] = Field(default_factory=dict, description="Config that is read, by domain.")
    licenses: dict[str, LicenceId] = Field(
        default_factory=dict, description="Licence of a domain whose rows and card state none, by domain."
    )
    form: Literal["auto", "text", "messages"] = Field(
        "auto", description="Column of the rows; auto: messages if every domain has it, else text."
    )
    held_out_share: float = Field(0.05, gt=0, lt=1, description="Share of each domain's documents held out.")
    min_chars: int = Field(1, ge=1, description="Shorter documents are left out.")
    decontamination_words: int = Field(
        12,
        ge=4,
        description="With inputs `decontaminate_against`: documents that share so many words in a row with a question "
        "of these test sets are left out.",
    )
    seed: int = Field(0, ge=0, description="Of the held-out slices and of the order for `interleave_datasets`.")

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if (self.strategy == "given") != bool(self.weights):
            raise ValueError("strategy: given goes with `weights`: write both, or neither")
        total = sum(self.weights.values())
        if self.weights and abs(total - 1) > 1e-6:
            raise ValueError(f"weights sum to {total:g}, not 1: divide each by {total:g}")
        if self.targets and self.strategy != "regress":
            raise ValueError(f"targets do nothing with strategy {self.strategy}: leave them out")
        if self.max_passes is not None and self.draw is None:
            raise ValueError("max_passes does nothing without draw: say how much a training draws")
        return self


@dataclass
class Domain:
    """A domain: its input, the counts of its rows and where they came from.

    Attributes:
        rows: number by split, and `tokens` the same or empty.
        licences, sources: of the rows, with their numbers.
    """

    name: str
    source: Input
    data: Dataset
    licence: str
    rows: dict[str, int]
    tokens: dict[str, int]
    licences: dict[str, int]
    sources: dict[str, int]


def build(config: MixtureConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """One config per domain with splits `train` and `held_out`; `mixture.json` is written below `context.output`.

    Inputs: `domain_NAME` (two or more), and where the strategy needs it `probe` (of `versatune_probe`), `runs` (a run
    table) and `tokenizer`; `decontaminate_against` and `decontaminate_against_NAME` are test sets.

    A document that is in two domains stays in the first by name. A document's split follows from its text and the
    seed, so that no text is in both.

    Raises UsageError for settings that fit neither the domains nor one another, DataError for a domain that cannot be
    read or has no documents left, and for a probe or a run table that does not fit.
    """
    context = context or local_context()
    sources = {role.removeprefix(DOMAIN): one for role, one in context.inputs.items() if role.startswith(DOMAIN)}
    names = sorted(sources)
    _check(config, names, context)
    prior = weighing.read_prior(config, names, context.inputs.get("probe"))
    table = weighing.read_table(config, names, context)
    tokenizer = _tokenizer(context) if "tokenizer" in context.inputs else None
    domains = [_open(name, sources[name], config, context) for name in names]
    form = _form(config, domains)
    splits = _write(config, context, form, domains, tokenizer)
    chosen = weighing.choose(config, domains, prior, table)
    mixture = {
        "form": form, "domains": names, "weights": chosen.weights, "strategy": config.strategy, "unit": config.unit,
        "strategies": chosen.strategies, "shares": chosen.shares,
        "samples": {one.name: one.rows for one in domains},
        "tokens": {one.name: one.tokens for one in domains} if tokenizer is not None else None,
        "tokenizer": str(context.inputs["tokenizer"].ref) if tokenizer is not None else None,
        "seed": config.seed, "interleave": weighing.interleave(names, chosen, config.seed),
    }  # fmt: skip
    context.output.mkdir(parents=True, exist_ok=True)
    write_atomic(context.output / "mixture.json", json.dumps(mixture, indent=2) + "\n")
    describe_mixture(context, config, mixture, domains, chosen, prior)
    return splits


def _check(config: MixtureConfig, names: Sequence[str], context: StepContext) -> None:
    """Raises UsageError for names and settings that do not fit, before anything is read."""
    if len(names) < 2:
        raise UsageError(f"step {context.step}: a mixture needs two inputs or more: domain_code, domain_law, ...")
    for name in names:
        if not re.fullmatch("[a-z0-9_]+", name) or name == "data":
            raise UsageError(
                f"input domain_{name}: a domain is the name of a config: a to z, 0 to 9 and _, and not `data`"
            )
    for field in ("weights", "splits", "configs", "licenses"):
        check_names(getattr(config, field), names, field)
    if missing := sorted(set(names) - set(config.weights)) if config.weights else []:
        raise UsageError(f"weights: none for domain {missing[0]!r}: write 0 to leave it out of the draw")
    bounds(names, config.floors, config.caps)
    needs = {"matched": "probe", "inverse": "probe", "regress": "runs"}.get(config.strategy)
    if needs and needs not in context.inputs:
        raise UsageError(f"step {context.step}: strategy {config.strategy} needs the input `{needs}`")
    if "runs" in context.inputs and config.strategy != "regress":
        raise UsageError(f"step {context.step}: the input `runs` does nothing with strategy {config.strategy}")
    if config.unit == "tokens" and "tokenizer" not in context.inputs:
        raise UsageError(f"step {context.step}: unit: tokens needs the input `tokenizer`, a model repository")


def _tokenizer(context: StepContext) -> Any:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise UsageError("the input tokenizer needs transformers: pip install 'hubwright[train]'")
    from ...inference.loading import input_tokenizer

    return input_tokenizer(context.inputs, "tokenizer")


def _open(name: str, source: Input, config: MixtureConfig, context: StepContext) -> Domain:
    data = read_rows(source, context, config.splits.get(name, TRAIN), config.configs.get(name))
    licence = config.licenses.get(name) or _card_licence(source)
    return Domain(name, source, data, licence, {}, {}, {}, {})


def _card_licence(source: Input) -> str:
    """The licence that the data set's card states, or "unknown"."""
    path = source.path / "README.md"
    try:
        stated = parse_metadata(split_card(path.read_text(encoding="utf-8-sig"))[0]).get("license")
    except (OSError, ValueError):
        return "unknown"
    return stated if isinstance(stated, str) else "unknown"


def _form(config: MixtureConfig, domains: Sequence[Domain]) -> Form:
    """The column that all domains have. Raises DataError."""
    options: tuple[Form, ...] = ("messages", "text") if config.form == "auto" else (config.form,)
    lacking = {form: [one for one in domains if form not in one.data.column_names] for form in options}
    for form, lack in lacking.items():
        if not lack:
            return form
    form, lack = min(lacking.items(), key=lambda item: len(item[1]))
    raise DataError(
        f"domain {lack[0].name}: {lack[0].source.ref} has no column `{form}`, which {len(domains) - len(lack)} of "
        f"{len(domains)} domains have; it has {', '.join(lack[0].data.column_names)}: give domains of one form"
    )


def _write(
    config: MixtureConfig, context: StepContext, form: Form, domains: Sequence[Domain], tokenizer: Any
) -> dict[str, DatasetDict]:
    """Write every domain's rows and fill in its counts. Raises DataError for a domain without rows in a split."""
    rejections = Rejections()
    questions = read_questions(context, config.decontamination_words)
    known = {one.name: DiskSet(context.workdir / "ids" / one.name) for one in domains}
    splits: dict[str, DatasetDict] = {}
    for domain in domains:
        writer = RowWriter(context.workdir / "rows" / domain.name, _features(form))
        reader = _Reader(config, form, domain, known, questions)
        for row in rejections.convert(domain.name, _records(domain, form), reader.accept):
            place = unit_hash(f"{config.seed}:{row['id']}") < config.held_out_share
            writer.write(HELD_OUT if place else TRAIN, row)
            for counts, column in ((domain.licences, "license"), (domain.sources, "source")):
                counts[row[column]] = counts.get(row[column], 0) + 1
        for split in (TRAIN, HELD_OUT):
            domain.rows[split] = writer.counts[split]
            if not writer.counts[split]:
                reasons = [f"{reason}: {n}" for (own, reason), n in rejections.reasons.items() if own == domain.name]
                raise DataError(
                    f"domain {domain.name}: no document is left for {split} of {rejections.read[domain.name]} in "
                    f"{domain.source.ref}{' (' + ', '.join(reasons) + ')' if reasons else ''}: give more documents, "
                    f"or change held_out_share {config.held_out_share:g}"
                )
        splits[domain.name] = writer.finish((TRAIN, HELD_OUT))
        if tokenizer is not None:
            for split, rows in splits[domain.name].items():
                domain.tokens[split] = _count_tokens(rows, form, tokenizer)
                if not domain.tokens[split]:
                    raise DataError(f"domain {domain.name}: the tokenizer makes no token of the documents of {split}")
    rejections.describe(context.report)
    return splits


def _records(domain: Domain, form: Form) -> Iterator[dict[str, Any]]:
    columns = [form, "source", "license", *(("tools", "system") if form == "messages" else ())]
    yield from domain.data.select_columns([one for one in columns if one in domain.data.column_names])


class _Reader:
    """Rows of a domain in the mixture's form; `accept` raises RowRejected for one that is left out."""

    def __init__(
        self, config: MixtureConfig, form: Form, domain: Domain, known: Mapping[str, DiskSet],
        questions: Questions | None,
    ) -> None:  # fmt: skip
        self._config, self._form, self._domain, self._known, self._questions = config, form, domain, known, questions
        features = domain.data.features
        self._pads = form == "messages" and pads_arguments(features["messages"])
        self._pads_tools = "tools" in features and padded(features["tools"])

    def accept(self, row: Mapping[str, Any]) -> dict[str, Any]:
        value = self._messages(row) if self._form == "messages" else row["text"]
        text = plain_text(value)
        if len(text) < self._config.min_chars or not text.strip():
            raise RowRejected(f"fewer than {self._config.min_chars} characters" if text.strip() else "empty")
        if not is_well_formed(text):
            raise RowRejected("half a surrogate pair, which JSON can spell and is not Unicode")
        key = document_key(value)
        owner = next((name for name, ids in self._known.items() if key in ids), None)
        if owner is not None:
            raise RowRejected("duplicate" if owner == self._domain.name else f"duplicate of a document of {owner}")
        if self._questions is not None and self._questions.within(text):
            raise RowRejected(f"{self._config.decontamination_words} words in a row of a question of a test set")
        self._known[self._domain.name].add(key)
        source, licence = row.get("source"), row.get("license")
        return {
            self._form: value, "id": key,
            "source": source if isinstance(source, str) and source else self._domain.source.ref.repo_id,
            "license": licence if isinstance(licence, str) and licence else self._domain.licence,
        }  # fmt: skip

    def _messages(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        if tools := read_tools(row.get("tools"), self._pads_tools):
            raise RowRejected("the row offers functions, for which a mixture has no column", str(len(tools)))
        return with_system(read_messages(row["messages"], [], is_padded=self._pads), row.get("system") or None)


def plain_text(value: Any) -> str:
    """A document's text, or the turns' texts joined by line ends. Raises RowRejected if it is not text."""
    if isinstance(value, list):
        return "\n".join(turn["content"] for turn in value)
    if not isinstance(value, str):
        raise RowRejected("no text", type(value).__name__)
    return value


def document_key(value: Any) -> str:
    """16 hex digits that documents share whose texts differ in nothing but blanks."""
    turns = value if isinstance(value, list) else [{"role": "", "content": value}]
    plain = [[turn["role"], " ".join(turn["content"].split()), turn.get("tool_calls")] for turn in turns]
    return hashlib.sha256(canonical_json(plain)).hexdigest()[:16]


def _count_tokens(rows: Dataset, form: Form, tokenizer: Any) -> int:
    """Tokens of the texts, special ones left out."""
    total = 0
    for batch in rows.select_columns([form]).iter(BATCH):
        texts = [plain_text(value) for value in batch[form]]
        total += sum(map(len, tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))
    return total


def _features(form: Form) -> Any:
    from datasets import Features, Json, List, Value

    first = {"text": Value("string")} if form == "text" else {"messages": List(Json())}
    return Features(first | {name: Value("string") for name in ("source", "license", "id")})
