"""Build ability corpora: mathematics (GSM8K, MGSM, MSVAMP) and science (EXAMS, ARC), a config for source and language.

    config = AbilityConfig(sources=[AbilitySource(kind="gsm8k", source="data", name="GSM8K", license="mit")])
    configs = build(config, context)        # {"gsm8k_en": DatasetDict with train and test}

What is trained on holds nothing of what any config tests (clean.py).
"""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.settings import Settings
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.near_duplicates import NEAR
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter, divide
from .._lib.sources import CommonLicence, json_lines, read_source
from .._lib.splits import connected_components, is_test
from .clean import RULES, SPLITS, Questions
from .convert import convert, training_text
from .read import AbilitySource, File, read_files

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

ABILITY = {"gsm8k": "math", "mgsm": "math", "msvamp": "math", "exams": "science", "arc": "science"}


class AbilityConfig(Settings):
    """Where the questions come from, and how training and tests are kept apart. Defaults are our choice."""

    sources: tuple[AbilitySource, ...] = Field(
        min_length=1, description="Where the questions come from, one source of a kind, in this order."
    )
    msvamp_train_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of MSVAMP's problems for the train split, each in all its languages; upstream has a test "
        "alone.",
    )
    near: float | None = Field(
        NEAR,
        gt=0,
        le=1,
        description="Jaccard similarity of runs of five words, digits alike, from which a train question counts as "
        "one of a test and is left out; null: only the same question is.",
    )
    seed: int = Field(0, ge=0, description="Seed of MSVAMP's split.")
    max_rejected_share: float = max_rejected_share(0.5)
    license: CommonLicence = None
    derived_from: tuple[str, ...] = Field(
        (), description="Hub ids of the data sets that the sources are copies of, for the card."
    )

    @model_validator(mode="after")
    def _fits(self) -> AbilityConfig:
        for field in ("kind", "name"):
            values = [getattr(source, field) for source in self.sources]
            if twice := next((value for value in values if values.count(value) > 1), None):
                raise ValueError(f"sources has the {field} {twice!r} twice; give one source of each {field}")
        silent = next((source.name for source in self.sources if source.license is None), None)
        licences = sorted({source.license for source in self.sources if source.license})
        if silent is not None and self.license is not None:
            raise ValueError(
                f"license {self.license!r}: {silent} states none, so the whole has none to state; leave license out, "
                "or the source"
            )
        if silent is None and self.license is None and len(licences) > 1:
            raise ValueError(f"the sources' licences differ ({', '.join(licences)}); set license to that of the whole")
        return self


def features() -> Features:
    """Arrow features, the same for every config. Free answers have no choices; solution is "" if none is known."""
    from datasets import Features, List, Value

    text = Value("string")
    before = dict.fromkeys(("id", "ability", "language", "source", "question"), text)
    return Features(before | {"choices": List(text)} | dict.fromkeys(("answer", "solution", "text"), text))


def build(config: AbilityConfig, context: StepContext | None = None) -> dict[str, DatasetDict]:
    """Read, convert, split and clean; tell `context.report` what was left out by which rule.

    Returns a DatasetDict for each source and language (`msvamp_bn`), with those of train, validation and test that
    have rows, each with the columns of `features()` in the order of the files.

    Raises:
        UsageError: a source is not there.
        HubError: a URL or the hub does not give it.
        DataError: a file is not the expected one or cannot be read, most of it makes no rows, MSVAMP's languages do
            not ask the same, or no row is left.
    """
    context = context or local_context()
    origins: list[str] = []
    rejections = Rejections()
    writer = RowWriter(context.workdir / "rows", features())
    questions = Questions(context.workdir / "questions", config.near)
    names: list[str] = []  # of configs: sources in order, languages of one together
    place: dict[str, int] = {}
    configs, splits = array("H"), array("B")  # of every row
    for source in config.sources:
        files: list[str] = []
        for name, split, row, group in _rows(source, config, files, rejections, context.workdir / "sources"):
            writer.write(name, row)
            questions.add(split, row["question"], row["choices"], group)
            configs.append(place.setdefault(name, len(place)))
            splits.append(SPLITS.index(split))
        names += sorted(set(place) - set(names))
        licence = source.license or "upstream states no licence"
        origins += [f"{source.name} ({licence}): {origin}" for origin in files]
    rules = questions.left_out()
    if rules.all():
        raise DataError(
            f"no row is left of {rejections.read.total()} records: take more languages or subjects, or raise near"
        )
    rows = writer.finish()
    made: dict[str, DatasetDict] = {}
    counts: dict[str, Counter[str]] = {}
    for name in names:
        own = np.frombuffer(configs, np.uint16) == place[name]
        split, rule = np.frombuffer(splits, np.uint8)[own], rules[own]
        masks = {part: (split == n) & (rule == 0) for n, part in enumerate(SPLITS)}
        counts[name] = Counter({part: int(chosen.sum()) for part, chosen in masks.items()})
        counts[name].update({which: int((rule == n).sum()) for n, which in enumerate(RULES, 1)})
        if not rule.all():
            parts = {part: chosen for part, chosen in masks.items() if chosen.any()}
            made[name] = divide(rows[name], context.workdir / "splits" / name, parts)
    shutil.rmtree(context.workdir / "rows")
    _report(config, context, counts, origins, rejections)
    return made


