"""Answers to questions about held-out images: a model's, a linear probe's, a dual encoder's; and how many are right.

Answers are compared after NFKC, folded case and without a final full stop; the replies can be scored again otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCH = 16
KEYS = ("image_id", "landmark_id", "level", "question", "answer", "answers", "bucket")


def plain(text: str) -> str:
    """Text to compare."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip(" .")


def reply_rows(rows: Any, replies: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that were asked, with their replies."""
    names = [name for name in KEYS if name in rows.column_names]
    return [row | {"reply": reply} for row, reply in zip(rows.select_columns(names), replies, strict=True)]


def scored(replies: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Accuracy and number of questions by level, of names by bucket too, as `name known`."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for row in replies:
        right = plain(row["reply"]) in {plain(one) for one in row.get("answers") or [row["answer"]]}
        hits[row["level"]].append(right)
        if row["level"] == "name" and row.get("bucket"):
            hits[f"name {row['bucket']}"].append(right)
    return {key: {"accuracy": sum(one) / len(one), "questions": len(one)} for key, one in hits.items()}


def ask(folder: Path, rows: Any) -> list[dict[str, Any]]:
    """The replies of a published model, written greedily by stock transformers."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    replies: list[str] = []
    for start in range(0, len(rows), BATCH):
        part = rows.select(range(start, min(start + BATCH, len(rows))))
        turns = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}] for q in part["question"]
        ]
        texts = [processor.apply_chat_template(one, add_generation_prompt=True) for one in turns]
        images = [image.convert("RGB") for image in part["image"]]
        batch = processor(images=images, text=texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            made = model.generate(**batch, max_new_tokens=16, do_sample=False)
        replies += processor.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return reply_rows(rows, replies)


def first_rows(rows: Any) -> Any:
    """A row of each image."""
    first = {one: n for n, one in reversed(list(enumerate(rows["image_id"])))}
    return rows.select(sorted(first.values()))


def features(rows: Any, tower: Path) -> Any:
    """Class token and mean of the patches of the tower's last layer at 112 pixels, float32 (images, 2 width)."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model, processor = AutoModel.from_pretrained(tower).eval(), AutoImageProcessor.from_pretrained(tower)
    processor.size, processor.crop_size = {"shortest_edge": 128}, {"height": 112, "width": 112}
    made = []
    for start in range(0, len(rows), BATCH):
        images = [image.convert("RGB") for image in rows[start : start + BATCH]["image"]]
        with torch.no_grad():
            states = model(**processor(images, return_tensors="pt")).last_hidden_state
        made.append(torch.cat([states[:, 0], states[:, 1:].mean(dim=1)], dim=1))
    return torch.cat(made).numpy()


def probe(train: Any, test: Any, tower: Path, seed: int) -> list[dict[str, Any]]:
    """The most probable class of each level by logistic regression on frozen features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known, asked = first_rows(train), first_rows(test)
    scale = StandardScaler()
    given, shown = scale.fit_transform(features(known, tower)), scale.transform(features(asked, tower))
    answers: dict[tuple[str, str], str] = {}
    for level in dict.fromkeys(test["level"]):
        places = [n for n, label in enumerate(known[level]) if label]
        labels = [known[level][n] for n in places]
        if len(set(labels)) < 2:
            guesses = [labels[0] if labels else ""] * len(shown)
        else:
            fitted = LogisticRegression(C=0.1, max_iter=500, random_state=seed).fit(given[places], labels)
            guesses = fitted.predict(shown).tolist()
        answers |= {(one, level): guess for one, guess in zip(asked["image_id"], guesses, strict=True)}
    # An answer may be worded otherwise than its class, as "a bridge" is.
    wording = {(row["level"], row[row["level"]]): row["answer"] for row in _labelled(train)}
    return reply_rows(test, [
        wording.get((level, answers[one, level]), answers[one, level])
        for one, level in zip(test["image_id"], test["level"], strict=True)
    ])  # fmt: skip


def retrieve(train: Any, test: Any, folder: Path) -> list[dict[str, Any]]:
    """The nearest name of the train rows, and the parents of its landmark."""
    from hubwright.inference.media.embeddings import Embedder

    embedder = Embedder.load(folder, "encoder")
    names = sorted(set(train["name"]))
    asked = first_rows(test)
    cosines = embedder.images(image.convert("RGB") for image in asked["image"]) @ embedder.texts(names).T
    nearest = dict(zip(asked["image_id"], [names[n] for n in cosines.argmax(axis=1)], strict=True))
    answers = {(row["name"], row["level"]): row["answer"] for row in _labelled(train)}
    return reply_rows(test, [
        nearest[one] if level == "name" else answers.get((nearest[one], level), "")
        for one, level in zip(test["image_id"], test["level"], strict=True)
    ])  # fmt: skip


def _labelled(rows: Any) -> Any:
    names = ["level", "answer", "name", "supercategory", "hierarchical_label", "natural_or_human_made"]
    return rows.select_columns([name for name in names if name in rows.column_names])
