"""lm-eval model `interactive`: any other lm-eval model, playing the episodes of interactive tasks.

    hubwright eval TASK --model interactive --model_args model=hf,pretrained=org/model --apply_chat_template

All episodes go on together, one step per round; a round is one call of the inner model. Other requests are passed on.
"""

import copy
import inspect
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import lm_eval.models  # noqa: F401  lm-eval registers its own models only while none is registered
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import get_model, register_model
from tqdm import tqdm

from ....hub_sync.errors import UsageError
from ....hub_sync.text import well_formed
from ....inference.reasoning import opened_by, split_reasoning
from ..chat import chat_prompt
from .episodes import Episode, Request, begin, read_request, transcript_text

NAME = "interactive"
_MADE: weakref.WeakSet[Any] = weakref.WeakSet()


def is_made() -> bool:
    """True if this process has an interactive model."""
    return len(_MADE) > 0


@dataclass
class _Playing:
    """An episode and the request of lm-eval's that it answers, by its place among them."""

    place: int
    instance: Any
    request: Request
    episode: Episode


@contextmanager
def _one_batch_size(inner: Any) -> Iterator[None]:
    """Settle `batch_size=auto` once: lm-eval's `hf` finds it per call and for all processes, whose rounds differ."""
    detect = getattr(inner, "_detect_batch_size", None)
    if detect is None or getattr(inner, "batch_size", None) != "auto":
        yield
        return
    with mock.patch.object(inner, "batch_size_per_gpu", detect()):
        yield


def _inner(name: str) -> Any:
    return property(lambda self: getattr(self.inner, name))


@register_model(NAME)
class InteractiveLM(LM):
    """Plays episodes with an inner model (a registered name with its `--model_args`, or a model), and passes on all
    else.

    Raises UsageError if the inner model is unknown or `interactive` itself.
    """

    def __init__(self, model: str | LM = "hf", **arguments: Any) -> None:
        super().__init__()
        if isinstance(model, str):
            if model == NAME:
                raise UsageError(f"model {NAME}: the model inside is {NAME} again; name another, e.g. model=hf")
            try:
                model_class = get_model(model)
            except ValueError as error:
                raise UsageError(f"model {NAME}: model={model} is unknown; `lm_eval run --help` names some") from error
            model = model_class.create_from_arg_obj(arguments)
        self.inner = model
        _MADE.add(self)

    def __getattr__(self, name: str) -> Any:
        # Only what this class lacks: accelerator, tokenizer, batch_sizes, get_model_info, MULTIMODAL, ...
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Transcripts of the episodes (JSON text) and the inner model's texts, in the order of the requests."""
        answers: dict[int, str] = {}
        plain, playing = [], []
        for place, instance in enumerate(requests):
            request = read_request(instance.args[0])
            if request is None:
                plain.append(place)
            else:
                playing.append(_Playing(place, instance, request, begin(request)))
        with _one_batch_size(self.inner):
            if plain:
                texts = self._ask([requests[place] for place in plain], quiet=disable_tqdm)
                answers |= dict(zip(plain, texts, strict=True))
            self._play(playing, answers, quiet=disable_tqdm or self.rank != 0)
        return [answers[place] for place in range(len(requests))]

    def _play(self, playing: list[_Playing], answers: dict[int, str], quiet: bool) -> None:
        with tqdm(total=len(playing), desc="Episodes", disable=quiet or not playing) as bar:
            rounds = 0
            while playing:
                going, queries = [], []
                for one in playing:
                    instance = self._next(one)
                    if instance is None:
                        text = answers[one.place] = transcript_text(one.episode.transcript())
                        self.cache_hook.add_partial("generate_until", one.instance.args, text)
                        bar.update()
                    else:
                        going.append(one)
                        queries.append(instance)
                if queries:
                    rounds += 1
                    bar.set_postfix(round=rounds)
                    for one, instance, text in zip(going, queries, self._ask(queries, quiet=True), strict=True):
                        cut = getattr(self.inner, "think_end_token", None)  # by lm-eval itself
                        opened = "" if cut else opened_by(instance.args[0], one.request.tags)
                        split = split_reasoning(opened + text, one.request.tags)
                        one.episode.reply(split.answer, split.reasoning)
                playing = going

    def _next(self, one: _Playing) -> Any:
        """lm-eval's request for an episode's next turn; None when it is over."""
        turns = one.episode.prompt()
        if turns is None:
            return None
        # A model's "\ud800" is half a surrogate pair, which no tokenizer takes.
        turns = well_formed(turns)
        template = self.inner.apply_chat_template if one.request.chat else None
        prompt, settings = chat_prompt(turns, one.request.system, template), copy.deepcopy(one.instance.args[1])
        if message := self._too_long(prompt, settings):
            one.episode.stop(message)
            return None
        metadata = (one.instance.task_name, one.instance.doc_id, 1)
        return Instance("generate_until", one.instance.doc, (prompt, settings), 0, metadata)

    def _too_long(self, prompt: Any, settings: dict[str, Any]) -> str:
        """Why a prompt does not fit into the window (lm-eval would cut off the functions at its beginning), or ""."""
        window, encode = getattr(self.inner, "max_length", None), getattr(self.inner, "tok_encode", None)
        if not isinstance(prompt, str) or not isinstance(window, int) or encode is None:
            return ""
        room = int(settings.get("max_gen_toks") or getattr(self.inner, "max_gen_toks", None) or 0)
        length = len(encode(prompt))
        if length + room <= window:
            return ""
        return f"context full: {length} tokens and {room} to write, the window is {window}"

    def _ask(self, instances: list[Any], quiet: bool) -> list[str]:
        ask = self.inner.generate_until
        # Not every model of lm-eval takes it.
        named = {"disable_tqdm": quiet} if "disable_tqdm" in inspect.signature(ask).parameters else {}
        texts: list[str] = ask(instances, **named)
        return texts

    def set_cache_hook(self, cache_hook: Any) -> None:
        self.cache_hook = cache_hook
        self.inner.set_cache_hook(cache_hook)

    # What lm-eval's base class defines is not looked up by __getattr__.
    loglikelihood, loglikelihood_rolling = _inner("loglikelihood"), _inner("loglikelihood_rolling")
    apply_chat_template, chat_template = _inner("apply_chat_template"), _inner("chat_template")
    tokenizer_name, device = _inner("tokenizer_name"), _inner("device")
    rank, world_size, barrier = _inner("rank"), _inner("world_size"), _inner("barrier")
    all_gather, gather_object = _inner("all_gather"), _inner("gather_object")
