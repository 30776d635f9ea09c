"""Images as people and attackers have them: pixels, upright and in RGB, or a reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from hubwright.hub_sync.errors import RowRejected
from hubwright.inference.media.images import ImageLimits, ImageSettings, check_image, gif_frames, open_image

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 255, (60, 80, 3), dtype=np.uint8))
CORNERS = ("red", "lime", "blue", "yellow")  # top left, top right, bottom left, bottom right


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def corners() -> Image.Image:
    image = Image.new("RGB", (30, 20))
    for number, colour in enumerate(CORNERS):
        image.paste(colour, (number % 2 * 15, number // 2 * 10, number % 2 * 15 + 15, number // 2 * 10 + 10))
    return image


def near(pixel: Any, colour: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < 12


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG file whose header states this size."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("run.sh", "echo no")
    return stream.getvalue()


def gif(frames: int) -> bytes:
    """A GIF file of frames of one pixel, 15 bytes each."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return head + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00") * frames + b"\x3b"


def tiff_with_tile(side: int) -> bytes:
    """A TIFF file of 16 x 16 pixels in one tile of `side` x `side`."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, 9)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + bytes(600)


PHOTO_JPEG = encoded(PHOTO, "JPEG", quality=95)
SMALL = ImageLimits(max_bytes=100_000, max_pixels=10_000, max_frames=3)

# Content, and the reason.
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "an image file without content"),
    "text": (b"not an image", "not an image that can be read"),
    "a page": (b"\xef\xbb\xbf\n<!DOCTYPE html><html>404</html>", "a page of HTML in place of an image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing, which has no pixels"),
    "SVG behind a declaration": (b'<?xml version="1.0"?><!-- x --><svg/>', "an SVG drawing, which has no pixels"),
    "PDF": (b"%PDF-1.7\n", "not an image that can be read"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
    "an archive": (zipped(), "not an image that can be read"),
    "a JPEG header before a page": (b"\xff\xd8\xff\xe0<html></html>", "not an image that can be read"),
    "a header alone": (PHOTO_JPEG[:20], "not an image that can be read"),
    "50,000 px sides": (png_claiming(50_000, 50_000), "an image above max_image_pixels 10000"),
    "a size of four billion": (png_claiming(2**31 - 1, 2**31 - 1), "an image above max_image_pixels 10000"),
    "a size of nothing": (png_claiming(0, 0), "not an image that can be read"),
    "pixels above the limit": (encoded(Image.new("L", (101, 100)), "PNG"), "an image above max_image_pixels 10000"),
    "bytes above the limit": (PHOTO_JPEG + bytes(100_000), "an image above max_image_mb 0.1"),
    "frames above the limit": (gif(4), "an image above max_image_frames 3"),
    "a tile larger than the image": (tiff_with_tile(60_000), "an image above max_image_pixels 10000"),
    "a header without its pixels": (png_claiming(50, 50), "a truncated image"),
    "fewer pixels than stated": (png_claiming(50, 50, bytes(3000)), "a truncated image"),
    "32-bit numbers": (encoded(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"), "an image of 32-bit numbers, whose range nobody states"),
    "decimal numbers": (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "an image of mode F, which has no RGB"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_image_is_refused_with_its_reason(name: str) -> None:
    content, reason = REFUSED[name]
    started = time.process_time()
    with pytest.raises(RowRejected) as refused:
        open_image(content, SMALL)
    assert refused.value.reason == reason and "\n" not in str(refused.value.detail)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_image_is_refused_and_never_half_loaded(form: str, share: float) -> None:
    content = encoded(PHOTO, form, **({"lossless": True} if form == "WEBP" else {}))
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # as some libraries set it when they are imported
    try:
        with pytest.raises(RowRejected) as refused:
            open_image(content[: int(len(content) * share)])
    finally:
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert refused.value.reason in ("a truncated image", "not an image that can be read")


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(form: str, orientation: int) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo a viewer's
    stored = corners().transpose(Image.Transpose(back[orientation])) if orientation > 1 else corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encoded(stored, form, exif=exif, **({"quality": 100} if form == "JPEG" else {})))
    assert image.size == (30, 20) and not image.getexif() and not image.info
    places = ((3, 3), (26, 3), (3, 16), (26, 16))
    wanted = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
    assert all(near(image.getpixel(place), colour) for place, colour in zip(places, wanted, strict=True))


def test_damaged_exif_leaves_the_pixels() -> None:
    content = encoded(corners(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x00\x01")
    assert open_image(content).size == (30, 20)


MODES: dict[str, tuple[bytes, tuple[int, int, int]]] = {
    "grey": (encoded(Image.new("L", (4, 4), 100), "PNG"), (100, 100, 100)),
    "one bit": (encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
    "16 bits of grey": (encoded(Image.fromarray(np.full((4, 4), 100 << 8, np.uint16)), "PNG"), (100, 100, 100)),
    "16 bits of grey in TIFF": (encoded(Image.fromarray(np.full((4, 4), 100 << 8, np.uint16)), "TIFF"), (100, 100, 100)),
    "CMYK": (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
    "CMYK in TIFF": (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "half transparent red": (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG"), (255, 127, 127)),
    "wholly transparent black": (encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "WEBP", lossless=True), (255, 255, 255)),
    "transparent grey": (encoded(Image.new("LA", (4, 4), (0, 0)), "PNG"), (255, 255, 255)),
    "palette": (encoded(Image.new("RGB", (4, 4), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), (10, 20, 30)),
    "palette with a transparent colour": (encoded(Image.new("P", (4, 4), 0), "PNG", transparency=0), (255, 255, 255)),
    "palette with transparencies": (encoded(Image.new("P", (4, 4), 0), "PNG", transparency=bytes([0, 255])), (255, 255, 255)),
    "RGB with a transparent colour": (encoded(Image.new("RGB", (4, 4), (9, 9, 9)), "PNG", transparency=(9, 9, 9)), (255, 255, 255)),
    "an animation": (encoded(Image.new("RGB", (4, 4), "blue"), "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]), (0, 0, 255)),
    "an animated WebP": (encoded(Image.new("RGB", (4, 4), "blue"), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]), (0, 0, 255)),
    "several pages": (encoded(Image.new("RGB", (4, 4), "blue"), "TIFF", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]), (0, 0, 255)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name: str) -> None:
    content, colour = MODES[name]
    image = open_image(content, SMALL)
    assert image.mode == "RGB" and type(image) is Image.Image
    assert near(image.getpixel((2, 2)), colour), image.getpixel((2, 2))


def test_polyglot_gives_its_pixels_alone() -> None:
    plain = np.asarray(open_image(PHOTO_JPEG))
    for tail in (zipped(), b"<html><script>alert(1)</script></html>", b"\0" * 1000):
        assert (np.asarray(open_image(PHOTO_JPEG + tail)) == plain).all()


def test_check_reads_the_header_alone() -> None:
    assert check_image(PHOTO_JPEG) == ("JPEG", 80, 60)
    with pytest.raises(RowRejected, match="max_image_pixels"):
        check_image(png_claiming(50_000, 50_000))


def test_limits_of_settings_have_the_names_of_the_reasons() -> None:
    settings = ImageSettings(max_image_mb=0.001, max_image_pixels=7, max_image_frames=2)
    assert settings.image_limits() == ImageLimits(1000, 7, 2)
    with pytest.raises(RowRejected, match=r"max_image_mb 0\.001"):
        open_image(bytes(1001), settings.image_limits())


def tiff(pages: int) -> bytes:
    """Pages of one grey pixel, 255, all with the same strip."""
    tags = ((256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 1), (279, 4, 1))
    size, file = 2 + 12 * len(tags) + 4, bytearray(struct.pack("<2sHI", b"II", 42, 10) + b"\xff\0")
    for page in range(1, pages + 1):
        file += struct.pack("<H", len(tags))
        file += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        file += struct.pack("<I", 10 + size * page if page < pages else 0)
    return bytes(file)


def test_pages_of_hostile_tiff_are_counted_up_to_the_limit() -> None:
    for pages in (1, 2, 100):
        assert open_image(tiff(pages), ImageLimits(max_frames=100)).getpixel((0, 0)) == (255, 255, 255)
        with Image.open(io.BytesIO(tiff(pages))) as image:
            assert image.n_frames == pages
    start = time.perf_counter()  # Pillow's own count compares each page with all others: minutes for this file
    for pages in (101, 190_000):
        with pytest.raises(RowRejected, match="max_image_frames 100"):
            open_image(tiff(pages), ImageLimits(max_frames=100))
    assert time.perf_counter() - start < 10


def test_frames_of_hostile_gif_are_counted_up_to_the_limit() -> None:
    assert [gif_frames(gif(n), 100) for n in (1, 2, 99, 1_000_000)] == [1, 2, 99, 100]
    saved = encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90), PHOTO.rotate(9)], loop=0)
    with Image.open(io.BytesIO(saved)) as image:
        assert gif_frames(saved, 100) == image.n_frames == 3


def test_random_damage_is_refused_or_read_and_never_raises_otherwise() -> None:
    outcomes: Counter[str] = Counter()
    for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        whole = encoded(PHOTO.resize((24, 18)), form)
        for _ in range(60):
            content = bytearray(whole)
            for place in RNG.integers(0, len(content), RNG.integers(1, 12)):
                content[place] = RNG.integers(0, 256)
            try:
                assert open_image(bytes(content), SMALL).mode == "RGB"
                outcomes["read"] += 1
            except RowRejected as error:
                outcomes[error.reason] += 1
    assert outcomes.total() == 360 and len(outcomes) > 2


def test_bomb_is_refused_without_its_memory() -> None:
    """A PNG of 400 million pixels is 1.2 GB decoded; the whole process stays below 300 MB of address space more."""
    code = (
        "import resource, sys\n"
        "from hubwright.inference.media.images import open_image\n"
        "from PIL import Image\nimport numpy\n"
        "from hubwright.hub_sync.errors import RowRejected\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (300 << 20),) * 2)\n"
        "try:\n    open_image(sys.stdin.buffer.read())\nexcept RowRejected as error:\n    print(error.reason)\n"
    )
    rows = zlib.compress((b"\0" + bytes(20_000 * 3)) * 200)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    done = subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == "an image above max_image_pixels 50000000", done.stderr.decode()


def _tiff(values: np.ndarray, **tags: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF", tiffinfo={int(name[1:]): value for name, value in tags.items()})
    return stream.getvalue()


def test_32_bit_numbers_are_refused_and_not_shown_black() -> None:
    with pytest.raises(RowRejected, match="32-bit numbers"):
        open_image(_tiff(np.full((4, 4), 200, np.int32)))


def test_16_bit_grey_is_shown_as_its_file_says() -> None:
    grey = np.full((4, 4), 0x4000, np.uint16)
    assert open_image(_tiff(grey)).getpixel((0, 0)) == (64,) * 3
    assert open_image(_tiff(grey, t262=0)).getpixel((0, 0)) == (191,) * 3  # 0 is white
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG", transparency=0x4000)
    assert open_image(stream.getvalue()).getpixel((0, 0)) == (255,) * 3
