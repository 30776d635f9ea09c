"""A DINOv2 backbone in an ONNX file to a plain transformers folder. Run as a process of its own.

`python -m hubwright.hub_sync.server.convert_onnx FILE.onnx OUTPUT DTYPE`. PyTorch's exporter folds the transposed
weight of a linear layer into a constant without a name; the multiplication that reads it bears the layer's path, by
which it gets its name back. Position embeddings are two constants: that of the class token and those of the patches.
"""

import json
import sys
from pathlib import Path
from typing import Any

BACKBONE = "backbone."
POSITIONS = "embeddings.position_embeddings"
_PROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True, "size": {"shortest_edge": 256}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
    "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}  # fmt: skip
"""Preprocessing of DINOv2; the mean and deviation are ImageNet's, and what the packaged detector uses as well."""


def backbone_tensors(model: Any) -> dict[str, Any]:
    """The backbone's weights as arrays by their names in transformers' checkpoints.

    Args:
        model: `onnx.ModelProto`.

    Raises ValueError for a graph without such a backbone.
    """
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors = {n.removeprefix(BACKBONE): array for n, array in constants.items() if n.startswith(BACKBONE)}
    positions: list[Any] = []
    for node in model.graph.node:
        path = node.name.strip("/").split("/")
        for name in node.input:
            if name not in constants or name.startswith(BACKBONE) or path[0] != BACKBONE[:-1]:
                continue
            if node.op_type == "MatMul":
                tensors[".".join([*path[1:-1], "weight"])] = constants[name].T.copy()
            elif path[1] == "embeddings" and constants[name].ndim == 3:
                positions.append(constants[name])
    if "embeddings.patch_embeddings.projection.weight" not in tensors or len(positions) != 2:
        raise ValueError("the graph holds no DINOv2 backbone with position embeddings")
    import numpy as np

    # One row for the class token, then the patches.
    tensors[POSITIONS] = np.concatenate(sorted(positions, key=lambda array: array.shape[1]), axis=1)
    return tensors


def convert(source: Path, output: Path, dtype: str) -> None:
    """Write the backbone to the folder `output`, weights as `dtype` (a torch dtype's name). Raises ValueError if
    transformers misses a weight."""
    import onnx
    import torch
    from safetensors.torch import save_file
    from transformers import Dinov2Config, Dinov2Model

    torch.set_num_threads(1)
    tensors = backbone_tensors(onnx.load(str(source)))
    width, _, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    side = round((tensors[POSITIONS].shape[1] - 1) ** 0.5)
    layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("encoder.layer."))
    config = Dinov2Config(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, patch_size=patch,
        image_size=side * patch, mlp_ratio=tensors["encoder.layer.0.mlp.fc1.bias"].shape[0] // width,
        use_mask_token=False, architectures=["Dinov2Model"], dtype=dtype,
    )  # fmt: skip
    output.mkdir()
    config.save_pretrained(str(output))
    weights = {name: torch.from_numpy(array.copy()).to(getattr(torch, dtype)) for name, array in tensors.items()}
    save_file(weights, str(output / "model.safetensors"), metadata={"format": "pt"})
    (output / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR, indent=2) + "\n", encoding="utf-8")
    _, info = Dinov2Model.from_pretrained(str(output), output_loading_info=True)
    if wrong := sorted([*info["missing_keys"], *info["unexpected_keys"]]):
        raise ValueError(f"{wrong[0]} (and {len(wrong) - 1} more) is not what transformers' Dinov2Model holds")
    for path in output.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