def _rows(
    source: AbilitySource, config: AbilityConfig, origins: list[str], rejections: Rejections, folder: Path
) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """(config, split, row, what it and its translations share or "") of the source's records, in their order."""
    translations = _translations(source, origins)
    english: dict[int, str] = {}
    subjects: set[str] = set()
    for file in read_files(source, origins, folder):
        before = rejections.read[file.name]
        rows = rejections.convert(file.name, file.records, lambda pair: (pair[0], convert(source.kind, pair[1])))
        for line, row in rows:
            language = row.pop("language", file.language)
            subject = row.pop("subject", "")
            subjects.add(subject)
            if language not in source.taken() or (source.subjects and subject not in source.subjects):
                rejections.leave_out(file.name, "another language or subject than is taken")
                continue
            question = row.pop("english", None)
            if question is not None and english.setdefault(line, question) != question:
                raise DataError(
                    f"{file.name}: line {line}: query {question[:60]!r} is not the question that line has in the "
                    "other languages, so the languages cannot be split alike; fetch the files of one version"
                )
            yield _row(source, config, file, line, row, language, translations)
        if rejections.read[file.name] == before:
            raise DataError(f"{file.name}: has no records; fetch the file again")
    rejections.check(config.max_rejected_share)
    if unknown := sorted(set(source.subjects) - subjects):
        raise DataError(
            f"{source.name}: subjects: no row has {unknown[0]!r}; use some of {', '.join(sorted(subjects))}"
        )


def _row(
    source: AbilitySource,
    config: AbilityConfig,
    file: File,
    line: int,
    row: dict[str, Any],
    language: str,
    translations: dict[str, str],
) -> tuple[str, str, dict[str, Any], str]:
    kind, split = source.kind, file.split
    named = str(row.pop("id", line))
    group = ""
    if kind in ("mgsm", "msvamp"):
        group = f"{kind}:{line}"  # the files have one problem a line, in one order
    elif named in translations:
        group = f"{kind}:{translations[named]}"
    if kind == "msvamp":
        split = "test" if is_test(group, 1 - config.msvamp_train_share, config.seed) else "train"
    where = {"gsm8k": f"gsm8k-{file.split}", "arc": file.name.removesuffix(".csv")}.get(kind, f"{kind}-{language}")
    row = {
        "id": f"{where}-{named}",
        "ability": ABILITY[kind],
        "language": language,
        "source": source.name,
        **row,
        "text": training_text(row),
    }
    return f"{kind}_{language}", split, row, group


def _translations(source: AbilitySource, origins: list[str]) -> dict[str, str]:
    """Group of translations by EXAMS' id of a question; empty if the source has no such file.

    Raises DataError for a line that is not `{"id": ["id", ...]}`, or for a file that is not the expected one.
    """
    if source.parallel is None:
        return {}
    name, data, origin = read_source(source.parallel, source.timeout)
    origins.append(origin)
    pairs = []
    for line, record in json_lines(name, data):
        if not isinstance(record, dict) or not all(isinstance(others, list) for others in record.values()):
            raise DataError(f"{name}: line {line} is not an object of lists; give EXAMS' parallel_questions.jsonl")
        pairs += [(one, str(other)) for one, others in record.items() for other in others]
    return connected_components(pairs)


def _report(
    config: AbilityConfig,
    context: StepContext,
    counts: dict[str, Counter[str]],
    origins: list[str],
    rejections: Rejections,
) -> None:
    report = context.report
    silent = [source.name for source in config.sources if source.license is None]
    near = "" if config.near is None else f", or nearly so (Jaccard similarity of {config.near} or more)"
    describe(report, __file__, near=near)
    report.card |= {
        "pretty_name": f"Ability corpora ({', '.join(source.name for source in config.sources)})",
        # "other" without a name is what the licence rules take for unstated: publishing in public is refused.
        "license": "other" if silent else config.license or config.sources[0].license,
        "language": sorted({name.partition("_")[2] for name in counts}),
        "tags": sorted({"mathematics" if ABILITY[source.kind] == "math" else "science" for source in config.sources}),
        "source_datasets": list(config.derived_from) or ["original"],
    }
    exams = next((source for source in config.sources if source.kind == "exams"), None)
    if exams is not None:
        report.summary += (
            " Of EXAMS, translations of what is held out are left out, by its own list of parallel questions."
            if exams.parallel
            else " Which questions of EXAMS are translations of one another was not given: its train splits may hold "
            "test questions of other languages."
        )
    if silent:
        report.summary += f"\n\n{' and '.join(silent)}: no licence stated upstream, so this is not for publication."
    total = sum(counts.values(), Counter())
    report.counts |= {f"left_out_{rule}": total[rule] for rule in RULES}
    report.counts |= {f"{split}_rows": total[split] for split in SPLITS}
    report.table(
        "Rows by config",
        ["config", *SPLITS, *RULES],
        [[name, *(count[column] for column in (*SPLITS, *RULES))] for name, count in counts.items()],
        "The last columns count rows that were left out of train and validation, each by the first rule "
        "that did so: the same question as one held out, nearly the same, a translation of one held out, a "
        "translation of one that the first two left out.",
    )
    rejections.describe(report)
    add_sources(report, origins)
