"""A trained scorer at work: batches of images and texts in, scores and new captions out. Needs torch.

Batches hold what they are given, padded on the left; the neighbours of a row change its result by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from ...hub_sync.errors import DataError, RowRejected, first_line
from ...inference import loading
from ...inference.generation import end_tokens
from ...inference.media import pair_scores
from .._lib.controls import Controls
from .digits import expected_score, numbers_of

Ids = list[int]


@dataclass(frozen=True)
class Rewrite:
    """A new caption: None if the model has written none; `cut` if it had not ended at the limit."""

    text: str | None
    cut: bool


class Scorer:
    """What both forms share: images and prompts as tensors.

    Args:
        model: in evaluation mode and on its device.
        processor: of the model, with a chat template.
        source_name: the model's name in messages.
        max_length: tokens of image and prompt at most.
    """

    room = 0
    """Tokens that are written behind a prompt."""

    def __init__(self, model: Any, processor: Any, source_name: str, max_length: int) -> None:
        self.model, self.processor, self.source_name, self.max_length = model, processor, source_name, max_length
        self._controls = Controls(processor.tokenizer)
        tokenizer = processor.tokenizer
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self._image = tokenizer.convert_tokens_to_ids(processor.image_token)
        self._times = int(model.config.image_seq_length)
        self._window = loading.window(model.config)

    def encode(self, text: str) -> Ids:
        """Tokens of an image and a caption. Raises RowRejected for one that is too long, or spells a control token,
        with which it could write the reply itself."""
        self._controls.check([{"role": "user", "content": text}], None)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": pair_scores.prompt(text)}]}
        try:
            shown = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        except Exception as error:  # a template may raise anything
            raise DataError(
                f"the chat template of {self.source_name} refuses a prompt: {first_line(error)}"
            ) from error
        ids = self.processor.tokenizer(shown, add_special_tokens=False)["input_ids"]
        ids = [one for i in ids for one in ([i] * self._times if i == self._image else [i])]
        limit = min(self.max_length, (self._window or self.max_length + self.room) - self.room)
        if len(ids) > limit:
            raise RowRejected(f"image and text are longer than max_length {limit} tokens", f"{len(ids)} tokens")
        return ids

    def pixels(self, images: Sequence[Any]) -> torch.Tensor:
        """(images, 3, side, side) in the type of the model."""
        values = self.processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        return torch.as_tensor(values).to(self.model.device, self.model.dtype)

    def padded(self, prompts: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, int64 (rows, length), padded on the left."""
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(row)) + row for row in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=self.model.device)
        return ids, mask


class GenerativeScorer(Scorer):
    """The form that writes JSON."""

    def __init__(self, model: Any, processor: Any, source_name: str, max_length: int, max_new_tokens: int = 0) -> None:
        super().__init__(model, processor, source_name, max_length)
        self.room = max_new_tokens + len(self._encode(pair_scores.begin(10, rewrite=True)))
        self._numbers = numbers_of(self._encode, pair_scores.begin())
        self._ends = end_tokens(model, processor.tokenizer)

    def _encode(self, text: str) -> Ids:
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.inference_mode()
    def score(self, pixels: torch.Tensor, prompts: Sequence[Ids]) -> list[dict[str, float]]:
        """`overall`, the expected score, and `mass`, the probability that a number follows; nothing is written."""
        ids, mask = self.padded([row + list(self._numbers.begin) for row in prompts])
        output = self._step(ids, mask, pixel_values=pixels)
        cache, logits = output.past_key_values, [output.logits[:, -1]]
        for node in self._numbers.nodes[1:]:
            more = torch.tensor([node], device=ids.device).expand(len(prompts), -1)
            logits.append(self._step(more, torch.cat([mask, torch.ones_like(more)], dim=1), cache).logits[:, -1])
            cache.crop(-len(node))
        scores, masses = expected_score(self._numbers, logits)
        rows = zip(scores.tolist(), masses.tolist(), strict=True)
        return [{"overall": score, "mass": min(1.0, mass)} for score, mass in rows]

    def _step(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any = None, **more: Any) -> Any:
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(
            input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
            logits_to_keep=1, **more,
        )  # fmt: skip

    def reply(self, pixels: torch.Tensor, prompts: Sequence[Ids], max_new_tokens: int) -> list[pair_scores.Reply]:
        """The whole JSON of each row, by the most probable tokens; what runs on to the limit says so."""
        texts = self._generate(pixels, prompts, max_new_tokens, None)
        return [
            pair_scores.Reply({}, fault="longer than max_new_tokens")
            if cut and "}" not in text
            else pair_scores.read(text)
            for text, cut in texts
        ]

    def rewrite(
        self, pixels: torch.Tensor, prompts: Sequence[Ids], scores: Sequence[float], max_new_tokens: int
    ) -> list[Rewrite]:
        """A new caption of each row, whose reply is begun with its score, rounded."""
        begun = [pair_scores.begin(round(score), rewrite=True) for score in scores]
        rows = [row + self._encode(text) for row, text in zip(prompts, begun, strict=True)]
        texts = self._generate(pixels, rows, max_new_tokens, '"')
        result = []
        for begin, (text, cut) in zip(begun, texts, strict=True):
            caption = pair_scores.recaption_of(begin + text)
            result.append(Rewrite(caption, cut and caption is None))
        return result

    @torch.inference_mode()
    def _generate(
        self, pixels: torch.Tensor, prompts: Sequence[Ids], new: int, until: str | None
    ) -> list[tuple[str, bool]]:
        """(text, whether it was cut at the limit) of each row; rows stop after a text with an `until` outside of a
        backslash, too."""
        ids, mask = self.padded(prompts)
        config = GenerationConfig(
            do_sample=False, max_new_tokens=new, pad_token_id=self._pad, eos_token_id=sorted(self._ends)
        )
        width = ids.shape[1]
        stop = _StopAt(self.processor.tokenizer, width, until) if until else None
        stated, self.model.generation_config = self.model.generation_config, config
        try:
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, pixel_values=pixels,
                stopping_criteria=StoppingCriteriaList([stop] if stop else []),
            )  # fmt: skip
        finally:
            self.model.generation_config = stated
        result = []
        for row in output[:, width:].tolist():
            end = next((place for place, token in enumerate(row) if token in self._ends), None)
            text = self.processor.tokenizer.decode(row[:end], skip_special_tokens=True)
            result.append((text, end is None and len(row) >= new))
        return result


class _StopAt(StoppingCriteria):
    """Ends a row once its text has ended: a quote that no backslash stands before."""

    def __init__(self, tokenizer: Any, width: int, quote: str) -> None:
        self._tokenizer, self._width, self._quote = tokenizer, width, quote

    def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        texts = self._tokenizer.batch_decode(ids[:, self._width :])
        done = [self._quote in text.replace("\\\\", "").replace("\\" + self._quote, "") for text in texts]
        return torch.tensor(done, device=ids.device)


class HeadScorer(Scorer):
    """The form with a head of regressions."""

    @torch.inference_mode()
    def score(self, pixels: torch.Tensor, prompts: Sequence[Ids]) -> list[dict[str, float]]:
        """The overall score and those of the aspects, within the scale."""
        ids, mask = self.padded(prompts)
        values = self.model(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits.float()
        values = (pair_scores.LOW + (pair_scores.HIGH - pair_scores.LOW) * values).clamp(
            pair_scores.LOW, pair_scores.HIGH
        )
        return [dict(zip(pair_scores.ASPECTS, row, strict=True)) for row in values.tolist()]
