"""A teacher that sees: it is shown an image and a text, and gives scores, explanations and a better text.

The image goes along as JPEG in a data URL, as endpoints of OpenAI's form take it. It is part of the recorded request.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

from ...inference.media.images import ImageLimits, open_image
from .._lib.data_files import read_yaml
from .._lib.teacher import PhaseClient, phase
from .generators import same
from .samples import ASPECTS, Row

PROMPTS: dict[str, Any] = read_yaml(__file__, "prompts.yaml")
VERSION: str = PROMPTS["version"]
LONGEST = 1000  # characters of an explanation or recaption; our choice


def data_url(content: bytes, max_side: int, limits: ImageLimits) -> str:
    """An image as `data:image/jpeg;base64,...`, its longer side at most `max_side` pixels. Raises RowRejected."""
    image = open_image(content, limits)
    image.thumbnail((max_side, max_side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def messages(image: str, text: str, good_from: int) -> list[dict[str, Any]]:
    """The conversation whose next turn is the label of a text beside an image."""
    parts = [
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "text", "text": PROMPTS["label"].format(text=text, good_from=good_from)},
    ]
    return [{"role": "system", "content": PROMPTS["system"]}, {"role": "user", "content": parts}]


def read_label(reply: str, text: str, good_from: int) -> Row:
    """`scores`, `explanations` and `recaption` of a reply. Raises ValueError with the reason it cannot be used."""
    start, end = reply.find("{"), reply.rfind("}")
    try:
        value = json.loads(reply[start : end + 1])
    except (ValueError, RecursionError):
        raise ValueError("reply is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("reply is not an object")
    scores, explanations = {}, {}
    for aspect in ASPECTS:
        entry = value.get(aspect)
        score = entry.get("score") if isinstance(entry, dict) else entry
        if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 10:
            raise ValueError(f"score is not an integer from 1 to 10: {aspect} is {str(score)[:40]}")
        why = entry.get("explanation") if isinstance(entry, dict) else ""
        scores[aspect], explanations[aspect] = score, why.strip()[:LONGEST] if isinstance(why, str) else ""
    recaption = value.get("recaption")
    recaption = recaption.strip() if isinstance(recaption, str) else ""
    if scores["overall"] >= good_from:
        recaption = ""
    elif not recaption or len(recaption) > LONGEST or same(recaption, [text]):
        raise ValueError("no better text for a low score")
    return {"scores": scores, "explanations": explanations, "recaption": recaption or None}


async def _label(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """The label of a row's `image` (a data URL) and `text`; the image is not repeated. Raises RowRejected."""
    good_from = config["good_from"]
    conversation = messages(row["image"], row["text"], good_from)
    label = await client.ask(conversation, lambda reply: read_label(reply, row["text"], good_from), form="json")
    return {**label, "image": ""}


async def _score(row: Row, config: Mapping[str, Any], client: PhaseClient) -> Row:
    """As `_label`, of a twin, whose better text is known already."""
    conversation = messages(row["image"], row["text"], config["good_from"])
    label = await client.ask(conversation, lambda reply: read_label(reply, row["text"], 0), form="json")
    return {**label, "image": ""}


label, score = phase(_label), phase(_score)
