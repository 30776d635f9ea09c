"""LawBench, FinEval, FinanceIQ, SciEval, HumanEval and MBPP as lm-eval tasks.

The data sets are those of the builders `lawbench`, `fineval`, `financeiq`, `scieval` and `code_problems`; of HumanEval
and MBPP the official ones do as well.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import datasets

from ...environments.sandbox import Limits
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.json_columns import make_dataset
from .._lib.chat import chat_prompt
from .._lib.choices import ChoiceTask
from .._lib.data import TaskData, read_split
from .._lib.scored import ScoredTask
from . import lawbench, programs

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJ"


class ExamTask(ChoiceTask):
    """A question with its options listed, answered by a letter; `dataset_name` of the YAML names the data set."""

    COLUMNS = ("id", "question", "choices", "answer")

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """As the parent, from the data set that the YAML names."""
        self.DATA = TaskData(str(self.config.dataset_name))
        super().download(dataset_kwargs, **kwargs)

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows with their options and the number of the right one. Raises DataError for a row without one."""
        return make_dataset([row | self.prepare(row) for row in rows])

    def prepare(self, row: Row) -> Row:
        """`options` and `gold` of a row."""
        return {"options": list(LETTERS[: len(row["choices"])])} | self._gold(row, LETTERS[: len(row["choices"])])

    def _gold(self, row: Row, options: Sequence[str]) -> Row:
        if row["answer"] not in options:
            raise DataError(
                f"{self.config.task}: row {row['id']!r}: the answer {row['answer']!r} is not one of "
                f"{', '.join(options)}; build the data set again"
            )
        return {"gold": list(options).index(row["answer"])}

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        lines = [f"{letter}. {choice}" for letter, choice in zip(doc["options"], doc["choices"], strict=True)]
        return "\n".join([doc["question"], *lines, "答案："])


class SciEvalTask(ExamTask):
    """SciEval's questions with four options, or yes, no and maybe, by log-likelihood; prompts are upstream's."""

    SUBSET = "choice"

    def prepare(self, row: Row) -> Row:
        return {"options": row["choices"]} | self._gold(row, row["choices"])

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return f"{doc['prompt']}\n\n{doc['question']}"


class SciEvalFillingTask(ScoredTask):
    """SciEval's questions for one item of a list, generated; the first line that is not empty must be the item."""

    DATA, SUBSET = TaskData("scieval"), "filling"
    COLUMNS = ("prompt", "question", "answer")
    METRICS, INTERVALS = ("acc",), ("acc",)
    TEXT, TARGET = "{prompt}\n\n{question}", "{answer}"

    def scores(self, doc: Row, results: Sequence[str]) -> dict[str, float]:
        return {"acc": float((results[0].strip().splitlines() or [""])[0].strip() == doc["answer"])}


