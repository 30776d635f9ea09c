"""A causal language model as a judge of domains: the probability of every label as the whole answer to a prompt."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from ...hub_sync.errors import DataError, UsageError, first_line
from ...inference.generation import end_of_turn, end_tokens
from ...inference.loading import window

Row = dict[str, Any]
WORDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("probe.yaml").read_text(encoding="utf-8"))
_AROUND = " \t\r\n.。,，:：!！*_`'\"“”‘’()[]<>▁ĠĊ"


def judge_prompt(text: str, domains: Mapping[str, str]) -> str:
    """The question about one text."""
    listed = "\n".join(f"- {name}: {description}" for name, description in domains.items())
    return str(WORDS["prompt"].format(domains=listed, text=text))


def read_label(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer is, case and marks around it aside; None if it is none.

    >>> read_label(" **Law**.", ["law", "code"]), read_label("law and code", ["law", "code"])
    ('law', None)
    """
    word = answer.strip(_AROUND).casefold()
    return next((label for label in labels if word == label.casefold()), None)


def first_token_label(token: str, labels: Sequence[str]) -> str | None:
    """The one label that begins with a token; None if none or several do.

    >>> first_token_label("Med", ["medicine", "code"]), first_token_label("s", ["science", "sport"])
    ('medicine', None)
    """
    word = token.strip(_AROUND).casefold()
    fitting = [label for label in labels if word and label.casefold().startswith(word)]
    return fitting[0] if len(fitting) == 1 else None


class LabelJudge:
    """Reads the domains' probabilities for texts, one after another, so that no text changes another's figures.

    With a chat template the answer is the label and the end of the turn; without one a blank, the label and a line
    end. The tokens that all prompts begin with are computed once.

    Args:
        model: in evaluation mode and on its device.
        domains: label -> description.
        generate: also let the model answer, greedily.

    Raises UsageError if a label has no tokens.
    """

    def __init__(
        self, model: Any, tokenizer: Any, domains: Mapping[str, str], *, source_name: str, generate: bool = False
    ) -> None:
        self.model, self.tokenizer, self.domains, self.name = model, tokenizer, domains, source_name
        self._generate, self._labels = generate, list(domains)
        self._chat = bool(tokenizer.chat_template)
        end = end_of_turn(tokenizer) if self._chat else None
        self._ends = end_tokens(model, tokenizer)
        endings = [end] if end is not None else [min(self._ends)] if self._chat else self._tokens("\n")
        self._answers = [self._tokens(label if self._chat else f" {label}") + endings for label in self._labels]
        self._line = set(endings)
        accepted = inspect.signature(model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        pairs = zip(self._encode("a"), self._encode("9"), strict=False)
        self._prefix = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        self._cache = self._run(self._prefix, None)[1] if self._prefix else None

    def read(self, text: str) -> Row:
        """{"logp": [per label, nats], "on_label": whether the most probable first token begins a label, "answer": the
        generated answer or None}.

        Raises UsageError for a text that is too long, DataError for probabilities that are not numbers.
        """
        ids = self._encode(text)
        positions = window(self.model.config)
        if positions is not None and len(ids) + max(map(len, self._answers)) > positions:
            raise UsageError(f"a prompt of {len(ids)} tokens is longer than the {positions} positions of {self.name}: "
                             "lower judge_chars")  # fmt: skip
        start = len(self._prefix) if ids[: len(self._prefix)] == self._prefix else 0
        first, cache = self._run(ids[start:], copy.deepcopy(self._cache) if start else None)
        if not math.isfinite(float(first.max())):
            raise DataError(f"{self.name}: the probabilities of the next token are not numbers: check its weights")
        answer = self._answer(first, copy.deepcopy(cache)) if self._generate else None
        logp = self._scores(first, cache)
        on_label = int(first.argmax()) in {tokens[0] for tokens in self._answers}
        return {"logp": [float(value) for value in logp], "on_label": on_label, "answer": answer}

    def _tokens(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise UsageError(f"the tokenizer of {self.name} makes no token of {text!r}: use another judge")
        return ids

    def _encode(self, text: str) -> list[int]:
        prompt = judge_prompt(text, self.domains)
        if not self._chat:
            return list(self.tokenizer(prompt + WORDS["cue"])["input_ids"])
        turns = [{"role": "user", "content": prompt}]
        try:  # templates that do not know enable_thinking pass it over
            encoded = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=True, enable_thinking=False
            )
        except Exception as error:  # a template may raise anything
            raise UsageError(f"the chat template of {self.name} refuses a prompt: {first_line(error)}") from error
        return list(encoded["input_ids"])

    def _run(self, ids: Sequence[int], cache: Any) -> tuple[Any, Any]:
        """((vocabulary,) log-probabilities of the next token, cache)."""
        import torch

        with torch.inference_mode():
            row = torch.tensor([list(ids)], device=self.model.device)
            output = self.model(input_ids=row, past_key_values=cache, use_cache=True, **self._options)
            return output.logits[0, -1].float().log_softmax(-1), output.past_key_values

    def _scores(self, first: Any, cache: Any) -> Any:
        """(labels,) log-probabilities of the whole answers in nats."""
        import torch

        longest = max(map(len, self._answers))
        rows = torch.tensor([one + [0] * (longest - len(one)) for one in self._answers], device=self.model.device)
        with torch.inference_mode():
            cache.batch_repeat_interleave(len(rows))
            logits = self.model(input_ids=rows[:, :-1], past_key_values=cache, use_cache=True).logits
            later = logits.float().log_softmax(-1).gather(2, rows[:, 1:, None])[..., 0].cpu()
        total = first[rows[:, 0]].cpu()
        return total + torch.stack([row[: len(one) - 1].sum() for row, one in zip(later, self._answers, strict=True)])

    def _answer(self, first: Any, cache: Any) -> str:
        """The greedy answer, up to its end or two tokens beyond the longest label."""
        tokens: list[int] = []
        for _ in range(max(map(len, self._answers)) + 2):
            token = int(first.argmax())
            if token in self._ends or token in self._line:
                break
            tokens.append(token)
            first, cache = self._run([token], cache)
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return re.sub(r"\s+", " ", text).strip()
