"""One image and one text as a source gives them, before anything is checked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...hub_sync.errors import RowRejected


@dataclass(slots=True)
class Pair:
    """What a source says; values of any type.

    Attributes:
        image: the file's content, or what reads it (raises RowRejected); None: there is only the URL.
        name: the image file's name.
        image_id: the source's own key of the image.
        sha256: of the image file, as the source states it.
        split: the source's own.
        meta: further columns that are kept.
        fetched: whether the URL was asked for.
        dead: why the URL gives no image, with a detail; None if it does, or was not asked for.
    """

    text: Any = None
    url: Any = None
    image: bytes | Callable[[], bytes] | None = None
    name: str | None = None
    image_id: Any = None
    license: Any = None
    attribution: Any = None
    width: Any = None
    height: Any = None
    phash: Any = None
    sha256: Any = None
    split: Any = None
    meta: dict[str, Any] = field(default_factory=dict)
    fetched: bool = False
    dead: tuple[str, str] | None = None


Pairs = Generator[Pair | RowRejected, None, None]


class Part(NamedTuple):
    """The pairs of one file or split of a source; a RowRejected in place of what cannot be read as one.

    Attributes:
        name: for errors and the column `source`.
        split: the source's own for all of them, None if it has none.
    """

    name: str
    split: str | None
    pairs: Pairs
