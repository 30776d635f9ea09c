"""Held-out loss by domain as an lm-eval task: the `held_out` splits of a mixture, one config per domain.

Documents are scored whole by rolling log-likelihood, conversations by the answers of the assistant. All losses are
weighted by tokens of the evaluated model, so that a domain's loss is what its trainer would call held-out loss.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...hub_sync.errors import DataError
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.text import utf8
from .._lib.chat import ChatTask
from .._lib.data import TaskData, read_split
from .._lib.scored import ScoredTask
from .._lib.statistics import bootstrap_sums, interval
from .._lib.tokens import load_tokenizer

Row = dict[str, Any]
DATA = TaskData("versatune_mixture")
SPLIT = "held_out"
MIXTURE = "mixture.json"


class HeldOutTask(ChatTask, ScoredTask):
    """Loss in nats per token and per UTF-8 byte, of each domain and as the plain mean over the domains.

    Metrics: `loss` and `loss_per_byte`, both also with `_DOMAIN`; `perplexity_DOMAIN` and `byte_perplexity_DOMAIN`;
    `loss_DOMAIN_ci_low` and `_ci_high`, 95 % by the bootstrap over documents.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.path, self.source_name = DATA.locate(config.get("metadata"))
        self.domains, self.form = read_mixture(self.path, self.source_name)
        kind = "loglikelihood_rolling" if self.form == "text" else "loglikelihood"
        self.tokenizer: Any = None
        self.blank = ""  # before an answer: none behind a chat template
        self._tokens: dict[int, int] = {}
        super().__init__({**config, "output_type": kind})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the held-out rows of all domains, one of each in turn, so that --limit takes all domains alike.

        Raises DataError for a domain without them, or rows that have nothing to score.
        """
        domains = [list(self._documents(domain)) for domain in self.domains]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*domains))
        rows = [row | {"place": n} for n, row in enumerate(row for row in turns if row is not None)]
        self.dataset = {str(self.config.test_split): make_dataset(rows)}
        self.LOWER_IS_BETTER = self.METRICS = tuple(name for name in self.aggregation() if name != "bypass")

    def _documents(self, domain: str) -> Iterable[Row]:
        rows = read_split(self.path, SPLIT, domain)
        if self.form not in rows.column_names:
            raise DataError(f"{self.source_name}: {domain}/{SPLIT} has no column {self.form!r} as mixture.json says")
        documents = [one for row in rows for one in documents_of(row, self.form, domain)]
        if not documents:
            raise DataError(f"{self.source_name}: {domain}/{SPLIT} has no text to score; hold out rows of {domain}")
        return documents

    def conversation(self, doc: Row) -> list[dict[str, str]]:
        return [dict(turn) for turn in json.loads(doc["before"])]

    def fewshot_context(self, doc: Row, num_fewshot: int = 0, **settings: Any) -> Any:
        """Nothing before a document; the turns before an answer, and its number of tokens is noted."""
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(str(self.config.task), self.config.metadata)
        if self.form == "text":
            self._tokens[doc["place"]] = self._size(doc["answer"])
            return ""
        self.blank = "" if settings.get("apply_chat_template") else " "
        prompt = super().fewshot_context(doc, num_fewshot, **settings)
        # As lm-eval cuts them: blanks at the end of a prompt belong to the answer.
        self._tokens[doc["place"]] = self._size(prompt + self.doc_to_target(doc)) - self._size(prompt.rstrip())
        return prompt

    def _size(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def doc_to_text(self, doc: Row, doc_to_text: Any = None) -> str:
        return "" if self.form == "text" else super().doc_to_text(doc, doc_to_text)

    def doc_to_target(self, doc: Row, doc_to_target: Any = None) -> str:
        return f"{self.blank}{doc['answer']}"

    def scores(self, doc: Row, results: Sequence[Any]) -> dict[str, Any]:
        """The document's `Item` under every metric, to be put together over the documents."""
        value = results[0] if self.form == "text" else results[0][0]
        if not math.isfinite(value):
            raise DataError(
                f"{self.config.task}: document {doc['id']!r} of {doc['domain']}: the model's log-likelihood is "
                f"{value}; look at its weights and dtype"
            )
        item = Item(doc["domain"], float(value), self._tokens[doc["place"]], len(utf8(doc["answer"])))
        return dict.fromkeys(self.METRICS, item)

    def aggregation(self) -> dict[str, Any]:
        """How each metric is put together over the documents."""
        table: dict[str, Any] = {"loss": mean_loss, "loss_per_byte": partial(mean_loss, per="size")}
        resamples = int((self.config.metadata or {}).get("bootstrap", 1000))
        for name in self.domains:
            table |= {
                f"loss_{name}": partial(loss, domain=name),
                f"loss_per_byte_{name}": partial(loss, domain=name, per="size"),
                f"perplexity_{name}": partial(perplexity, domain=name),
                f"byte_perplexity_{name}": partial(perplexity, domain=name, per="size"),
            }
            for end, side in enumerate(("low", "high")):
                table[f"loss_{name}_ci_{side}"] = partial(loss_end, domain=name, end=end, resamples=resamples)
        return table | {"bypass": lambda values: 0.0}