class LawBenchTask(ScoredTask):
    """One subtask of LawBench, zero-shot, generated; `dataset_name` of the YAML is the config."""

    DATA = TaskData("lawbench")
    COLUMNS = ("instruction", "question", "answer", "metric", "gold", "choices")
    METRICS, LOWER_IS_BETTER = ("score", "abstained"), ("abstained",)
    TEXT, TARGET = "{instruction}\n{question}", "{answer}"

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """As the parent, from the config that the YAML names."""
        self.SUBSET = str(self.config.dataset_name)
        super().download(dataset_kwargs, **kwargs)

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows. Raises DataError for a metric that is none of ours."""
        if unknown := sorted(set(rows["metric"]) - set(lawbench.METRICS)):
            raise DataError(f"{self.config.task}: metric {unknown[0]!r} is not one of {', '.join(lawbench.METRICS)}")
        return rows

    def scores(self, doc: Row, results: Sequence[str]) -> dict[str, float]:
        return lawbench.score(doc["metric"], results[0], doc["gold"], doc["choices"], doc["question"])


class CodeTask(ScoredTask):
    """Problems whose solution is run with its tests in a sandbox. A subclass sets `INSTRUCTION`, `OPENED`, `program`.

    Without a chat template the prompt is upstream's to complete; with one it is upstream's instruction, and the answer
    begins as `OPENED`. `metadata.seconds` (processor time) and `metadata.memory_mb` limit one program.
    """

    METRICS = ("pass_at_1", "timeout")
    INTERVALS = ("pass_at_1",)
    LOWER_IS_BETTER = ("timeout",)
    INSTRUCTION: ClassVar[str]
    OPENED: ClassVar[str]

    chat = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        metadata = self.config.metadata or {}
        seconds, memory = metadata.get("seconds", 5), metadata.get("memory_mb", 1024)
        if not all(isinstance(value, int) and value > 0 for value in (seconds, memory)):
            raise UsageError(
                f"task {self.config.task}: seconds {seconds!r} and memory_mb {memory!r} must be whole numbers above 0"
            )
        # Processor time decides, not how busy the machine is; the wall clock ends programs that sleep.
        self.limits = Limits(seconds=4.0 * seconds, cpu_seconds=seconds, memory_mb=memory)

    @abstractmethod
    def program(self, doc: Row, code: str) -> str:
        """The code with what it needs and its tests."""

    def fewshot_context(self, doc: Row, num_fewshot: int = 0, **settings: Any) -> Any:
        """Upstream's prompt, or the instruction and the beginning of the answer through the chat template."""
        template: Callable[..., Any] | None = settings.get("chat_template")
        self.chat = bool(settings.get("apply_chat_template") and template)
        if not self.chat or template is None:
            return super().fewshot_context(doc, num_fewshot, **settings)

        def opened(turns: list[dict[str, str]], add_generation_prompt: bool) -> Any:
            turns.append({"role": "assistant", "content": self.OPENED.format_map(doc)})
            return template(turns, add_generation_prompt=False)

        messages = [{"role": "user", "content": self.INSTRUCTION.format_map(doc | {"tests": self.tests(doc)})}]
        return chat_prompt(messages, settings.get("system_instruction"), opened)

    def tests(self, doc: Row) -> str:
        """The tests that a prompt shows."""
        return "\n".join(doc.get("test_list", ()))

    def scores(self, doc: Row, results: Sequence[str]) -> dict[str, float]:
        code = programs.code_in(results[0], opened=self.chat)
        outcome = programs.run(self.program(doc, code), self.limits)
        return {"pass_at_1": float(outcome.ok), "timeout": float(programs.timed_out(outcome))}


class HumanEvalTask(CodeTask):
    """HumanEval: the rest of a function behind its head."""

    DATA = TaskData("humaneval", repo="openai/openai_humaneval", build="code_problems")
    COLUMNS = ("prompt", "test", "entry_point")
    TEXT, TARGET = "{prompt}", "{canonical_solution}"
    INSTRUCTION = (
        "Write a solution to the following problem and make sure that it passes the tests:\n```python\n{prompt}\n```\n"
    )
    OPENED = "Here is the completed function:\n```python\n{prompt}\n"

    def program(self, doc: Row, code: str) -> str:
        return programs.humaneval_program(doc, code)


class MBPPTask(CodeTask):
    """MBPP: a function from a sentence and its tests; upstream's three examples unless a chat template is used."""

    DATA = TaskData("mbpp", repo="google-research-datasets/mbpp", build="code_problems")
    COLUMNS = ("task_id", "text", "code", "test_list", "test_setup_code")
    INSTRUCTION = (
        "You are an expert Python programmer, and here is your task:\n{text}\nYour code should pass these tests:\n"
        "{tests}"
    )
    OPENED = "\n```python\n"
    TARGET = "{code}\n[DONE]"
    SHOWN = (2, 3, 4)  # task_id of upstream's examples

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """As the parent, and the examples from the split `prompt`. Raises DataError where that lacks them."""
        super().download(dataset_kwargs, **kwargs)
        if self.config.num_fewshot == 0:
            return
        path, source_name = self.DATA.locate(self.config.metadata)
        shown = [row for row in read_split(path, "prompt") if row["task_id"] in self.SHOWN]
        if len(shown) != len(self.SHOWN):
            raise DataError(f"{source_name}: split 'prompt' lacks task_id {self.SHOWN}; use the whole mbpp.jsonl")
        self.dataset["prompt"] = make_dataset(shown)
        self.config.fewshot_split = self.fewshot_cfg.split = "prompt"

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return (
            f"You are an expert Python programmer, and here is your task: {doc['text']} Your code should pass these "
            f"tests:\n\n{self.tests(doc)}\n[BEGIN]\n"
        )

    def program(self, doc: Row, code: str) -> str:
        return programs.mbpp_program(doc, code)
