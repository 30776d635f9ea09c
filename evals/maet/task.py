"""MGSM, MSVAMP, EXAMS and plain text by language as lm-eval tasks.

Word problems in upstream's form (`mgsm_native_cot_*`), generated and scored by the number in the reply; the same
problems and EXAMS as a choice by log-likelihood, since a small model gets no generated answer right; held-out text by
rolling log-likelihood, for what a model forgets. The YAML's `dataset_name` is the data set's config.
"""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .._lib.choices import ChoiceTask
from .._lib.data import TaskData, read_config, read_split
from .._lib.scored import ScoredTask
from .numbers import distractors, exact_match, number_match, plain
from .words import FLEXIBLE, STOPS, WORDS, Words

Row = dict[str, Any]


class AbilityTask(ScoredTask):
    """One config of a data set of `uses: ability`: rows with question, choices, answer and solution."""

    COLUMNS = ("id", "question", "choices", "answer", "solution")

    def prepare(self, row: Row) -> Row:
        """A row as the task needs it. Raises DataError where it cannot be scored."""
        raise NotImplementedError

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the config's test split, and as examples its train split, or the test split if it has none.

        Raises DataError for another data set or a row that cannot be scored, UsageError and HubError as
        `evals._lib.data` says.
        """
        path, source_name = TaskData("ability").locate(self.config.metadata)
        subset, split = str(self.config.dataset_name), str(self.config.test_split)
        splits = read_config(path, subset)
        if split not in splits:
            raise DataError(f"{source_name}: {subset} has no split {split!r}, only {', '.join(splits)}")
        examples = "train" if "train" in splits else split
        self.dataset = {
            name: self._rows(splits[name], f"{source_name}: {subset}/{name}") for name in {split, examples}
        }
        self.config.fewshot_split = self.fewshot_cfg.split = examples

    def _rows(self, rows: datasets.Dataset, where: str) -> datasets.Dataset:
        missing = [name for name in self.COLUMNS if name not in rows.column_names]
        if missing:
            raise DataError(f"{where}: has no column {missing[0]!r}; give a data set of `uses: ability`")
        if not len(rows):
            raise DataError(f"{where}: has no rows")
        result = []
        for row in rows:
            try:
                result.append(row | self.prepare(row))
            except DataError as error:
                raise DataError(f"{where}: row {row['id']!r}: {error}") from error
        return datasets.Dataset.from_list(result)


def language_words(config: Mapping[str, Any]) -> Words:
    """The words for a config's name, `mgsm_bn` or `msvamp_bn`."""
    return WORDS[str(config["dataset_name"]).rpartition("_")[2]]


class WordProblemTask(AbilityTask):
    """A problem in, its solution out, of which the answer's number is scored.

    Question, answer and stop words, patterns and `exact_match` are upstream's; see `words.py` for what is ours. An
    example shows the row's solution, or the sentence with the answer where it has none.
    """

    METRICS = ("exact_match", "number_match")

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.words = language_words(config)
        until = [self.words.question, *STOPS]
        patterns = {
            "strict-match": {"function": "regex", "regex_pattern": self.words.strict},
            "flexible-extract": {"function": "regex", "regex_pattern": FLEXIBLE, "group_select": -1},
        }
        filters = [{"name": name, "filter": [one, {"function": "take_first"}]} for name, one in patterns.items()]
        settings = {**config.get("generation_kwargs", {}), "until": until}
        super().__init__({**config, "generation_kwargs": settings, "filter_list": filters})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().download(dataset_kwargs, **kwargs)
        self.fewshot_cfg.doc_to_target = "example"

    def prepare(self, row: Row) -> Row:
        return {"answer": plain(row["answer"])}

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return f"{self.words.question} {doc['question']}\n{self.words.steps}"

    def doc_to_target(self, doc: Row, doc_to_target: Any = None) -> str:
        """The number; of an example its solution or the sentence."""
        if doc_to_target is None:
            return str(doc["answer"])
        return str(doc["solution"]) or self.words.sentence(doc["answer"])

    def scores(self, doc: Row, results: Sequence[str]) -> dict[str, float]:
        result, gold = results[0], doc["answer"]
        return {"exact_match": exact_match(result, gold), "number_match": number_match(result, gold)}


