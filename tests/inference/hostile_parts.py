"""Image files as attackers and broken uploads have them: which can be used, and which are refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any


def _encoded(image: Any, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG file whose header states a square of this side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def hostile_images() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """(usable, refused): name -> file."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(7).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    photo, stream = Image.fromarray(noise), io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("run.sh", "echo no")
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = {form: _encoded(photo, form) for form in ("PNG", "JPEG", "WEBP")}
    usable = {
        "polyglot": whole["JPEG"] + stream.getvalue(), "CMYK": _encoded(photo.convert("CMYK"), "JPEG"),
        "turned": _encoded(photo, "JPEG", exif=turned), "wide": _encoded(Image.new("RGB", (50_000, 2), "red"), "PNG"),
        "sixteen bits": _encoded(Image.fromarray(noise[..., 0].astype(np.uint16) << 8), "PNG"),
        "palette": _encoded(photo.quantize(16), "PNG", transparency=0),
    }  # fmt: skip
    refused = {
        "bomb": _bomb(50_000), "empty": b"", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "page": b"<!doctype html><html>gone</html>", "zip": stream.getvalue(),
        **{f"half a {form}": content[: len(content) // 2] for form, content in whole.items()},
    }  # fmt: skip
    return usable, refused
