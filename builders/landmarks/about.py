"""What an adapter tells of its source."""

from collections import Counter
from dataclasses import dataclass, field

from .places import BadTar


@dataclass
class About:
    """For the card and for reasons of refusals.

    Attributes:
        origins: what was read.
        bad_tars: tar files that are not whole.
        has_images: whether there are image files, so that one that is absent is missing.
        unread: list -> lines without an id, or that are not CSV.
        passed_over: files that are neither images nor archives of them.
    """

    origins: list[str] = field(default_factory=list)
    bad_tars: list[BadTar] = field(default_factory=list)
    has_images: bool = False
    unread: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
