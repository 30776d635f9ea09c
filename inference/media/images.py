"""Images from anywhere, decoded within limits: RGB pixels, upright, or a reason why not.

    image = open_image(content, ImageLimits())     # PIL.Image in RGB

Only the formats below are tried, so that no file reaches a decoder that runs other programs (EPS) or draws (SVG).
What lies behind the end of an image, such as the archive of a polyglot, is never read; a step that publishes a file
byte for byte publishes that, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import Field

from ...hub_sync.errors import RowRejected, first_line
from ...hub_sync.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
UNREADABLE = "not an image that can be read"
_BITS, _PHOTOMETRIC, _ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 0x0112, 322, 323  # tags of EXIF and TIFF
_HEAD = 1024  # bytes that tell a page or a drawing


@dataclass(frozen=True)
class ImageLimits:
    """What an image may have at most. The defaults are our choice.

    Attributes:
        max_bytes: of the file.
        max_pixels: width times height, by the file's header. Pillow itself refuses from about 179 million on.
        max_frames: of an animation or a file of several pages, of which the first is read; None: they are not counted.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_frames: int | None = 1000


class ImageSettings(Settings):
    """The limits as fields of a step's settings, under the names that the reasons of refusals use."""

    max_image_mb: float = Field(20.0, gt=0, allow_inf_nan=False, description="Largest image file in MB; our choice.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image in pixels; our choice.")
    max_image_frames: int = Field(
        1000, ge=1, description="Most frames of an animation, of which the first is read; our choice."
    )

    def image_limits(self) -> ImageLimits:
        """The same as limits of `open_image`."""
        return ImageLimits(int(self.max_image_mb * 1e6), self.max_image_pixels, self.max_image_frames)


class ImageInfo(NamedTuple):
    """What an image's header says: Pillow's name of its format, and its size in pixels as it is stored."""

    format: str
    width: int
    height: int


def open_image(content: bytes, limits: ImageLimits | None = None) -> Image:
    """The pixels of an image: RGB, the first frame, turned as its EXIF orientation says, transparency on white.

        >>> open_image(png_of_a_grey_portrait).mode
        'RGB'

    9 to 16 bits of grey become 8 by their upper ones, the other way round where a TIFF file says that 0 is white. CMYK
    is converted without its colour profile, as Pillow does.

    Args:
        content: the file.
        limits: None: the defaults.

    Raises RowRejected with a reason to count: empty, not an image, a page of HTML, SVG, truncated, above a limit, or
    pixels of a kind that has no RGB (32-bit numbers, LAB). Nothing is decoded of what is above a limit.
    """
    from PIL import ImageFile

    limits = limits or ImageLimits()
    # Half an image is no image, whatever another library has set.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with _opened(content, limits) as image:
        _decode(image.load)
        if image.mode == "I" and image.format != "PNG":  # which has 16 bits, whatever Pillow calls them
            raise RowRejected("an image of 32-bit numbers, whose range nobody states", str(image.format))
        pixels = _rgb(_upright(image))
    pixels.info = {}  # an orientation that is applied already, profiles, comments
    return pixels


def check_image(content: bytes, limits: ImageLimits | None = None, whole: bool = False) -> ImageInfo:
    """What an image's header says. Raises RowRejected as `open_image` does, for what shows without decoding pixels.

    Args:
        whole: decode them, too, of any mode: that half of a JPEG file is missing shows there alone.
    """
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with _opened(content, limits or ImageLimits()) as image:
        info = ImageInfo(str(image.format), *image.size)
        _decode(image.load if whole else image.verify)
    return info


