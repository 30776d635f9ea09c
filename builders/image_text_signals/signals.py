"""Signals of a text, of an image's size, and of both by a dual encoder. Higher is better in all of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_WORD = re.compile(r"[^\W_]+")
MIN_WORDS, MIN_CHARACTERS, MIN_SIDE, MAX_ASPECT = 3, 6, 200, 3.0


def text_signals(text: str) -> dict[str, float]:
    """Lengths, and shares of what alt-texts of the web have too much of, as 1 - share.

        >>> text_signals("A red bus, a red bus")["distinct_words"]
        0.5

    Returns `words`; `distinct_words`, different words per word; `letters`, share of letters and spaces among
    characters; `lower`, share of lower case among letters.
    """
    words = _WORD.findall(text.casefold())
    letters = [character for character in text if character.isalpha()]
    plain = sum(character.isalpha() or character.isspace() for character in text)
    return {
        "words": float(len(words)),
        "distinct_words": len(set(words)) / len(words) if words else 0.0,
        "letters": plain / len(text) if text else 0.0,
        "lower": sum(character.islower() for character in letters) / len(letters) if letters else 0.0,
    }


def basic_filter(text: str, width: int | None, height: int | None) -> float:
    """1.0 for a pair that DataComp's basic filter lets pass, but for its rule on language; 0.0 for others.

        >>> basic_filter("A red bus", 640, 480), basic_filter("bus", 640, 480), basic_filter("A red bus", 640, 100)
        (1.0, 0.0, 0.0)

    More than two words, more than five characters, a shorter side of at least 200 pixels, sides of 1 to 3 at most.
    Unknown sides count as fitting.
    """
    fits = len(_WORD.findall(text)) >= MIN_WORDS and len(text) >= MIN_CHARACTERS
    if width and height:
        fits = fits and min(width, height) >= MIN_SIDE and max(width, height) <= MAX_ASPECT * min(width, height)
    return float(fits)


def neg_clip_loss(cosines: Any, scale: float) -> np.ndarray[Any, Any]:
    """Cosine of each pair less what its batch would give by chance (negCLIPLoss, arXiv:2405.19547).

    c_ii - 1/(2 s) (log mean_j exp(s c_ij) + log mean_j exp(s c_ji)),  s: scale of the dual encoder's logits

    A generic text has a high cosine with many images, and so a low value. The mean, where the paper has the sum, is
    our choice: values of batches of different sizes compare.

    Args:
        cosines: (pairs, pairs) of the images and texts of a batch.

    Returns (pairs,); NaN for a pair alone.
    """
    logits = scale * np.asarray(cosines, np.float64)
    if len(logits) < 2:
        return np.full(len(logits), np.nan)
    rows, columns = (_log_mean_exp(one) for one in (logits, logits.T))
    return np.asarray(np.diag(logits) - (rows + columns) / 2) / scale


def _log_mean_exp(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    top = values.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(values - top).mean(axis=1)))


def overlap(text: str, seen: str) -> float:
    """Share of the words read in an image that the text has; 1.0 if none is read.

    >>> overlap("A sign says STOP", "stop now"), overlap("A dog", "")
    (0.5, 1.0)
    """
    in_image, in_text = (set(_WORD.findall(value.casefold())) for value in (seen, text))
    return len(in_image & in_text) / len(in_image) if in_image else 1.0