class NumberChoiceTask(ChoiceTask, AbilityTask):
    """A word problem's answer among three wrong numbers, in the order of their values (our choice).

    Nothing is generated: of a model that gets no answer right it still tells whether the right number became likelier.
    The prompt is that of upstream's `mgsm_direct_*`; the wrong numbers are `numbers.distractors`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.words = language_words(config)
        super().__init__(config)

    def prepare(self, row: Row) -> Row:
        answer = plain(row["answer"])
        options = sorted([answer, *distractors(row["question"], answer)], key=float)
        return {"answer": answer, "options": options, "gold": options.index(answer)}

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return f"{self.words.question} {doc['question']}\n{self.words.direct}"


class ExamTask(ChoiceTask, AbilityTask):
    """A school question with its options listed, answered by a letter: MMLU's form, with its English `Answer:`."""

    def prepare(self, row: Row) -> Row:
        letters = list(string.ascii_uppercase[: len(row["choices"])])
        if row["answer"] not in letters:
            raise DataError(f"the answer {row['answer']!r} is not one of its {len(letters)} choices' letters")
        return {"options": letters, "gold": letters.index(row["answer"])}

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        lines = [f"{letter}. {choice}" for letter, choice in zip(string.ascii_uppercase, doc["choices"], strict=False)]
        return "\n".join([doc["question"].strip(), *lines, "Answer:"])


class ExamTextTask(ExamTask):
    """A school question with none of its options shown, answered by an option's text: ARC's form (our choice)."""

    def prepare(self, row: Row) -> Row:
        return {"options": row["choices"], "gold": super().prepare(row)["gold"]}

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return f"Question: {doc['question'].strip()}\nAnswer:"


class GeneralTextTask(ScoredTask):
    """Held-out documents of one language by rolling log-likelihood, scored as lm-eval's `wikitext`.

    The language is the column of that name, or else what the column `source` says: `wikipedia-LANGUAGE-summaries`, as
    recipe `corpus_wiki` names its sources.
    """

    METRICS = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    LOWER_IS_BETTER = METRICS
    TARGET = "{text}"

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the language's documents of the test split, from `metadata.corpus` before `metadata.dataset`.

        Raises DataError where there are none, UsageError and HubError as `evals._lib.data` says.
        """
        metadata = dict(self.config.metadata or {})
        source = {"dataset": metadata.get("corpus") or metadata.get("dataset")}
        path, source_name = TaskData("wiki_summaries", build="corpus_wiki").locate(source)
        language, split = str(self.config.dataset_name), str(self.config.test_split)
        try:
            rows = read_split(path, split)
        except DataError as error:
            raise DataError(f"{error}; where `dataset` is for other tasks, name this one's as `corpus`") from error
        column, wanted = ("language", language)
        if column not in rows.column_names:
            column, wanted = ("source", f"wikipedia-{language}-summaries")
        if not {column, "text"} <= set(rows.column_names) or "question" in rows.column_names:
            raise DataError(
                f"{source_name}: is not a corpus; give one of `uses: corpus`, as metadata's `corpus` or `dataset`"
            )
        rows = rows.filter(lambda value: value == wanted, input_columns=column, keep_in_memory=True)
        if not len(rows):
            raise DataError(f"{source_name}: no row of {split!r} has {column} {wanted!r}")
        self.dataset = {split: rows}

    def fewshot_context(self, doc: Row, num_fewshot: int = 0, **kwargs: Any) -> str:
        return ""

    def scores(self, doc: Row, results: Sequence[float]) -> dict[str, Any]:
        """(log-likelihood, length) in words and in UTF-8 bytes, to be put together over the documents."""
        words, size = len(re.split(r"\s+", doc["text"])), len(utf8(doc["text"]))
        return {name: (results[0], words if name == "word_perplexity" else size) for name in self.METRICS}

    def aggregation(self) -> dict[str, Any]:
        from lm_eval.api.metrics import bits_per_byte, weighted_perplexity

        table = {"word_perplexity": weighted_perplexity, "byte_perplexity": weighted_perplexity}
        return super().aggregation() | table | {"bits_per_byte": bits_per_byte}
