"""The rows of a data set of conversations as a method trains on them, every one accounted for.

A row is used as it is, used after a change that is counted, or refused for a reason that is counted. What is read is
what lies in the row: the data set's columns say where to look and whether nulls are Arrow's padding. Rows go through
one pass, in blocks: read, checked, encoded by the method and counted. The first row of a block carries the block's
account, so that one mechanism serves files in several processes and a stream that resumes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, Value
from datasets.fingerprint import Hasher
from trl.data_utils import common_prefix_length

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...inference.conversations import RowRejected, read_messages, read_tools, unlearnt, with_system
from ...inference.padding import padded, pads_arguments
from ...inference.responses import ABSENT, read_responses, repeats_prompt
from . import loop as _loop
from . import templates as _templates
from .config import TrainingConfig, processes_of
from .controls import Controls
from .shown import check_shown

BLOCK = 1000
CARRIED = {"account": Value("string"), "usable": Value("bool")}
"""Columns that rows carry to where they are counted."""
_VERSION = 3  # of what is cached
_REPEATING = 0.9
"""Share of the rows of plain text from which on a data set repeats its prompts in the responses. Our choice."""

Account = dict[str, Any]
"""Of some rows: `sums` (counts by name), `most` (highest values by name), `first` (number and message of a refused
row, or None)."""
NOTHING: Account = {"sums": {}, "most": {}, "first": None}


@dataclass(frozen=True)
class Form:
    """Which columns hold what.

    Attributes:
        messages: the column of whole conversations, or None.
        prompt: whether there is a column `prompt` (not with `messages`).
        responses: columns that continue the prompt.
        weighted: turns may have `weight: 0`, since assistant turns are told apart.
        others: responses may hold turns of others, which are told apart and not learnt.
    """

    messages: str | None = None
    prompt: bool = True
    responses: tuple[str, ...] = ()
    weighted: bool = False
    others: bool = False


class Encoder:
    """What a method makes of a usable row.

    Attributes:
        features: columns of what it makes and their types, all lists.
        names: its counts, in the order of the report.
        key: what its rows depend on, beside what the reader does.
    """

    features: dict[str, Any]
    names: tuple[str, ...] = ()
    key: Any = None

    def __init__(self, reader: "Reader") -> None:
        self.reader = reader

    def __call__(self, columns: dict[str, Any], account: Account) -> dict[str, Any] | None:
        """The row to train on, counted; None for one that is left out.

        Args:
            columns: `messages`, or `prompt` and the form's responses; `tools` or None; `unlearnt`, numbers of the
                assistant turns with weight 0.
        """
        raise NotImplementedError

    def check(self, sums: Mapping[str, int], split: str) -> None:
        """Raises DataError or UsageError for rows that cannot be trained on by what their counts say."""


class Reader:
    """Reads the rows of a data set by its form.

    Attributes:
        model_role: the input that has the tokenizer, for messages.
        renderer: what applies the chat template; the tokenizer, unless a method has one of its own.
        plain: text is wanted, not turns.
        repeats: text responses begin with the prompt.
        template: the chat template to tokenize with; None: the tokenizer's own.

    Raises UsageError if the tokenizer cannot do what the rows need.
    """

    model_role = "model"

    def __init__(self, train: Any, form: Form, tokenizer: Any, config: TrainingConfig, context: StepContext) -> None:
        self.form, self.tokenizer, self.config, self.renderer = form, tokenizer, config, tokenizer
        self.source_name, self.model_name = _loop.name(context, "dataset"), _loop.name(context, self.model_role)
        self.columns = ["messages"] if form.messages else ["prompt", *form.responses]
        self.controls = Controls(tokenizer, config.allow_control_tokens)
        self.plain = self.repeats = self._shows_tools = False
        self.template = None
        self.plain = not form.messages and self._is_plain(train)
        if self.plain:
            if tokenizer.eos_token is None:
                raise UsageError(
                    f"the tokenizer of model {self.model_name} has no eos token to end plain text with: set one"
                )
            self.repeats = self._repeats(train, context)
        else:
            self.template = self._check_template()

    @classmethod
    def unfold(cls, splits: dict[str, Any], config: TrainingConfig, context: StepContext) -> dict[str, Any]:
        """The splits as rows of the form; a method whose data set holds several in one row overrides it."""
        return splits

    def _check_template(self, tools: bool = False) -> Any:
        return _templates.check_template(
            self.tokenizer, tools=tools, assistant_mask=self.form.weighted or self.form.others, model=self.model_name
        )

    def pads(self, features: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether arguments of calls, and tools, lie in structs."""
        columns = [self.form.messages] if self.form.messages else self.columns
        arguments = any(pads_arguments(features[c]) for c in columns if c in features)
        return arguments, "tools" in features and padded(features["tools"])

    def read(self, row: Mapping[str, Any], pads: tuple[bool, bool], changes: Counter[str]) -> dict[str, Any]:
        """The row's columns; raises RowRejected."""
        tools = read_tools(row.get("tools"), pads[1], changes)
        system = row.get("system") or None
        if self.form.messages:
            turns = read_messages(row[self.form.messages], tools, is_padded=pads[0], changes=changes)
            turns = with_system(turns, system, changes)
            idle = unlearnt(turns)
            if idle and not self.form.weighted:
                raise RowRejected("a turn has weight 0, which needs assistant_only_loss")
            if idle and len(idle) == sum(turn["role"] == "assistant" for turn in turns):
                raise RowRejected("every assistant turn has weight 0")
            return {"messages": turns, "unlearnt": idle, "tools": tools or None}
        prompt = row["prompt"] if self.form.prompt else ABSENT
        responses = {name: row[name] for name in self.form.responses}
        options = {"is_padded": pads[0], "repeats": self.repeats, "others": self.form.others}
        pair = read_responses(prompt, responses, tools, **options, changes=changes)
        if system is not None:
            if isinstance(pair["prompt"], str):
                raise RowRejected("a system text beside plain text, which no template shows to the model")
            pair["prompt"] = with_system(pair["prompt"], system, changes)
        return {**pair, "unlearnt": [], "tools": tools or None}

    def check(self, columns: Mapping[str, Any], changes: Counter[str]) -> None:
        """Raises RowRejected for a row of the other form, or one that the chat template cannot render as it is;
        UsageError for a template that hides tools, at the first row that has some."""
        plain = isinstance(columns.get("prompt"), str)
        if plain != self.plain:
            raise RowRejected("plain text among conversations" if plain else "a conversation among plain text")
        if plain:
            return
        tools, prompt = columns["tools"], columns.get("prompt", [])
        if tools and not self._shows_tools:
            self._check_template(tools=True)
            self._shows_tools = True
        for turns in [prompt + columns[name] for name in self.form.responses] or [columns["messages"]]:
            self.controls.check(turns, tools)
            try:
                check_shown(self.renderer, turns, tools, changes)
            except RowRejected:
                raise
            except Exception as error:  # a template may raise anything
                raise RowRejected("the chat template refuses the row", first_line(error)) from error

    def tokens(self, part: Any, tools: Any, **options: Any) -> Any:
        """What the tokenizer makes of text or turns, as TRL calls it; options of the chat template."""
        if isinstance(part, str):
            return self.tokenizer(text=part)
        return self.renderer.apply_chat_template(
            part, tokenize=True, return_dict=True, tools=tools, chat_template=self.template, **options
        )

    def continued(self, columns: Mapping[str, Any], sums: Counter[str]) -> tuple[int, list[list[int]]]:
        """Tokens of the prompt with each response, and where the responses begin: at the first token that the prompt
        alone has otherwise, which is not always its end."""
        tools, prompt, texts = columns["tools"], columns["prompt"], [columns[name] for name in self.form.responses]
        if self.plain:
            end = self.tokenizer.eos_token
            texts = [text if text.endswith(end) else text + end for text in texts]
        head = self.tokens(prompt, tools, add_generation_prompt=True)["input_ids"]
        ids = [self.tokens(prompt + text, tools)["input_ids"] for text in texts]
        start = min(common_prefix_length(head, one) for one in ids)
        sums["rows_changed: end of the prompt taken from the response"] += start < len(head)
        return start, ids

    def _is_plain(self, dataset: Any) -> bool:
        """Whether the first row that can be read is plain text."""
        pads = self.pads(dataset.features)
        for row in dataset:
            try:
                return isinstance(self.read(row, pads, Counter())["prompt"], str)
            except RowRejected:
                continue
        return False

    def _repeats(self, dataset: Any, context: StepContext) -> bool:
        """Whether the responses of a data set of plain text repeat the prompt, by the first 1,000 rows of a stream;
        rows that do so by chance are counted."""
        rows = repeating = 0
        dataset = dataset.select_columns(self.columns)
        for row in dataset if isinstance(dataset, Dataset) else dataset.take(BLOCK):
            texts = [row[name] for name in self.form.responses]
            usable = all(isinstance(text, str) for text in (row["prompt"], *texts))
            if usable and any(text != row["prompt"] for text in texts):  # an echo is no sign of either
                rows += 1
                repeating += repeats_prompt(row["prompt"], texts)
        repeats = repeating >= _REPEATING * max(rows, 1)
        if repeating and not repeats:
            context.report.counts["train_rows_whose_responses_begin_with_the_prompt"] = repeating
        return repeats


