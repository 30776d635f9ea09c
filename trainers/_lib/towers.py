"""Vision towers and their image processors, made to see squares of a chosen size."""

from typing import Any

import torch
from transformers import AutoModel

from ...hub_sync.errors import UsageError, first_line


def image_size(image_processor: Any, source_name: str) -> int:
    """The side of the square that an image processor makes. Raises UsageError if it makes none."""
    size = _plain(getattr(image_processor, "crop_size", None) if _crops(image_processor) else None)
    size = size or _plain(image_processor.size)
    sides = {size.get("height"), size.get("width")}
    if len(sides) != 1 or None in sides:
        raise UsageError(f"vision_tower: {source_name} does not prepare images as squares: {size}")
    return int(sides.pop())


def _plain(size: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _crops(image_processor: Any) -> bool:
    return bool(getattr(image_processor, "do_center_crop", False))


def set_image_size(image_processor: Any, side: int, source_name: str) -> None:
    """Let a tower's image processor make squares of another side; its margin around a crop keeps its proportion."""
    size = _plain(image_processor.size)
    if not _crops(image_processor):
        image_processor.size = {"height": side, "width": side}
    else:
        before = image_size(image_processor, source_name)
        edges = {key: round(value * side / before) for key, value in size.items()}
        image_processor.size = edges
        image_processor.crop_size = {"height": side, "width": side}
    image_processor.do_resize = True


def resized(tower: Any, size: int, source_name: str) -> Any:
    """The tower for images of another size. One that does not interpolate its position embeddings by itself gets them
    interpolated once and for all, by its own function. Raises UsageError if it has none."""
    if _reads(tower, size):
        return tower
    try:
        embeddings = next(module for module in tower.modules() if hasattr(module, "interpolate_pos_encoding"))
        patches = torch.zeros(1, (size // tower.config.patch_size) ** 2, tower.config.hidden_size, dtype=tower.dtype)
        one = 1 if hasattr(embeddings, "class_embedding") or hasattr(embeddings, "cls_token") else 0
        patches = torch.cat([patches[:, :one], patches], dim=1)
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(patches, size, size)[0]
        weights = tower.state_dict()
        key = next(key for key in weights if key.endswith(("position_embedding.weight", "position_embeddings")))
        weights[key] = positions.reshape(positions.shape if weights[key].dim() == 2 else (1, *positions.shape))
        settings = type(tower.config).from_dict(tower.config.to_dict() | {"image_size": size})
        settings._attn_implementation = tower.config._attn_implementation
        other = AutoModel.from_config(settings, dtype=tower.dtype)
        other.load_state_dict(weights)
    except (StopIteration, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"image_size: {source_name} reads images of {tower.config.image_size} pixels alone: write that "
            f"({first_line(error)})"
        ) from error
    return other.train(tower.training)


def _reads(tower: Any, size: int) -> bool:
    """Whether a tower makes as many tokens more than there are patches as at its own size. The position embeddings of
    several patches may be added to a single one without an error."""
    patch = tower.config.patch_size
    if size == tower.config.image_size:
        return True
    with torch.device("meta"):
        like = AutoModel.from_config(tower.config)
        own = like(torch.empty(1, 3, *[tower.config.image_size] * 2)).last_hidden_state.shape[1]
    try:
        tokens = count_tokens(tower, size, -1, "")
    except (ValueError, RuntimeError):
        return False
    return tokens - (size // patch) ** 2 == int(own) - (tower.config.image_size // patch) ** 2


@torch.no_grad()
def count_tokens(tower: Any, size: int, layer: int | tuple[int, ...], source_name: str) -> int:
    """Tokens of an image, by looking at one. Raises UsageError for a layer that the tower does not have."""
    mode = tower.training
    try:
        states = tower.eval()(
            torch.zeros(1, 3, size, size, dtype=tower.dtype), output_hidden_states=True
        ).hidden_states
    finally:
        tower.train(mode)
    for one in (layer,) if isinstance(layer, int) else layer:
        if not -len(states) <= one < len(states):
            raise UsageError(f"feature_layer: {source_name} has the layers 0 to {len(states) - 1}, and no {one}")
    return int(states[-1].shape[1])
