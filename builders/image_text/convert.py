"""One pair to one row, or the reason why not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import is_well_formed, utf8
from .._lib.image_checks import ImageChecks, LeftOut, hex_digits, short, side_in_pixels
from .._lib.image_licences import image_licence
from .._lib.image_pairs import Pair

if TYPE_CHECKING:
    from .build import ImageTextConfig


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
        self._config, self._checks = config, ImageChecks(config)
        self.survival = self._checks.survival

    def __call__(self, pair: Pair | RowRejected, source: str) -> Row:
        if isinstance(pair, RowRejected):
            raise pair
        text = _text(pair.text)
        url = self._checks.url(pair)
        content = self._checks.content(pair, text)
        if content is None and url is None:
            raise RowRejected("neither an image nor a URL")
        if content is None and self._config.require_image:
            raise LeftOut("the image is not at hand", url)
        licence = image_licence(pair.license) or self._checks.default
        attribution = short(pair.attribution) or self._config.attribution
        digest, phash = hex_digits(pair.sha256, 64), int(hex_digits(pair.phash, 16) or "0", 16)
        width, height = side_in_pixels(pair.width), side_in_pixels(pair.height)
        if content is not None:
            digest, phash, width, height = self._checks.measured(content)
        key = f"sha256:{digest}" if digest else f"url:{url}"  # the source's own, too: one image at several URLs
        if self._config.keep and (why := unstorable(pair.meta)):
            raise RowRejected("a column of `keep` that cannot be stored", why)
        fate = None if content is None else self._checks.fate(licence, attribution or url)
        shown = fate in ("published", "local")
        columns = {
            "id": hashlib.sha256(utf8(f"{key}\n{text}")).hexdigest()[:16],
            "image": {"bytes": content, "path": pair.name} if shown else None,
            "url": url,
            "text": text,
            "source": source,
            "image_id": short(pair.image_id),
            "license": licence,
            "attribution": attribution,
            "width": width,
            "height": height,
            "sha256": digest,
            "phash": f"{phash:016x}" if phash else None,
        }
        columns |= {"meta": pair.meta} if self._config.keep else {}
        pixels = (licence or "not stated", fate) if fate else None
        return Row(columns, short(pair.split), key, phash, pixels)


def _text(value: Any) -> str:
    if isinstance(value, str) and not is_well_formed(value):
        raise RowRejected("half a surrogate pair, which is not text", value.encode("ascii", "backslashreplace"))
    if not isinstance(value, str) or not value.strip():
        raise RowRejected("no text", value)
    return value
