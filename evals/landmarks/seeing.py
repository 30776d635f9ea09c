"""A vision-language model that is asked about images: replies with their probability, and log-likelihoods of options.

lm-eval 0.4.13 refuses log-likelihoods for models that see, so that they are taken here. Needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, RowRejected, first_line
from ...inference import device as devices
from ...inference.generation import end_of_turn, end_tokens
from ...inference.loading import window
from ...inference.media import loading


class Reply(NamedTuple):
    """A reply by the most probable tokens, and its probability, the end of the turn included."""

    text: str
    probability: float


class Seer:
    """A model and its processor.

    Args:
        inputs: of the step.
        role: the model's.
        dtype, device: of the weights, and where it runs.
        max_new_tokens: of a reply.

    Raises DataError in one line for a model that does not see, or has no chat template.
    """

    def __init__(self, inputs: Mapping[str, Input], role: str, dtype: str, device: str, max_new_tokens: int) -> None:
        source = inputs[role]
        self.source_name, self._new = str(source.ref), max_new_tokens
        self.model = loading.input_image_text_model(inputs, role, dtype).eval().to(devices.choose(device))
        self.processor = loading.processor(inputs.get(f"{role}.base", source).path, self.source_name)
        if not getattr(self.processor, "chat_template", None) or not hasattr(self.processor, "image_processor"):
            raise DataError(f"{self.source_name} has no processor with a chat template: train it by vision_sft")
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._ends = end_tokens(self.model, tokenizer)
        end = end_of_turn(tokenizer)
        self._end = end if end is not None else min(self._ends)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._control = sorted({*special, *tokenizer.all_special_tokens}, key=len)
        self._window = window(self.model.config)

    def prompt(self, question: str) -> str:
        """A question as the chat template shows it, after an image. Raises RowRejected for one that spells a control
        token, with which it could write the reply itself."""
        if token := next((one for one in self._control if one.strip() and one in question), None):
            raise RowRejected("the question spells a control token of the model", token)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        try:
            return str(self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False))
        except Exception as error:  # a template may raise anything
            raise DataError(
                f"the chat template of {self.source_name} refuses a question: {first_line(error)}"
            ) from error

    def _inputs(self, prompts: Sequence[str], images: Sequence[Any], room: int) -> dict[str, Any]:
        values = self.processor(text=list(prompts), images=list(images), padding=True, return_tensors="pt")
        length = values["input_ids"].shape[1] + room
        if self._window is not None and length > self._window:
            raise RowRejected(
                f"image and question are longer than the {self._window} positions of the model", f"{length} tokens"
            )
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in values.items()
        }

    @torch.inference_mode()
    def ask(self, prompts: Sequence[str], images: Sequence[Any]) -> list[Reply]:
        """The replies to prompts of `prompt` about an image each. Raises RowRejected if one is too long."""
        values = self._inputs(prompts, images, self._new)
        config = GenerationConfig(
            do_sample=False, max_new_tokens=self._new, pad_token_id=self.processor.tokenizer.pad_token_id,
            eos_token_id=sorted(self._ends), return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        # transformers fills up a given configuration with the repository's, which may hold a penalty or beams.
        stated, self.model.generation_config = self.model.generation_config, config
        try:
            output = self.model.generate(**values)
        finally:
            self.model.generation_config = stated
        tokens = output.sequences[:, values["input_ids"].shape[1] :]
        logits = torch.stack(output.logits, dim=1).float()
        logps = logits.log_softmax(-1).gather(2, tokens[:, :, None])[:, :, 0]
        result = []
        for row, logp in zip(tokens.tolist(), logps.tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in self._ends), None)
            text = self.processor.tokenizer.decode(row[:end], skip_special_tokens=True).strip()
            result.append(Reply(text, math.exp(sum(logp[: len(row) if end is None else end + 1]))))
        return result

    @torch.inference_mode()
    def log_likelihoods(self, prompt: str, image: Any, options: Sequence[str]) -> list[float]:
        """The log-probability in nats of each option as the whole reply, the end of the turn included. Raises
        RowRejected if one is too long."""
        tokenizer = self.processor.tokenizer
        rows = [[*tokenizer(one, add_special_tokens=False)["input_ids"], self._end] for one in options]
        longest = max(map(len, rows))
        values = self._inputs([prompt] * len(rows), [image] * len(rows), longest)
        start, shape = values["input_ids"].shape[1], values["input_ids"].shape
        more = torch.tensor([row + [self._end] * (longest - len(row)) for row in rows], device=self.model.device)
        for name, value in values.items():
            if value.shape == shape:  # of tokens: ids, the mask, and what marks images in some models
                added = {"input_ids": more, "attention_mask": torch.ones_like(more)}.get(name, torch.zeros_like(more))
                values[name] = torch.cat([value, added.to(value.dtype)], dim=1)
        logits = self.model(**values).logits[:, start - 1 : -1].float()
        logps = logits.log_softmax(-1).gather(2, more[:, :, None])[:, :, 0].tolist()
        return [sum(logp[: len(row)]) for row, logp in zip(rows, logps, strict=True)]
