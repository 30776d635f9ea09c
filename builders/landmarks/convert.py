"""One image with its landmark to one row, or the reason why not."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...hub_sync.errors import RowRejected
from ...hub_sync.text import is_well_formed
from .._lib.image_checks import ImageChecks, LeftOut, short
from .._lib.image_licences import image_licence
from .._lib.image_pairs import Pair
from .._lib.splits import unit_hash
from .config import TEMPLATES
from .landmark import Landmark, Landmarks

if TYPE_CHECKING:
    from .about import About
    from .config import LandmarksConfig


class Row(NamedTuple):
    """A row, with what it is compared by.

    Attributes:
        landmark: number of the landmark; 0 for none.
        key: rows with the same one are the same file.
        phash: 64 bits; 0 if there are none.
        pixels: (licence, "published" or why not) of an image that is at hand.
    """

    columns: dict[str, Any]
    landmark: int
    key: str
    phash: int
    pixels: tuple[str, str] | None


class Converter:
    """Pairs to rows. Raises RowRejected, and LeftOut for those that are not wrong.

    Attributes:
        listed, missing: by number of a landmark, images that are listed, and those whose file or URL is gone.
        survival: of URLs.
    """

    def __init__(self, config: LandmarksConfig, landmarks: Landmarks, about: About) -> None:
        self._config, self._landmarks, self._about = config, landmarks, about
        self._checks = ImageChecks(config)
        self.survival = self._checks.survival
        self.listed, self.missing = array("I"), array("I")

    def __call__(self, pair: Pair | RowRejected) -> Row:
        if isinstance(pair, RowRejected):
            raise pair
        if "left_out" in pair.meta:
            raise LeftOut(pair.meta["left_out"], pair.image_id)
        identifier = pair.meta["landmark"]
        known = self._landmarks.of(identifier) if identifier is not None else None
        if known is not None and (
            not is_well_formed(known.id) or known.name is None or not is_well_formed(known.name)
        ):
            raise RowRejected("a landmark without a name", identifier)
        number = self._landmarks.number(identifier) if identifier is not None else 0
        _count(self.listed, number)
        key = short(pair.image_id)
        if key is None:
            raise RowRejected("an image without an id", pair.url)
        url = self._checks.url(pair)
        content = self._content(pair, known, number)
        licence = image_licence(pair.license) or self._checks.default
        author = short(pair.attribution) or self._config.attribution
        digest = phash = width = height = None
        fate = None
        if content is not None:
            digest, phash, width, height = self._checks.measured(content)
            fate = self._checks.fate(licence, author or url)
        shown = fate in ("published", "local")
        if content is not None and not shown and url is None:
            raise LeftOut(f"no pixels and no URL: {fate}", key)
        columns = {
            "image": {"bytes": content, "path": pair.name} if shown else None,
            "image_id": key,
            "landmark_id": identifier,
            "url": url,
            "license": licence,
            "author": author,
            "title": short(pair.meta.get("title")),
            "width": width,
            "height": height,
            "sha256": digest,
            "phash": f"{phash:016x}" if phash else None,
            "fold": 0,
            "text": None if known is None else self._caption(key, str(known.name)),
        } | self._facts(known, pair.meta["others"])
        pixels = (licence or "not stated", fate) if fate else None
        return Row(columns, number, f"sha256:{digest}" if digest else f"id:{key}", phash or 0, pixels)

    def _content(self, pair: Pair, known: Landmark | None, number: int) -> bytes | None:
        """The image file, decoded once; None where it is not at hand and the settings do without."""
        try:
            content = self._checks.content(pair, known.name if known and known.name else "")
        except LeftOut:
            _count(self.missing, number)
            raise
        if content is None:
            gone = self._about.has_images or "missing" in pair.meta
            if gone:
                _count(self.missing, number)
            if self._config.require_image or pair.url is None:
                reason = "the image file is missing" if gone else "the image is not at hand"
                raise LeftOut(reason, pair.image_id)
        return content

    def _facts(self, known: Landmark | None, others: Sequence[str]) -> dict[str, Any]:
        """The columns of a landmark. Further landmarks in the same photograph are right answers, too."""
        if known is None:
            empty = dict.fromkeys(
                ("name", "supercategory", "hierarchical_label", "natural_or_human_made", "category_url")
            )
            return {**empty, "aliases": []}
        more = [self._landmarks.of(other) for other in others]
        names = [*known.aliases, *(name for one in more for name in (one.name, *one.aliases) if name)]
        return {
            "name": known.name, "aliases": [name for name in dict.fromkeys(names) if name != known.name],
            "supercategory": known.supercategory, "hierarchical_label": known.hierarchical_label,
            "natural_or_human_made": known.natural_or_human_made, "category_url": known.category_url,
        }  # fmt: skip

    def _caption(self, key: str, name: str) -> str:
        return drawn(
            TEMPLATES[self._config.languages[0]]["caption"]["answers"], f"{self._config.seed}:text:{key}"
        ).format(name=name)


def drawn(templates: Sequence[str], key: str) -> str:
    """One of some templates, by a hash of a key."""
    return templates[int(unit_hash(key) * len(templates))]


def _count(counts: array[int], number: int) -> None:
    if number >= len(counts):
        counts.extend([0] * (number + 1 - len(counts)))
    counts[number] += 1
