"""What is known of a chat training before the run works: columns that are missing, templates that cannot train."""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError, HubError, HubwrightError, UsageError, first_line
from ...hub_sync.peek import columns, tokenizer_folder
from ...hub_sync.step import Preview
from .config import BaseTrainingConfig, TrainingConfig


def keep_tokenizer(config: BaseTrainingConfig, inputs: Mapping[str, Preview]) -> Preview:
    """A training's model by its `model` input, whose tokenizer it keeps."""
    base = inputs.get("model", Preview())
    template = base.template
    if isinstance(config, TrainingConfig) and config.chat_template == "chatml_tools":
        from .templates import CHATML_TOOLS

        template = CHATML_TOOLS.read_text(encoding="utf-8")
    return Preview(source=base.source, template=template, kind=base.kind, warnings=_slow_precision(config))


def train_columns(config: BaseTrainingConfig, dataset: Preview) -> dict[str, Any] | None:
    """Columns of the rows to train on; None if they are not known yet. Of a data set on the hub with their types, of
    one that the recipe makes with None.

    Raises DataError in one line for a config, split or column of `where` that the data set does not have.
    """
    if dataset.source is None:
        return dict.fromkeys(dataset.columns) or None
    known: list[dict[str, Any] | None] = []
    for split in filter(None, (config.train_split, config.eval_split)):
        for name in config.dataset_configs or (None,):
            try:
                known.append(columns(dataset.source, name, split))
            except HubError:
                known.append(None)
    first = known[0]
    if first is not None and (missing := next((name for name in config.where if name not in first), None)):
        raise DataError(f"{dataset.name} has no column {missing!r} of where; it has {', '.join(first)}")
    return first


def holds_turns(known: Mapping[str, Any], *names: str) -> bool:
    """Whether one of the columns is a list, so of turns. Text may be JSON of turns, which only reading it tells."""
    from pyarrow import types

    kinds = [known.get(name) for name in names]
    return any(kind is not None and (types.is_list(kind) or types.is_large_list(kind)) for kind in kinds)


def check_template(
    config: TrainingConfig, inputs: Mapping[str, Preview], known: Mapping[str, Any] | None, *, mask: bool
) -> tuple[str, ...]:
    """Warnings about the model's chat template, for rows of conversations.

    Args:
        known: columns of the rows; None if they are not known yet, so that what would be refused is a warning.
        mask: assistant turns are to be told apart.

    Raises UsageError in one line for a template that cannot render the rows, or does not mark assistant turns.
    """
    model = inputs["model"]
    if model.source is None:
        return ()
    from . import templates

    try:
        folder = tokenizer_folder(model.source)
    except HubwrightError:
        return ()
    try:
        tokenizer = _read_tokenizer(folder)
    except Exception as error:  # tokenizers raises plain Exceptions
        return (f"the tokenizer of {model.name} cannot be loaded: {first_line(error).replace(str(folder), '')}",)
    try:
        if config.chat_template == "chatml_tools":
            templates.install_chatml_tools(tokenizer)
        elif model.template is not None:
            tokenizer.chat_template = model.template
        templates.choose(tokenizer, model.name, tools="tools" in (known or ()))
        marked = mask and tokenizer.chat_template not in _templates_of_trl()
        templates.check_template(tokenizer, tools=False, assistant_mask=marked, model=model.name)
    except UsageError as error:
        if known is None:
            return (f"{error}, if the rows are conversations",)
        raise
    try:
        if "tools" in (known or ()):
            templates.check_template(tokenizer, tools=True, assistant_mask=False, model=model.name)
    except UsageError as error:
        return (f"{error}, if rows have tools",)
    return ()


def _read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, to render chats and to look up tokens. Raises what transformers and tokenizers raise.

    AutoTokenizer imports torch, which takes seconds. The general class reads the same files without it, if the class
    that they name is one of transformers' own and its tables lie in tokenizer.json.
    """
    import transformers

    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        general = settings.get("tokenizer_class") in dir(transformers) and "auto_map" not in settings
    except (OSError, ValueError, AttributeError):
        general = False
    if general and (folder / "tokenizer.json").is_file():
        return transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def _templates_of_trl() -> Iterator[str]:
    """Chat templates that TRL marks by itself: its files NAME.jinja beside NAME_training.jinja.

    TRL's function that knows them is not asked, as importing it takes seconds.
    """
    spec = find_spec("trl")
    for place in spec.submodule_search_locations or () if spec else ():
        for marked in sorted(Path(place, "chat_templates").glob("*_training.jinja")):
            own = marked.with_name(marked.name.replace("_training", ""))
            if own.is_file():
                yield own.read_text(encoding="utf-8")


def _slow_precision(config: BaseTrainingConfig) -> tuple[str, ...]:
    """A warning for bfloat16 on a CPU that has no instructions for it."""
    name = "bf16" if config.bf16 else "dtype" if config.dtype == "bfloat16" else ""
    if not name:
        return ()
    from ...inference import device
    from .launch import on_cpu

    if not on_cpu(config) or device.has_bfloat16("cpu"):
        return ()
    remedy = "bf16: false" if name == "bf16" else "dtype: float32"
    return (f"{name}: this CPU has no instructions for bfloat16 and is about ten times slower in it: set {remedy}",)