def _opened(content: bytes, limits: ImageLimits) -> Image:
    """An image within the limits whose pixels are not read yet."""
    from PIL import Image

    if not content:
        raise RowRejected("an image file without content")
    if len(content) > limits.max_bytes:
        raise RowRejected(f"an image above max_image_mb {limits.max_bytes / 1e6:g}", f"{len(content) / 1e6:.1f} MB")
    too_large = f"an image above max_image_pixels {limits.max_pixels}"
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RowRejected(too_large, first_line(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise everything from SyntaxError to struct.error
        raise RowRejected(_kind(content), first_line(error)) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise RowRejected(too_large, f"{width} x {height}")
    if (tiles := getattr(image, "tag_v2", {})) and _tile(tiles) > limits.max_pixels:
        raise RowRejected(too_large, f"a tile of {_tile(tiles)} pixels")
    most = limits.max_frames
    frames = 1 if most is None else _decode(lambda: _frames(image, content, most + 1))
    if most is not None and frames > most:
        raise RowRejected(f"an image above max_image_frames {most}", f"{frames} frames or more")
    return image


def _tile(tags: object) -> int:
    """Pixels of a tile of a TIFF file, which may be larger than the image; 0 without tiles."""
    sides = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]  # type: ignore[attr-defined]
    return sides[0] * sides[1] if all(isinstance(side, int) for side in sides) else 0


def _kind(content: bytes) -> str:
    """The reason for content that Pillow does not open."""
    head = content[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a page of HTML in place of an image"
    if b"<svg" in head and head.startswith(b"<"):
        return "an SVG drawing, which has no pixels"
    return UNREADABLE


def _decode(read: Callable[[], T]) -> T:
    """What a reader of Pillow's gives. Raises RowRejected for whatever it raises."""
    from PIL import Image

    try:
        return read()
    except (MemoryError, RowRejected):
        raise
    except Image.DecompressionBombError as error:
        raise RowRejected(UNREADABLE, first_line(error)) from error
    except Exception as error:
        cut = isinstance(error, EOFError) or any(word in str(error).lower() for word in ("truncat", "end of file"))
        raise RowRejected("a truncated image" if cut else UNREADABLE, first_line(error)) from error


def _frames(image: Image, content: bytes, most: int) -> int:
    """Number of frames. Those of GIF and TIFF are counted up to `most`: Pillow visits every one, which a hostile file
    has a million of, and compares each page of a TIFF with all before it.
    """
    if image.format == "GIF":
        return gif_frames(content, most)
    if image.format == "TIFF":
        return _pages(image, most)
    return int(getattr(image, "n_frames", 1))


def _pages(image: Image, most: int) -> int:
    """Pages of a TIFF file, counted up to `most`, one after another: Pillow miscounts where one is passed over."""
    pages = 1
    try:
        while pages < most:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(0)
    return pages


def gif_frames(content: bytes, most: int) -> int:
    """Frames of a GIF file, counted up to `most` by its blocks; pixels are not read."""

    def after_table(place: int, flags: int) -> int:
        return place + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)

    def after_blocks(place: int) -> int:
        while place < len(content) and content[place]:
            place += content[place] + 1
        return place + 1

    place, frames = after_table(13, content[10]), 0
    while place + 10 < len(content) and frames < most:
        if content[place] == 0x2C:  # an image: its place and size, perhaps colours, then its data
            frames += 1
            place = after_blocks(after_table(place + 10, content[place + 9]) + 1)
        elif content[place] == 0x21:  # an extension
            place = after_blocks(place + 2)
        elif content[place] == 0x3B:
            break
        else:
            place += 1  # Pillow passes over stray bytes, too
    return max(1, frames)


def _upright(image: Image) -> Image:
    """An image as its EXIF orientation shows it. One whose EXIF cannot be read stays as it is."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # of damaged metadata, while all pixels are there
        return image
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image) -> Image:
    """RGB pixels of an image of any mode."""
    import numpy as np
    from PIL import Image

    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        grey = _grey(np.asarray(image), getattr(image, "tag_v2", {}))
        if isinstance(clear := image.info.get("transparency"), int):
            grey = np.where(np.asarray(image) == clear, np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if mode in ("F", "LAB"):
        raise RowRejected(f"an image of mode {mode}, which has no RGB")
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = _decode(lambda: image.convert("RGBA"))
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return _decode(lambda: image.convert("RGB"))


def _grey(values: Any, tags: Mapping[int, Any]) -> Any:
    """The upper 8 bits of grey values of up to 16: uint8 of the same shape. `tags`: of a TIFF file, else none."""
    bits = tags.get(_BITS, (16,))[0]
    grey = (values >> (bits - 8)).clip(0, 255).astype("uint8")
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey
