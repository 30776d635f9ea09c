"""One pair to one row, or the reason why not."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import is_well_formed, utf8
from ...inference.media.images import open_image
from .fetching import Survival
from .licences import asks_for_attribution, image_licence
from .near import perceptual_hash
from .pair import Pair

if TYPE_CHECKING:
    from .build import ImageTextConfig

# User names and passwords, signed addresses of S3, GCS and Azure, and keys.
_SECRET = re.compile(
    r"^https?://[^/?#]*@|[?&](x-amz-signature|x-goog-signature|awsaccesskeyid|signature|sig|access_token|api_?key)=",
    re.I,
)
_HEX = frozenset("0123456789abcdef")
_LARGEST_SIDE = (1 << 31) - 1


class LeftOut(RowRejected):
    """A valid pair that the settings leave out, or whose URL gives no image any more."""


class Row(NamedTuple):
    """A row, with what it is compared by.

    Attributes:
        image_key: rows with the same one show the same image.
        phash: 64 bits; 0 if there are none.
        pixels: (licence, "published" or why not) of an image that is at hand.
    """

    columns: dict[str, Any]
    split: str | None
    image_key: str
    phash: int
    pixels: tuple[str, str] | None


class Converter:
    """Pairs to rows. Raises RowRejected, and LeftOut for those that are not wrong.

    Attributes:
        survival: of URLs.
    """

    def __init__(self, config: ImageTextConfig) -> None:
        self._config, self._limits = config, config.image_limits()
        self._allowed = frozenset(config.pixel_licenses)
        self._default = image_licence(config.image_license)
        self.survival = Survival()
        self._last: tuple[bytes, tuple[str, int, int, int]] | None = None

    def __call__(self, pair: Pair | RowRejected, source: str) -> Row:
        if isinstance(pair, RowRejected):
            raise pair
        text = _text(pair.text)
        url = self._url(pair)
        content = self._content(pair, text)
        if content is None and url is None:
            raise RowRejected("neither an image nor a URL")
        if content is None and self._config.require_image:
            raise LeftOut("the image is not at hand", url)
        licence = image_licence(pair.license) or self._default
        attribution = _short(pair.attribution) or self._config.attribution
        digest, phash = _hex(pair.sha256, 64), int(_hex(pair.phash, 16) or "0", 16)
        width, height = _side(pair.width), _side(pair.height)
        if content is not None:
            digest, phash, width, height = self._measured(content)
        key = f"sha256:{digest}" if digest else f"url:{url}"  # the source's own, too: one image at several URLs
        if self._config.keep and (why := unstorable(pair.meta)):
            raise RowRejected("a column of `keep` that cannot be stored", why)
        fate = None if content is None else self._fate(licence, attribution or url)
        shown = fate in ("published", "local")
        columns = {
            "id": hashlib.sha256(utf8(f"{key}\n{text}")).hexdigest()[:16],
            "image": {"bytes": content, "path": pair.name} if shown else None,
            "url": url,
            "text": text,
            "source": source,
            "image_id": _short(pair.image_id),
            "license": licence,
            "attribution": attribution,
            "width": width,
            "height": height,
            "sha256": digest,
            "phash": f"{phash:016x}" if phash else None,
        }
        columns |= {"meta": pair.meta} if self._config.keep else {}
        pixels = (licence or "not stated", fate) if fate else None
        return Row(columns, _short(pair.split), key, phash, pixels)

    def _url(self, pair: Pair) -> str | None:
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

    def _content(self, pair: Pair, text: str) -> bytes | None:
        """The image file, decoded once to know that it is whole."""
        if pair.dead is not None:
            self.survival.add(text, pair.dead[0])
            raise LeftOut(f"URL without an image: {pair.dead[0]}", f"{pair.url}: {pair.dead[1]}")
        content = pair.image() if callable(pair.image) else pair.image
        if content is None:
            return None
        try:
            digest = self._measured(content)[0]
        except RowRejected as error:
            if not pair.fetched:
                raise RowRejected(error.reason, f"{pair.name or pair.url}: {error.detail or ''}") from error
            self.survival.add(text, error.reason)
            raise LeftOut(f"URL without an image: {error.reason}", f"{pair.url}: {error.detail}") from error
        if pair.fetched:
            stated = _hex(pair.sha256, 64)
            changed = stated is not None and stated != digest
            self.survival.add(text, "another image than the stated sha256" if changed else "")
            if changed:
                raise LeftOut("URL without an image: another image than the stated sha256", pair.url)
        return content

    def _measured(self, content: bytes) -> tuple[str, int, int, int]:
        """(SHA-256, perceptual hash, width, height) of an image; captions of one image follow one another."""
        if self._last is None or self._last[0] != content:
            image = open_image(content, self._limits)
            digest = hashlib.sha256(content).hexdigest()
            self._last = content, (digest, perceptual_hash(image), *image.size)
        return self._last[1]

    def _fate(self, licence: str | None, credit: str | None) -> str:
        """What becomes of the pixels: published, local, or why they are left out."""
        if licence not in self._allowed:
            fate = "licence not in pixel_licenses"
        elif asks_for_attribution(str(licence)) and credit is None:
            fate = "no attribution"
        else:
            return "published"
        return "local" if self._config.unlicensed_pixels == "local" else fate


def _text(value: Any) -> str:
    if isinstance(value, str) and not is_well_formed(value):
        raise RowRejected("half a surrogate pair, which is not text", value.encode("ascii", "backslashreplace"))
    if not isinstance(value, str) or not value.strip():
        raise RowRejected("no text", value)
    return value


def _short(value: Any) -> str | None:
    """A value as one line of text of at most 500 characters; None for nothing."""
    if value is None or value != value or isinstance(value, bytes | list | dict):
        return None
    text = " ".join(str(value).split())[:500]
    return text if text and is_well_formed(text) else None


def _hex(value: Any, digits: int) -> str | None:
    """So many hexadecimal digits in lower case, or None."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return text if len(text) == digits and _HEX.issuperset(text) else None


def _side(value: Any) -> int | None:
    """A side in pixels, however it is written; None for what is none."""
    try:
        side = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return side if 0 < side <= _LARGEST_SIDE else None
