"""Builder `instructions`: conversations without functions, from the files in which instruction data is passed around.

    {"instruction": ..., "input": ..., "output": ..., "system"?: ..., "history"?: [[asked, answered], ...]}   Alpaca
    {"conversations": [{"from": "human" | "gpt" | "system", "value": ...}, ...]}                              ShareGPT
    {"messages": [{"role": ..., "content": ...}, ...]}                                                        OpenAI

Which of the three a record is, its keys tell. They become `messages`, as chat templates and TRL's trainers take them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.settings import Settings
from ...hub_sync.text import is_well_formed, utf8
from ...inference.conversations import read_messages, unlearnt, with_system
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter
from .._lib.sources import Source, SourceLicence, Timeout, read_records

if TYPE_CHECKING:
    from datasets import DatasetDict, Features


class InstructionsConfig(Settings):
    """Where the conversations come from. Defaults are our choice."""

    sources: tuple[Source, ...] = Field(min_length=1, description="Files of JSON, JSON Lines or Parquet, in order.")
    license: SourceLicence
    language: tuple[str, ...] = Field(("en",), description="Languages of the sources, for the card.")
    test_fraction: float = Field(0.0, ge=0, lt=1, description="Share of the rows that are held out, by hash.")
    max_rows: int | None = Field(None, ge=1, description="Keep the first so many; null: all.")
    max_rejected_share: float = max_rejected_share(0.25)
    timeout: Timeout = 60.0


def conversation(record: Any) -> list[dict[str, str]]:
    """A record's messages: perhaps a system turn, then user and assistant in turn. Raises RowRejected."""
    try:
        return _messages(record)
    except (TypeError, AttributeError, ValueError) as error:
        raise error if isinstance(error, RowRejected) else RowRejected("not of its form") from error


def _messages(record: Any) -> list[dict[str, str]]:
    if not isinstance(record, dict):
        raise RowRejected("not an object")
    if "instruction" in record:
        turns = [("system", record["system"])] if record.get("system") else []
        for query, answered in record.get("history") or ():
            turns += [("user", query), ("assistant", answered)]
        query = "\n\n".join(part for part in (record["instruction"], record.get("input")) if part)
        turns += [("user", query), ("assistant", record.get("output"))]
    elif record.get("conversations") or record.get("messages"):
        read = read_messages(record.get("conversations") or record["messages"], [])
        read = with_system(read, record.get("system") or None)
        if any("tool_calls" in turn for turn in read):
            raise RowRejected("a turn that calls functions")
        if unlearnt(read):
            raise RowRejected("a turn of weight 0, which this data set cannot say")
        turns = [(turn["role"], turn["content"]) for turn in read]
    else:
        raise RowRejected("neither instruction, conversations nor messages")
    messages = [{"role": role, "content": text} for role, text in turns]
    if any(message["role"] not in ("system", "user", "assistant") for message in messages):
        raise RowRejected("a turn of another role")
    if any(not isinstance(text, str) or not text.strip() for _, text in turns):
        raise RowRejected("a turn without text")
    if not all(is_well_formed(text) for _, text in turns):
        raise RowRejected("half a surrogate pair, which is not text")
    spoken = [message["role"] for message in messages[messages[0]["role"] == "system" :]] if messages else []
    if not spoken or len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise RowRejected("user and assistant do not take turns")
    return messages


def features() -> Features:
    """Arrow features of both splits."""
    from datasets import Features, List, Value

    text = Value("string")
    return Features({"id": text, "messages": List({"role": text, "content": text}), "source": text})


def build(config: InstructionsConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, check and deduplicate. Returns `train`, and `test` where test_fraction is above 0: id, messages, source.

    Raises:
        UsageError, HubError: as `fetch` does.
        DataError: a file is not the expected one or cannot be parsed, or too many records are rejected.
    """
    context = context or local_context()
    rows = RowWriter(context.workdir / "rows", features())
    ids = DiskSet(context.workdir / "ids")
    rejections = Rejections()
    origins = []
    for name, records, origin in read_records(config.sources, config.timeout, context.workdir / "sources"):
        origins.append(origin)
        for messages in rejections.convert(name, records, conversation):
            mark = hashlib.sha256(utf8(json.dumps(messages, ensure_ascii=False))).hexdigest()[:16]
            if not ids.add(mark):
                rejections.reject(name, RowRejected("the same conversation again"))
            elif config.max_rows is None or len(ids) <= config.max_rows:
                # A row's side is a hash of the row: more sources do not move it.
                side = "test" if int(mark, 16) / 16**16 < config.test_fraction else "train"
                rows.write(side, {"id": mark, "messages": messages, "source": name})
    rejections.check(config.max_rejected_share)
    if not rows.counts["train"]:
        raise DataError(
            f"no row is left for the train split of {rejections.read.total()} records: add sources or lower "
            "test_fraction"
        )
    report = context.report
    describe(report, __file__)
    report.card |= {"language": list(config.language), "license": config.license}
    add_sources(report, origins)
    rejections.describe(report)
    report.counts["rows_above_max_rows"] = len(ids) - rows.counts.total()
    report.counts |= {f"{split}_rows": rows.counts[split] for split in ("train", "test") if rows.counts[split]}
    return rows.finish()
