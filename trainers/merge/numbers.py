"""Tensors' bytes as float32 numbers and back. numpy knows no bfloat16: it is the upper half of a float32."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4,
         "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def decode(raw: Bytes, dtype: str) -> Array:
    """The numbers in a tensor's bytes.

    Args:
        raw: uint8, any number of whole elements.
        dtype: F64, F32, F16 or BF16, as safetensors writes it.

    Returns float32 [elements]: the same memory where it holds float32 already.
    """
    if dtype == "BF16":
        wide = np.left_shift(raw.view("<u2"), 16, dtype=np.uint32)
        return wide.view(np.float32)
    return raw.view(_NUMPY[dtype]).astype(np.float32, copy=False)


def encode(numbers: Array, dtype: str) -> Bytes:
    """The bytes of float32 numbers, each rounded once to the nearest, of two equally near to the even one. A finite
    number that the type cannot hold becomes infinite."""
    flat = np.ascontiguousarray(numbers).reshape(-1)
    if dtype == "BF16":
        bits = flat.view(np.uint32)
        half = (bits >> 16) & 1
        half += 0x7FFF
        half += bits
        half >>= 16
        return half.astype("<u2").view(np.uint8)
    with np.errstate(over="ignore"):
        return flat.astype(_NUMPY[dtype], copy=False).view(np.uint8)


def finite(raw: Bytes, dtype: str) -> bool:
    """Whether a tensor's bytes are finite numbers only."""
    if dtype == "BF16":
        return bool(((raw.view("<u2") & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(raw.view(_NUMPY[dtype])).all())
