"""Build a text corpus: documents in from named sources, exact duplicates out, whole documents to one split each.

    config = CorpusConfig(sources=[TextSource(source="input.txt", format="text", name="plays", license="mit")])
    splits = build(config, context)        # DatasetDict with train, validation and test

Documents are read, checked and written one by one; 32 to 64 bytes for each are on disk to find equal ones. Near
duplicates are not looked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.settings import Settings
from ...hub_sync.text import is_well_formed, utf8
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.decontamination import decontamination_inputs
from .._lib.disk_set import DiskSet
from .._lib.overlap import read_questions
from .._lib.rejections import Rejections
from .._lib.row_writer import RowWriter
from .._lib.source_files import File, read_files
from .._lib.sources import CommonLicence, DerivedFrom, Timeout
from .._lib.splits import unit_hash
from .read import TextSource, documents

if TYPE_CHECKING:
    from datasets import DatasetDict

Row = dict[str, str]


class CorpusConfig(Settings):
    """Where the texts come from, which are kept, and how they are split. Defaults are our choice."""

    sources: tuple[TextSource, ...] = Field(min_length=1, description="Where the texts come from, in this order.")
    min_chars: int = Field(100, ge=0, description="Documents with fewer characters are left out.")
    valid_share: float = Field(0.05, ge=0, lt=1, description="Share of the documents for the validation split.")
    test_share: float = Field(0.05, ge=0, lt=1, description="Share of the documents for the test split.")
    seed: int = Field(0, ge=0, description="Seed of the split.")
    dedup: Literal["exact", "none"] = Field(
        "exact", description="exact: of documents with the same text the first is kept; none: all are."
    )
    decontamination_words: int = Field(
        12,
        ge=4,
        description="With inputs `decontaminate_against`: documents that share so many words in a row with a question "
        "of these test sets are left out; a shorter question counts whole, down to half as many words.",
    )
    license: CommonLicence = None
    derived_from: DerivedFrom = ()
    timeout: Timeout = 60.0

    @model_validator(mode="after")
    def _fits(self) -> CorpusConfig:
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share {self.valid_share} and test_share {self.test_share} leave nothing to train on; lower one"
            )
        licences = sorted({source.license for source in self.sources})
        if self.license is None and len(licences) > 1:
            raise ValueError(f"the sources' licences differ ({', '.join(licences)}); set license to that of the whole")
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"sources has the name {twice!r} twice; give each source a name of its own")
        return self


def document_id(text: str) -> str:
    """16 hex digits of the SHA-256 of a document: equal texts have one id, and so one split."""
    return hashlib.sha256(utf8(text)).hexdigest()[:16]


def split_of(document: str, config: CorpusConfig) -> str:
    """Split of a document by its id and the seed alone."""
    place = unit_hash(f"{config.seed}:{document}")
    if place < config.test_share:
        return "test"
    return "validation" if place < config.test_share + config.valid_share else "train"


def build(config: CorpusConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, choose, deduplicate and split; tell `context.report` what was left out.

    Inputs `decontaminate_against` and `decontaminate_against_NAME` are test sets: no document may hold a question of
    them.

    Returns the splits with a share above 0, each with the columns text, source, license and id, in the order of the
    sources.

    Raises:
        UsageError: a source is not there, or no file fits its pattern.
        HubError: a URL or the hub does not give it.
        DataError: a file is not the expected one or cannot be read, a test set has no questions, or a split would be
            empty.
    """
    from datasets import Features, Value

    context = context or local_context()
    shares = {"train": 1.0, "validation": config.valid_share, "test": config.test_share}
    splits = [name for name, share in shares.items() if share > 0]
    columns = ("text", "source", "license", "id")
    rows = RowWriter(context.workdir / "rows", Features({name: Value("string") for name in columns}))
    counts: dict[str, Counter[str]] = {}
    origins: list[str] = []
    rejections = Rejections()
    identities = DiskSet(context.workdir / "ids")
    questions = read_questions(context, config.decontamination_words)

    def accepted(text: str) -> Row:
        if not is_well_formed(text):
            raise RowRejected("half a surrogate pair, which JSON can spell and is not Unicode")
        if len(text) < config.min_chars:
            raise RowRejected(f"fewer than {config.min_chars} characters")
        identity = document_id(text)
        if not identities.add(identity) and config.dedup == "exact":
            raise RowRejected("duplicate")
        if questions is not None and questions.within(text):
            raise RowRejected(f"{config.decontamination_words} words in a row of a question of a test set")
        return {"text": text, "id": identity}

    for source in config.sources:
        pattern, expected = source.files, source.expect_sha256
        files, origin = read_files(source.source, pattern, expected, config.timeout, context.workdir / "sources")
        origins.append(f"{source.name} ({source.license}): {origin}")
        count = counts[source.name] = Counter(files=len(files))
        texts = (text for file in files for text in _texts(source, file))
        for row in rejections.convert(source.name, texts, accepted):
            split = split_of(row["id"], config)
            count.update({split: 1, "characters": len(row["text"])})
            rows.write(split, row | {"source": source.name, "license": source.license})
    for split in splits:
        if not rows.counts[split]:
            share = "the shares" if split == "train" else f"{split[:5]}_share"
            raise DataError(
                f"no document is left for the {split} split of {rejections.read.total()} read: add sources, lower "
                f"min_chars ({config.min_chars}), or change {share}"
            )
    _report(config, context, {split: rows.counts[split] for split in splits}, counts, origins)
    rejections.describe(context.report)
    return rows.finish()


def _texts(source: TextSource, file: File) -> Iterator[str]:
    with file.open() as stream:
        yield from documents(source, file.name, stream)


def _report(
    config: CorpusConfig,
    context: StepContext,
    splits: dict[str, int],
    counts: dict[str, Counter[str]],
    origins: list[str],
) -> None:
    report = context.report
    tests = [f"`{one.ref}`" for one in decontamination_inputs(context)]
    once = " Documents with the same text are there once." if config.dedup == "exact" else ""
    apart = (
        f" No document shares {config.decontamination_words} words in a row with a question of a test set."
        if tests
        else ""
    )
    describe(report, __file__, once=once, apart=apart)
    report.card |= {
        "pretty_name": f"Text corpus ({', '.join(source.name for source in config.sources)})",
        "license": config.license or config.sources[0].license,
        "source_datasets": list(config.derived_from) or ["original"],
    }
    languages = sorted({source.language for source in config.sources if source.language})
    if languages:
        report.card["language"] = languages
    report.counts["files_read"] = sum(count["files"] for count in counts.values())
    report.counts |= {f"{name}_rows": count for name, count in splits.items()}
    columns = ["files", *splits, "characters"]
    table = [[name, *(count[column] for column in columns)] for name, count in counts.items()]
    note = f"Test sets whose questions no document holds: {', '.join(tests)}." if tests else ""
    report.table("Documents by source", ["source", *columns], table, note)
    add_sources(report, origins)