class Item(NamedTuple):
    """A document's log-likelihood in nats, and its size."""

    domain: str
    log_likelihood: float
    tokens: int
    size: int  # UTF-8 bytes


def loss(items: Sequence[Item], domain: str, per: str = "tokens") -> float:
    """Nats per token (or per byte: "size") of a domain's documents together; NaN without any.

    >>> loss([Item("law", -6.0, 2, 9), Item("law", -2.0, 2, 7), Item("code", -1.0, 1, 1)], "law")
    2.0
    """
    own = [item for item in items if item.domain == domain]
    total = math.fsum(item.log_likelihood for item in own)
    return -total / sum(getattr(item, per) for item in own) if own else math.nan


def mean_loss(items: Sequence[Item], per: str = "tokens") -> float:
    """The plain mean of the domains' losses."""
    domains = sorted({item.domain for item in items})
    return math.fsum(loss(items, domain, per) for domain in domains) / len(domains)


def perplexity(items: Sequence[Item], domain: str, per: str = "tokens") -> float:
    """Exponential of a domain's loss; infinite from a loss of 700 nats on."""
    value = loss(items, domain, per)
    return math.exp(value) if not value > 700 else math.inf


def loss_end(items: Sequence[Item], domain: str, end: int, resamples: int) -> float:
    """Lower (0) or upper (1) end of a domain's loss per token, 95 %, by the bootstrap over its documents."""
    pairs = [(-item.log_likelihood, item.tokens) for item in items if item.domain == domain]
    if len(pairs) < 2 or not resamples:
        return math.nan
    sums = bootstrap_sums(np.array(pairs, dtype=np.float64), resamples, 0)
    return interval(sums[:, 0] / sums[:, 1])[end]


def read_mixture(path: Path, source_name: str) -> tuple[list[str], str]:
    """(domains, "text" or "messages") of a data set of `uses: versatune_mixture`. Raises DataError in one line."""
    file = path / MIXTURE
    try:
        mixture = json.loads(file.read_text(encoding="utf-8"))
        domains, form = [str(name) for name in mixture["domains"]], mixture["form"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{source_name}: has no {MIXTURE} with domains and form ({type(error).__name__}); {DATA.hint}"
        ) from error
    if not domains or form not in ("text", "messages"):
        raise DataError(f"{source_name}: {MIXTURE} has domains {domains} and form {form!r}, not text or messages")
    return domains, form


def documents_of(row: Mapping[str, Any], form: str, domain: str) -> list[Row]:
    """What is scored of a row: its text, or each turn of the assistant behind the turns before it."""
    name = f"{domain}/{row['id']}"
    if form == "text":
        whole = str(row["text"] or "")
        return [{"id": name, "domain": domain, "before": "[]", "answer": whole}] if whole else []
    turns = [{"role": str(turn["role"]), "content": str(turn["content"] or "")} for turn in row["messages"]]
    return [
        {"id": f"{name}:{n}", "domain": domain, "before": json.dumps(turns[:n], ensure_ascii=False),
         "answer": turn["content"]}
        for n, turn in enumerate(turns) if turn["role"] == "assistant" and n and turn["content"]
    ]  # fmt: skip
