"""A trained scorer from a step's inputs, of either form. Needs torch."""

from collections.abc import Mapping

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, first_line
from ...inference import device
from ...inference.loading import CompleteModels
from ...inference.media import loading
from ..architectures import register
from ..vision_sft.look import read_config
from .rating import ScoringConfig
from .scorer import GenerativeScorer, HeadScorer

HEAD = "llava_scorer"


def open_scorer(config: ScoringConfig, inputs: Mapping[str, Input], role: str) -> GenerativeScorer | HeadScorer:
    """The scorer of an input on its device, in evaluation mode. Raises DataError in one line for a model that is
    none."""
    from transformers import AutoModelForSequenceClassification

    register()
    source = inputs[role]
    name = str(source.ref)
    options = {"attn_implementation": config.attn_implementation}
    is_head = read_config(source.path).get("model_type") == HEAD
    if is_head:
        try:
            auto = CompleteModels(AutoModelForSequenceClassification, name)
            model = auto.from_pretrained(str(source.path), dtype=config.dtype, use_safetensors=True, **options)
        except DataError:
            raise
        except Exception as error:  # safetensors, transformers and torch raise classes of their own
            message = first_line(error).replace(str(source.path), name)
            raise DataError(f"{name} cannot be loaded as a scorer: {message}") from error
    else:
        model = loading.input_image_text_model(inputs, role, config.dtype, **options)
    processor = loading.processor(inputs.get(f"{role}.base", source).path, name)
    model.eval().to(device.choose("cpu" if config.use_cpu else config.device))
    if is_head:
        return HeadScorer(model, processor, name, config.max_length)
    return GenerativeScorer(model, processor, name, config.max_length, config.max_new_tokens)
