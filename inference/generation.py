"""Answers of a model in this process to many prompts: batches that are the same whatever was generated before them.

    generator = Generator(model, tokenizer, temperature=1.0, max_new_tokens=16, seed=0)
    prompts = [generator.encode([{"role": "user", "content": "Where to?"}])]
    generator.sample(prompts, "batch 0")      # [Sample(text="north", logp=-1.2, cut=False, tokens=2)]

torch and transformers are imported inside the functions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..hub_sync.errors import UsageError, first_line
from ..hub_sync.text import utf8
from .loading import check_ids, window

Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """An answer.

    Attributes:
        text: without control tokens and without space around it.
        logp: log-probability in nats of its tokens, the end of turn among them, at temperature 1.
        cut: it has no end of turn within `max_new_tokens`.
        tokens: number of tokens.
    """

    text: str
    logp: float
    cut: bool
    tokens: int


class Generator:
    """Samples answers of a causal language model with a chat template, or continuations of one without.

    Args:
        model: in evaluation mode and on its device.
        temperature: 0 for the most probable token each time.
        max_new_tokens: of an answer.
        seed: of all batches; a batch has one of its own made from it and the batch's name.
        top_k, top_p: of sampling; 0 and 1.0 for the full distribution.
        chat: False for token ids that do not come from `encode`.

    Raises UsageError for a tokenizer without a chat template if `chat`.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, temperature: float, max_new_tokens: int, seed: int, source_name: str = "",
        top_k: int = 0, top_p: float = 1.0, chat: bool = True,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.source_name = model, tokenizer, source_name or "the model"
        self._temperature, self._new, self._seed = temperature, max_new_tokens, seed
        self._top: dict[str, Any] = {"top_k": top_k, "top_p": top_p}
        if chat and not tokenizer.chat_template:
            raise UsageError(f"{self.source_name} has no chat template: train it with chat_template: chatml_tools")
        self.ends = end_tokens(model, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.ends)

    def encode(self, turns: Sequence[Turn]) -> list[int]:
        """Tokens of a prompt, up to where the answer begins. Raises UsageError if the chat template refuses it."""
        try:
            ids = self.tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, return_dict=True)
        except Exception as error:  # a template may raise anything
            raise UsageError(
                f"the chat template of {self.source_name} refuses a prompt: {first_line(error)}"
            ) from error
        return list(ids["input_ids"])

    def check(self, prompts: Sequence[Sequence[int]]) -> None:
        """Raises DataError or UsageError for prompts that the model cannot read."""
        embeddings = self.model.get_input_embeddings().weight.shape[0]
        check_ids((max(ids) for ids in prompts), embeddings, self.tokenizer, self.source_name)
        positions, longest = window(self.model.config), max(map(len, prompts), default=0)
        if positions is not None and longest + self._new > positions:
            raise UsageError(
                f"a prompt of {longest} tokens and an answer of {self._new} are longer than the {positions} positions "
                f"of {self.source_name}: shorten the history, or leave such rows out"
            )

    def sample(self, prompts: Sequence[Sequence[int]], batch: str) -> list[Sample]:
        """An answer to each prompt.

        Args:
            prompts: token ids, from `encode`; all are in one batch, padded on the left.
            batch: its name; with the seed it decides what is drawn.
        """
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        width, device = max(map(len, prompts)), self.model.device
        ids = torch.tensor([[self._pad] * (width - len(row)) + list(row) for row in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device)
        settings: dict[str, Any] = {"do_sample": False}
        if self._temperature > 0:
            settings = {"do_sample": True, "temperature": self._temperature, **self._top}
        config = GenerationConfig(
            **settings, max_new_tokens=self._new, pad_token_id=self._pad, eos_token_id=sorted(self.ends)
        )
        record = _LogProbabilities(width)
        cuda = [device] if device.type == "cuda" else []
        # transformers fills up a given configuration with the repository's, which may hold a penalty or beams.
        stated, self.model.generation_config = self.model.generation_config, config
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices=cuda):
                torch.manual_seed(_seed_of(self._seed, batch))
                processors = LogitsProcessorList([record])
                output = self.model.generate(input_ids=ids, attention_mask=mask, logits_processor=processors)
        finally:
            self.model.generation_config = stated
        return self._samples(output[:, width:], record.all(output))

    def _samples(self, tokens: Any, logps: Any) -> list[Sample]:
        samples = []
        for row, logp in zip(tokens.tolist(), logps.tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in self.ends), None)
            length = len(row) if end is None else end + 1
            text = self.tokenizer.decode(row[:length], skip_special_tokens=True).strip()
            samples.append(Sample(text, sum(logp[:length]), end is None, length))
        return samples


class _LogProbabilities:
    """A logits processor of `generate` that changes nothing and keeps the log-probability of each sampled token."""

    def __init__(self, width: int) -> None:
        self._width, self._logits, self._steps = width, None, []  # type: ignore[var-annotated]

    def __call__(self, ids: Any, logits: Any) -> Any:
        if self._logits is not None:
            self._keep(ids[:, -1])
        self._logits = logits.float()
        return logits

    def _keep(self, tokens: Any) -> None:
        self._steps.append(self._logits.log_softmax(-1).gather(1, tokens[:, None]))  # type: ignore[attr-defined]

    def all(self, output: Any) -> Any:
        """(batch, new tokens) of what `generate` returned."""
        import torch

        self._keep(output[:, -1])
        return torch.cat(self._steps, dim=1)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids of the tokens that end an answer: those of model and tokenizer, and what the chat template writes after one.

    Raises UsageError if there is none.
    """
    stated = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])} - {None}
    if (end := end_of_turn(tokenizer)) is not None:
        ends.add(end)
    if not ends:
        raise UsageError("neither model nor tokenizer has an end of turn: set eos_token")
    return ends


def end_of_turn(tokenizer: Any) -> int | None:
    """Id of the control token that the chat template writes right after an answer; None if it writes none."""
    mark = "hubwright"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # no template, or one for other roles
        return None
    after = tokenizer(text.rpartition(mark)[2], add_special_tokens=False)["input_ids"]
    return next((token for token in after[:1] if token in tokenizer.all_special_ids), None)


def _seed_of(seed: int, batch: str) -> int:
    return int.from_bytes(hashlib.sha256(utf8(f"{seed}:{batch}")).digest()[:8]) >> 1
