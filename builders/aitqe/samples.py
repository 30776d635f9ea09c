"""The four kinds of samples, as AITQE's figure shows them: twins of a good and a bad text for one image.

raw_good       a caption                 high scores, no recaption
contrast_bad   its twin with a fault     low scores, recaption = the caption as people wrote it
raw_bad        a bad alt-text            low scores, recaption = a good caption
contrast_good  its twin, that caption    high scores, no recaption
"""

from __future__ import annotations

import hashlib
from typing import Any

from ...hub_sync.text import utf8
from .._lib.data_files import read_yaml
from .generators import Damaged

TABLE: dict[str, Any] = read_yaml(__file__, "damage.yaml")
ASPECTS: tuple[str, ...] = tuple(TABLE["aspects"])
KINDS = ("raw_good", "contrast_bad", "raw_bad", "contrast_good")
DAMAGES: dict[str, str] = {name: kind["group"] for name, kind in TABLE["kinds"].items()}
"""Kind of damage -> group: contrast or raw."""
PROMPT_VERSION = "table-1"  # of damage.yaml's labels; a teacher's have that of prompts.yaml
GENERATOR = "generators"

Row = dict[str, Any]


def scores_of(damage: str | None) -> dict[str, int]:
    """Score by aspect, 1 to 10, of a caption with this damage; None for a good one."""
    entry = TABLE["kinds"][damage] if damage else TABLE["good"]
    return dict(zip(ASPECTS, entry["scores"], strict=True))


def explanations_of(damage: str | None, detail: str) -> dict[str, str]:
    """Explanation by aspect: what the fault is, then a sentence for each band of scores (1-3, 4-7, 8-10)."""
    scores, entry = scores_of(damage), TABLE["kinds"][damage] if damage else TABLE["good"]
    words = {name: texts[(scores[name] > 3) + (scores[name] > 7)] for name, texts in TABLE["explanations"].items()}
    return {"overall": entry["why"].replace("{detail}", detail)} | words


def identity(image: str, text: str, kind: str) -> str:
    """16 hex digits of the SHA-256 of image, text and kind."""
    return hashlib.sha256(utf8(f"{image}\n{kind}\n{text}")).hexdigest()[:16]


def twins(image: str, caption: str, better: str, damage: str, damaged: Damaged) -> tuple[Row, Row]:
    """The two samples of a caption and its damaged form: good, then bad.

    Args:
        image: names the image.
        better: the recaption of a bad alt-text, and the text of its twin: another caption of the image, or this one.
    """
    is_contrast = DAMAGES[damage] == "contrast"
    good_text = caption if is_contrast else better
    good_kind, bad_kind = ("raw_good", "contrast_bad") if is_contrast else ("contrast_good", "raw_bad")
    good_id, bad_id = (
        identity(image, f"{good_text}\n{damaged.text}", good_kind),
        identity(image, damaged.text, bad_kind),
    )
    good = _row(good_id, good_kind, good_text, None, "", bad_id, None)
    bad = _row(bad_id, bad_kind, damaged.text, damage, damaged.detail, good_id, good_text)
    return good, bad


def _row(id_: str, kind: str, text: str, damage: str | None, detail: str, twin: str, recaption: str | None) -> Row:
    return {
        "id": id_, "raw_text": text, "kind": kind, "damage": damage, "detail": detail or None, "twin": twin,
        "recaption": recaption, "scores": scores_of(damage), "explanations": explanations_of(damage, detail),
        "teacher": GENERATOR, "prompt_version": PROMPT_VERSION,
    }  # fmt: skip
