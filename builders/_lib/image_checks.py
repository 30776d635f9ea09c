"""What is checked of any image of a source: its address, its content, and whether its pixels may be published."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ...hub_sync.errors import RowRejected
from ...hub_sync.text import is_well_formed
from ...inference.media.images import open_image
from .image_fetching import Survival
from .image_licences import asks_for_attribution, image_licence
from .image_pairs import Pair
from .image_settings import PixelSettings
from .near_images import perceptual_hash

# User names and passwords, signed addresses of S3, GCS and Azure, and keys.
_SECRET = re.compile(
    r"^https?://[^/?#]*@|[?&](x-amz-signature|x-goog-signature|awsaccesskeyid|signature|sig|access_token|api_?key)=",
    re.I,
)
_HEX = frozenset("0123456789abcdef")
_LARGEST_SIDE = (1 << 31) - 1


class LeftOut(RowRejected):
    """A valid pair that the settings leave out, or whose URL gives no image any more."""


class ImageChecks:
    """The checks of a step's images, by its settings.

    Attributes:
        default: licence of images whose row states none.
        survival: of URLs.
    """

    def __init__(self, config: PixelSettings) -> None:
        self._limits, self._unlicensed = config.image_limits(), config.unlicensed_pixels
        self._allowed = frozenset(config.pixel_licenses)
        self.default = image_licence(config.image_license)
        self.survival = Survival()
        self._last: tuple[bytes, tuple[str, int, int, int]] | None = None

    def url(self, pair: Pair) -> str | None:
        """The URL as it is; of a pair with an image one that is none is left out."""
        url = pair.url.strip() if isinstance(pair.url, str) else None
        is_url = url is not None and url.startswith(("http://", "https://")) and not set(url) & set(' \t\r\n<>"')
        if is_url and url is not None and is_well_formed(url):
            if _SECRET.search(url):
                shown = url.partition("?")[0].rpartition("@")[2]
                raise RowRejected("a URL with a password or signature, which would be published", shown)
            return url
        if pair.image is None and pair.url is not None:
            raise RowRejected("a URL that is not http(s)", pair.url)
        return None

    def content(self, pair: Pair, text: str) -> bytes | None:
        """The image file, decoded once to know that it is whole."""
        if pair.dead is not None:
            self.survival.add(text, pair.dead[0])
            raise LeftOut(f"URL without an image: {pair.dead[0]}", f"{pair.url}: {pair.dead[1]}")
        content = pair.image() if callable(pair.image) else pair.image
        if content is None:
            return None
        try:
            digest = self.measured(content)[0]
        except RowRejected as error:
            if not pair.fetched:
                raise RowRejected(error.reason, f"{pair.name or pair.url}: {error.detail or ''}") from error
            self.survival.add(text, error.reason)
            raise LeftOut(f"URL without an image: {error.reason}", f"{pair.url}: {error.detail}") from error
        if pair.fetched:
            stated = hex_digits(pair.sha256, 64)
            changed = stated is not None and stated != digest
            self.survival.add(text, "another image than the stated sha256" if changed else "")
            if changed:
                raise LeftOut("URL without an image: another image than the stated sha256", pair.url)
        return content

    def measured(self, content: bytes) -> tuple[str, int, int, int]:
        """(SHA-256, perceptual hash, width, height) of an image; captions of one image follow one another."""
        if self._last is None or self._last[0] != content:
            image = open_image(content, self._limits)
            digest = hashlib.sha256(content).hexdigest()
            self._last = content, (digest, perceptual_hash(image), *image.size)
        return self._last[1]

    def fate(self, licence: str | None, credit: str | None) -> str:
        """What becomes of the pixels: published, local, or why they are left out."""
        if licence not in self._allowed:
            fate = "licence not in pixel_licenses"
        elif asks_for_attribution(str(licence)) and credit is None:
            fate = "no attribution"
        else:
            return "published"
        return "local" if self._unlicensed == "local" else fate


def short(value: Any) -> str | None:
    """A value as one line of text of at most 500 characters; None for nothing."""
    if value is None or value != value or isinstance(value, bytes | list | dict):
        return None
    text = " ".join(str(value).split())[:500]
    return text if text and is_well_formed(text) else None


def hex_digits(value: Any, digits: int) -> str | None:
    """So many hexadecimal digits in lower case, or None."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return text if len(text) == digits and _HEX.issuperset(text) else None


def side_in_pixels(value: Any) -> int | None:
    """A side in pixels, however it is written; None for what is none."""
    try:
        side = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return side if 0 < side <= _LARGEST_SIDE else None
