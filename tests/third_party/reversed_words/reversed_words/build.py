"""Random words and their letters in reverse."""

import random
import string

from datasets import Dataset, DatasetDict
from pydantic import Field

from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.settings import Settings


class ReversedWordsConfig(Settings):
    """How many words."""

    train_rows: int = Field(200, gt=0, description="Words to train on.")
    test_rows: int = Field(20, gt=0, description="Words to test on, none of them in train.")
    length: int = Field(4, gt=0, le=20, description="Letters of a word.")
    seed: int = Field(0, ge=0, description="Seed of the words.")
    license: str = Field("cc0-1.0", description="Hub licence id of the rows.")


def build(config: ReversedWordsConfig, context: StepContext) -> DatasetDict:
    """Splits train and test; columns `prompt` and `completion`, text. Raises UsageError if there are too few words."""
    rng, total = random.Random(config.seed), config.train_rows + config.test_rows
    if total > 26**config.length // 2:
        raise UsageError(f"step {context.step}: {total} words of {config.length} letters: raise length")
    words: dict[str, None] = {}
    while len(words) < total:
        words["".join(rng.choices(string.ascii_lowercase, k=config.length))] = None
    rows = [{"prompt": f"{word} reversed is", "completion": f" {word[::-1]}."} for word in words]
    context.report.summary = f"{total} words of {config.length} letters and their reverse."
    context.report.card |= {"pretty_name": "Reversed words", "license": config.license}
    splits = {"test": rows[: config.test_rows], "train": rows[config.test_rows :]}
    context.report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    return DatasetDict({name: Dataset.from_list(splits[name]) for name in ("train", "test")})
