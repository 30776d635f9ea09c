"""Vision models as they are on disk: towers, vision-language models, dual encoders, and what prepares their inputs.

Every weight is read from safetensors files, none is drawn at random, and no code of a repository is run. torch and
transformers are imported inside the functions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, first_line
from ..loading import CompleteModels, fold, is_adapter


def _load(auto: Any, folder: Path, source_name: str, what: str, **options: Any) -> Any:
    try:
        return CompleteModels(auto, source_name).from_pretrained(str(folder), use_safetensors=True, **options)
    except DataError:
        raise
    except Exception as error:  # safetensors, transformers and torch raise classes of their own
        message = first_line(error).replace(str(folder), source_name)
        raise DataError(f"{source_name} cannot be loaded as {what}: {message}") from error


def image_text_model(folder: Path, source_name: str, dtype: str, **options: Any) -> Any:
    """The vision-language model of a folder, of transformers' Auto class for images and text.

    Args:
        source_name: the model's name in messages.
        dtype: of the weights, such as "float32".
        options: of `from_pretrained`.

    Raises DataError in one line if it cannot be loaded, or a weight is missing or has another shape.
    """
    from transformers import AutoModelForImageTextToText

    return _load(AutoModelForImageTextToText, folder, source_name, "a vision-language model", dtype=dtype, **options)


def input_image_text_model(inputs: Mapping[str, Input], role: str, dtype: str, **options: Any) -> Any:
    """The vision-language model of an input; an adapter is folded into its base, the input ROLE.base. Arguments and
    errors as of `image_text_model`."""
    import torch

    source, base = inputs[role], inputs.get(f"{role}.base")
    name = str(source.ref)
    if base is not None:
        model = image_text_model(base.path, str(base.ref), "float32", **options)
        return fold(model, source.path, name).to(getattr(torch, dtype))
    if is_adapter(source.path):
        raise DataError(f"{name} is an adapter, and its base was not resolved: run it through a recipe")
    return image_text_model(source.path, name, dtype, **options)


def dual_encoder(folder: Path, source_name: str, dtype: str, **options: Any) -> Any:
    """The model of a folder with `get_image_features` and `get_text_features`, such as CLIP, SigLIP or
    VisionTextDualEncoder. Arguments and errors as of `image_text_model`."""
    from transformers import AutoModel

    model = _load(AutoModel, folder, source_name, "a dual encoder", dtype=dtype, **options)
    if not all(hasattr(model, name) for name in ("get_image_features", "get_text_features")):
        raise DataError(
            f"{source_name} is a {type(model).__name__}, which does not embed both images and texts: name a dual "
            "encoder, such as CLIP, SigLIP or what `dual_encoder` trains"
        )
    return model


def vision_tower(folder: Path, source_name: str, dtype: str, **options: Any) -> Any:
    """The vision model of a folder: its own, or the vision part of a dual encoder. Arguments and errors as of
    `image_text_model`; DataError for a model without vision or with a language model in it, too."""
    from transformers import AutoModel

    model = _load(AutoModel, folder, source_name, "a vision tower", dtype=dtype, **options)
    if hasattr(model.config, "vision_config"):
        if not hasattr(model, "vision_model") or hasattr(model, "language_model"):
            raise DataError(f"{source_name} is a vision-language model, and no vision tower: name its tower")
        return model.vision_model
    if getattr(model, "main_input_name", "") != "pixel_values" or not hasattr(model.config, "patch_size"):
        raise DataError(f"{source_name} is a {type(model).__name__}, which does not read images in patches")
    return model


def processor(folder: Path, source_name: str, auto: str = "AutoProcessor") -> Any:
    """What prepares the inputs of a model: `AutoProcessor`, `AutoImageProcessor` or `AutoTokenizer` of transformers.
    Raises DataError in one line."""
    import transformers

    try:
        return getattr(transformers, auto).from_pretrained(str(folder))
    except Exception as error:  # of many kinds, tokenizers' plain ones among them
        message = first_line(error).replace(str(folder), source_name)
        raise DataError(f"{source_name} has nothing that {auto} can load: {message}") from error
