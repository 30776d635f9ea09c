"""Which weights belong to an ability: a bit an element, an output unit (row) or an input unit (column) of a tensor.

The file is safetensors with one uint8 vector a tensor, the bits packed from the highest; its metadata say the form and
the shape of each. A tensor that is not in it has no weight of the ability.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...hub_sync.errors import DataError
from ..merge.checkpoint import Kind

FILE = "masks.safetensors"
Form = Literal["element", "row", "column"]


@dataclass
class Masks:
    """Masks of a model's tensors.

    Attributes:
        called: how errors name them.
        forms: tensor -> form.
        shapes: tensor -> shape of the tensor itself.
    """

    called: str
    forms: dict[str, Form]
    shapes: dict[str, tuple[int, ...]]
    _file: Any

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.bool_]:
        """The mask of these rows, bool: of their shape, or with 1 in a dimension in which all are alike."""
        shape = self.shapes.get(name)
        if shape is None:
            return np.zeros((1,), np.bool_)
        form = self.forms[name]
        if form == "column":
            return self._bits(name, 0, shape[1]).reshape(1, shape[1])
        if form == "row":
            return self._bits(name, start, stop).reshape(-1, *(1 for _ in shape[1:]))
        width = Kind(shape, "F32").row
        return self._bits(name, start * width, stop * width).reshape(stop - start, *shape[1:])

    def whole(self, name: str) -> NDArray[np.bool_]:
        """The mask of a whole tensor, as `rows`."""
        return self.rows(name, 0, Kind(self.shapes[name], "F32").rows)

    def _bits(self, name: str, start: int, stop: int) -> NDArray[np.bool_]:
        if start == stop:  # safetensors has no empty slice at a tensor's end
            return np.zeros((0,), np.bool_)
        first = start // 8
        packed = self._file.get_slice(name)[first : -(-stop // 8)]
        bits: NDArray[np.bool_] = np.unpackbits(packed)[start - 8 * first : stop - 8 * first].astype(np.bool_)
        return bits

    def count(self, name: str) -> int:
        """Elements of the tensor that the mask holds."""
        kind = Kind(self.shapes[name], "F32")
        each = {"element": 1, "row": kind.row, "column": kind.rows}[self.forms[name]]
        return int(np.bitwise_count(self._file.get_tensor(name)).sum()) * each


def save_masks(folder: Path, masks: Mapping[str, tuple[Form, tuple[int, ...], NDArray[np.uint8]]]) -> None:
    """Write masks below `folder`: tensor -> form, its shape, and the packed bits of its elements, rows or columns."""
    forms = {name: {"form": form, "shape": shape} for name, (form, shape, _) in sorted(masks.items())}
    folder.mkdir(parents=True, exist_ok=True)
    packed = {name: bits for name, (_, _, bits) in masks.items()}
    save_file(packed, folder / FILE, {"masks": json.dumps(forms, separators=(",", ":"))})


def load_masks(folder: Path, called: str) -> Masks:
    """Masks as `save_masks` wrote them. Raises DataError in one line for a folder without, or with a damaged file."""
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{called}: no {FILE}: is it what a maet_locate step published?")
    try:
        file = safe_open(path, framework="np")
        masks = json.loads((file.metadata() or {})["masks"])
        forms = {name: one["form"] for name, one in masks.items()}
        shapes = {name: tuple(one["shape"]) for name, one in masks.items()}
        for name, shape in shapes.items():
            kind = Kind(shape, "F32")
            if forms[name] == "column" and len(shape) != 2:
                raise ValueError(f"{name} of {list(shape)} has no columns")
            need = {"element": kind.elements, "row": kind.rows, "column": shape[-1] if shape else 1}[forms[name]]
            if file.get_slice(name).get_shape() != [-(-need // 8)]:
                raise ValueError(f"{name} has not the {need} bits of its shape")
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{called}: {FILE} cannot be read ({str(error).splitlines()[0]}): locate again") from error
    return Masks(called, forms, shapes, file)


def check_fit(masks: Masks, kinds: Mapping[str, Kind], of: str) -> None:
    """Are the masks of this model? Raises DataError naming the first tensor that is not there or has another shape."""
    for name, shape in sorted(masks.shapes.items()):
        if name not in kinds or kinds[name].shape != shape:
            there = f"{list(kinds[name].shape)} there" if name in kinds else "not there"
            raise DataError(f"{masks.called}: {name} of {list(shape)} is {there} in {of}: locate in this model")