@dataclass(frozen=True)
class Block:
    """Reads, checks, encodes and counts a block of rows: what `datasets.map` calls.

    Attributes:
        pads: of the data set's columns, as `Reader.pads` says.
        columns: names of the columns that come back.
        finish: what is done with the block's encoded rows and the number of its first row.

    Returns the columns, `account` (JSON of the block's `Account` in its first row, else "") and `usable`:
    a block without usable rows is one row that only carries the account.
    """

    encoder: Encoder
    pads: tuple[bool, bool]
    columns: tuple[str, ...]
    finish: Callable[[dict[str, list[Any]], int], dict[str, list[Any]]] | None = None

    def __call__(self, batch: Mapping[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        reader, encoder = self.encoder.reader, self.encoder
        sums: Counter[str] = Counter(rows_read=len(numbers))
        account: Account = {"sums": sums, "most": {}, "first": None}
        rows: list[dict[str, Any]] = []
        for number, values in zip(numbers, zip(*batch.values(), strict=True), strict=True):
            changes: Counter[str] = Counter()
            try:
                columns = reader.read(dict(zip(batch, values, strict=True)), self.pads, changes)
                reader.check(columns, changes)
            except RowRejected as error:
                sums[f"rows_refused: {error.reason}"] += 1
                account["first"] = account["first"] or [number, str(error)]
                continue
            for what, times in changes.items():
                null = what.startswith("null")
                sums[what if null else f"rows_changed: {what}"] += times if null else 1
            if (row := encoder(columns, account)) is not None:
                rows.append(row)
        encoded = {name: [row[name] for row in rows] for name in encoder.features}
        if self.finish is not None and rows:
            encoded = self.finish(encoded, numbers[0])
        size = len(next(iter(encoded.values())))
        if not size:
            encoded = {name: [[]] for name in self.columns}
        more = [""] * (max(size, 1) - 1)
        return encoded | {"account": [json.dumps(account), *more], "usable": [bool(size)] * max(size, 1)}


def added(total: Account, account: Account) -> Account:
    """The account of both."""
    most = {name: max(value, total["most"].get(name, value)) for name, value in account["most"].items()}
    return {
        "sums": Counter(total["sums"]) + Counter(account["sums"]),
        "most": total["most"] | most,
        "first": total["first"] or account["first"],
    }


def counts_of(account: Account, split: str, encoder: Encoder) -> dict[str, int]:
    """The counts of a split by the names and in the order of the report."""
    sums = account["sums"]
    counted = [name for name in sums if ":" in name or name.startswith("null")]
    counted.sort(key=lambda name: (not name.startswith("rows_refused"), name.removeprefix("rows_changed: ")))
    names = ["rows_read", *counted, *encoder.names]
    return {f"{split}_{name}": sums.get(name, 0) for name in names}


def check(account: Account, split: str, encoder: Encoder) -> None:
    """Raises DataError if more rows are refused than `max_refused_share`, naming the first one; what the encoder
    raises for the others."""
    sums, reader = account["sums"], encoder.reader
    read, share = sums["rows_read"], reader.config.max_refused_share
    refused = sum(number for name, number in sums.items() if name.startswith("rows_refused"))
    if refused > share * read:
        row, message = account["first"]
        raise DataError(
            f"{reader.source_name}: {refused} of {read} rows of the {split} split cannot be used, more than "
            f"max_refused_share {share}; row {row}: {message}: repair these rows, or raise it"
        )
    if refused == read:
        raise DataError(f"{reader.source_name}: no row of the {split} split can be used; row 0: {account['first'][1]}")
    encoder.check(sums, split)


def mapped(
    dataset: Any, encoder: Encoder, more: Mapping[str, Any] = MappingProxyType({}), finish: Any = None, **options: Any
) -> Any:
    """The blocks of a data set, of a stream as they are asked for.

    Args:
        more: columns and types that `finish` adds to the encoder's.
        finish: as of `Block`.
        options: of `map`.
    """
    features = {**encoder.features, **more}
    return dataset.map(
        Block(encoder, encoder.reader.pads(dataset.features), tuple(features), finish),
        batched=True,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features(features | CARRIED),
        **options,
    )


def prepare(dataset: Dataset, split: str, encoder: Encoder, context: StepContext) -> tuple[Dataset, Account]:
    """The rows of a split to train on, counted in the report, and their account. Raises as `check`."""
    reader = encoder.reader
    rendering = reader.tokenizer.chat_template, reader.template, reader.controls.key, reader.model_name
    key = [_VERSION, dataset._fingerprint, reader.form, reader.plain, reader.repeats, rendering, encoder.key]
    processes, title = processes_of(reader.config), f"Preparing {split} rows"
    rows = mapped(dataset, encoder, new_fingerprint=Hasher.hash(key), num_proc=processes, desc=title)
    texts = rows.data.column("account")
    account = NOTHING
    for text in texts.filter(pc.not_equal(texts, "")).to_pylist():
        account = added(account, json.loads(text))
    context.report.counts |= counts_of(account, split, encoder)
    check(account, split, encoder)
    usable = rows.data.column("usable").to_numpy()
    return (rows if usable.all() else rows.select(np.flatnonzero(usable))).remove_columns([*CARRIED]), account
