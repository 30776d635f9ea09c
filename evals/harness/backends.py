"""What answers an evaluation: the step's model by transformers or vLLM, or an OpenAI-compatible endpoint, all of them
models of lm-eval's own."""

import ast
import functools
import gc
import logging
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ...hub_sync.arguments import check_arguments
from ...hub_sync.context import StepContext
from ...hub_sync.errors import did_you_mean
from ...inference.loading import check_adapter
from .weights import complete_models

Backend = Literal["hf", "hf-multimodal", "vllm", "local-completions", "local-chat-completions"]
HF = ("hf", "hf-multimodal")
"""The backends of transformers: for text, and for images and text."""
ROUTES = {"local-completions": "completions", "local-chat-completions": "chat/completions"}
"""The endpoints and their routes."""
_SOURCES = {
    "hf": (("huggingface", "HFLM"),),
    "hf-multimodal": (("huggingface", "HFLM"), ("hf_vlms", "HFMultimodalLM")),
    "vllm": (("vllm_causallms", "VLLM"),),
    "local-completions": (("api_models", "TemplateAPI"), ("openai_completions", "LocalCompletionsAPI")),
    "local-chat-completions": (("api_models", "TemplateAPI"), ("openai_completions", "LocalChatCompletion")),
}
_TYPES = {kind.__name__: kind for kind in (str, int, float, bool, dict, list)}
# What `hf` hands on to from_pretrained.
_LOADING: dict[str, Any] = {
    "attn_implementation": str,
    "device_map": Any,
    "max_memory": dict,
    "low_cpu_mem_usage": bool,
}
_STEP = ("batch_size", "device", "dtype", "max_length", "think_end_token", "seed")
_MODEL = ("pretrained", "revision", "subfolder", "peft", "delta", "lora_local_path", "tokenizer", "gguf_file")
_REFUSED = {
    "trust_remote_code": "code of a repository is never run: drop it",
    "max_model_len": "write the setting `max_length` instead",
    **{name: f"it is a setting of the step: write `{name}` beside model_args" for name in _STEP},
}
_LOCAL = dict.fromkeys(_MODEL, "the step's input `model` says which model: drop it")
_SERVED = {
    "pretrained": "write model_args.model: the name that the server knows it by",
    "auth_token": "it is a secret: set the environment variable OPENAI_API_KEY",
    "header": "headers hold secrets: set the environment variable OPENAI_API_KEY",
    "max_gen_toks": "write gen_kwargs: {max_gen_toks: ...} instead",
}


def arguments_of(backend: str) -> dict[str, Any]:
    """The arguments of a model of lm-eval and their annotations, read from its source: to import it takes seconds, and
    vLLM's needs vllm. Raises ValueError if lm-eval is not installed."""
    package = find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        raise ValueError("lm-eval is not installed: pip install 'hubwright[eval]'")
    hints: dict[str, Any] = {}
    for module, name in _SOURCES[backend]:
        text = Path(package.submodule_search_locations[0], "models", f"{module}.py").read_text(encoding="utf-8")
        nodes = ast.walk(_tree(text))
        methods = next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name).body
        init = next(node for node in methods if isinstance(node, ast.FunctionDef) and node.name == "__init__")
        new = {one.arg: _annotation(one.annotation) for one in [*init.args.args[1:], *init.args.kwonlyargs]}
        hints |= {name: hint for name, hint in new.items() if name not in hints or hint is not Any}
    return hints | (_LOADING if backend in HF else {})


def _tree(text: str) -> ast.Module:
    """The syntax tree of a module. No garbage is collected meanwhile: a finaliser that runs in Python 3.11's parser
    makes it raise SystemError."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if collects:
            gc.enable()


def _annotation(node: ast.expr | None) -> Any:
    """The annotation without its types of torch, transformers and os, which no recipe can hold; Any for none."""
    match node:
        case ast.BinOp(left=left, right=right):
            sides = [hint for hint in map(_annotation, (left, right)) if hint is not Any]
            return functools.reduce(operator.or_, sides) if sides else Any
        case ast.Constant(value=None):
            return type(None)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            literal: Any = Literal  # for mypy, which wants the words themselves
            return literal[ast.literal_eval(values)]
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return _TYPES.get(name, Any)
    return Any


def check_model_args(backend: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """`model_args` as the backend takes them; a base URL gets its route. Raises ValueError in one line."""
    hints, served = arguments_of(backend), backend in ROUTES
    refused = _REFUSED | (_SERVED if served else _LOCAL)
    if backend == "vllm":  # hands on what vLLM's engine takes
        near = {name: did_you_mean(name, hints, "") for name in values.keys() - hints.keys()}
        hints |= {name: Any for name, hint in near.items() if not hint}
    values = check_arguments(values, hints, f"lm-eval's {backend}", refused)
    if not served:
        return values
    if missing := [name for name in ("model", "base_url") if not values.get(name)]:
        raise ValueError(
            f"{missing[0]}: backend {backend} needs it, such as {{model: NAME, base_url: http://HOST/v1}}"
        )
    url = urlsplit(values["base_url"])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"base_url: {values['base_url']!r} is no URL: write http://HOST:PORT/v1")
    if url.username or url.password or any(word in url.query.lower() for word in ("key", "token", "sig=", "secret")):
        raise ValueError("base_url: it holds a secret: set the environment variable OPENAI_API_KEY")
    if (name := str(values.get("tokenizer") or "")) and (name[0] in "./~" or Path(name).exists()):
        raise ValueError(f"tokenizer: {name!r} is a path of this machine: name a repository, org/name")
    if not url.path.rstrip("/").endswith("completions"):
        route = url.path.rstrip("/") + "/" + ROUTES[backend]
        return values | {"base_url": url._replace(path=route).geturl()}
    if backend == "local-completions" and url.path.rstrip("/").endswith("chat/completions"):
        raise ValueError("base_url: its route is that of backend: local-chat-completions: set it")
    return values


def load(config: Any, context: StepContext) -> tuple[Any, str]:
    """(the model of lm-eval, the folder or name of its tokenizer, "" if it has none)."""
    if config.backend in ROUTES:
        return _endpoint(config), str(config.model_args.get("tokenizer") or "")
    model = context.inputs["model"]
    base = context.inputs.get("model.base", model)
    own_tokenizer = (model.path / "tokenizer_config.json").is_file()
    if base is not model:
        check_adapter(model.path, str(model.ref))
    tokenizer = str((model if own_tokenizer else base).path)
    common = {
        "pretrained": str(base.path), "tokenizer": tokenizer, "dtype": config.dtype, "batch_size": config.batch_size,
        "max_length": config.max_length, "think_end_token": config.think_end_token, **config.model_args,
    }  # fmt: skip
    adapter = None if base is model else str(model.path)
    if config.backend == "vllm":
        from lm_eval.models.vllm_causallms import VLLM

        if config.batch_size == 1:  # vLLM batches by itself
            common["batch_size"] = "auto"
        return VLLM(**common, lora_local_path=adapter, seed=config.seed), tokenizer
    from lm_eval.models.huggingface import HFLM

    kind: Any = HFLM
    if config.backend == "hf-multimodal":
        from lm_eval.models.hf_vlms import HFMultimodalLM

        kind = HFMultimodalLM
        del common["tokenizer"]  # lm-eval's class reads the processor beside the weights
    with complete_models({str(base.path): str(base.ref)}):
        lm = kind(**common, peft=adapter, device=config.device)
    if (accelerator := getattr(lm, "accelerator", None)) is not None:
        # lm-eval counts the processes of one machine, and only if there are several GPUs.
        lm._rank, lm._world_size = accelerator.process_index, accelerator.num_processes
    return lm, tokenizer


def _endpoint(config: Any) -> Any:
    from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

    chat = config.backend == "local-chat-completions"
    options = dict(config.model_args)
    if config.max_length is not None:
        options["max_length"] = config.max_length
    if chat:
        options["think_end_token"] = config.think_end_token
    return (LocalChatCompletion if chat else LocalCompletionsAPI)(
        **options, batch_size=config.batch_size, seed=config.seed
    )


@contextmanager
def hidden_key() -> Iterator[None]:
    """Keep the endpoint's key out of logs: lm-eval writes down failed requests with all their headers, and so does
    asyncio, whenever it comes to remove those that nobody waited for."""
    logger, hide = logging.getLogger("lm_eval.models.api_models"), _hider(os.environ.get("OPENAI_API_KEY"))
    logger.addFilter(hide)
    logging.getLogger("asyncio").addFilter(hide)  # for good
    try:
        yield
    finally:
        logger.removeFilter(hide)


@functools.cache
def _hider(key: str | None) -> Callable[[logging.LogRecord], bool]:
    """A filter of log records, the same one for the same key."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(key, "***") if key else record.getMessage(), ()
        return True

    return hide


def describe_endpoint(config: Any, samples: Mapping[str, Sequence[Mapping[str, Any]]], context: StepContext) -> str:
    """The endpoint's model as Markdown; says on the card that nothing pins it, and counts answers without text.

    Args:
        samples: task -> its samples, as lm-eval returns them.
    """
    from lm_eval.models.api_models import LMEVAL_MODEL_NONE_ANSWER_PLACEHOLDER as NO_TEXT

    name, url = config.model_args["model"], config.model_args["base_url"]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    context.report.section(
        "Not pinned",
        f"The answers are those of `{name}` as served at `{url}` on {day}. An endpoint has no commit: another day the "
        "same name may be other weights: the requests can be repeated, their answers may differ.",
    )
    texts = [text for several in samples.values() for row in several for reply in row["resps"] for text in reply]
    if empty := sum(text in (None, NO_TEXT) for text in texts):
        context.report.counts["answers_without_text"] = empty
    context.report.card |= {"pretty_name": f"Evaluation of {name}"}
    return f"`{name}` at `{url}` (unpinned)"
