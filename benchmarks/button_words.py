"""How varied the words of a BUTTON data set are.

    python -m benchmarks.button_words DATA [--split train]

DATA is a folder of a published data set, or a Parquet file. Words are runs of letters, digits, ' and - in lower case,
every digit read as 0: another number is no other wording. Counted are the turns of user and assistant, not the calls,
results and system turns.

    distinct-4       different runs of four words within a turn / all such runs
    openings         share of the rows whose first turn of the user begins with one of the three commonest triples of
                     words
    said twice       turns of the user in which a phrase of six words (parted by blanks) stands twice
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_WORD = re.compile(r"\w[\w'-]*")


def words(text: str) -> list[str]:
    """The words of a text, digits as 0."""
    return _WORD.findall(re.sub(r"\d", "0", text.lower()))


def figures(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """distinct_4, openings (shares), turns and said_twice (turns of the user), of rows with `messages`."""
    runs: Counter[tuple[str, ...]] = Counter()
    openings: Counter[tuple[str, ...]] = Counter()
    number = turns = twice = 0
    for row in rows:
        number += 1
        asked = [m["content"] for m in row["messages"] if m["role"] == "user"]
        openings[tuple(words(asked[0])[:3])] += 1
        turns += len(asked)
        for text in asked:
            parts = text.lower().split()
            phrases = [tuple(parts[n : n + 6]) for n in range(len(parts) - 5)]
            twice += len(set(phrases)) < len(phrases)
        for message in row["messages"]:
            if message["role"] in ("user", "assistant"):
                found = words(message["content"] or "")
                runs.update(tuple(found[n : n + 4]) for n in range(len(found) - 3))
    return {
        "distinct_4": len(runs) / max(1, sum(runs.values())),
        "openings": sum(count for _, count in openings.most_common(3)) / max(1, number),
        "turns": turns,
        "said_twice": twice,
    }


def main() -> None:
    """Print a table."""
    import datasets

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="train")
    arguments = parser.parse_args()
    if arguments.data.suffix == ".parquet":
        rows = datasets.Dataset.from_parquet(str(arguments.data))
    else:
        rows = datasets.load_dataset(str(arguments.data), split=arguments.split)
    found = figures(rows)
    print("| rows | distinct-4 | three commonest openings | turns of the user that say six words twice |")
    print("|---:|---:|---:|---:|")
    print(
        f"| {len(rows):,} | {found['distinct_4']:.3f} | {found['openings']:.3f} | "
        f"{found['said_twice']:.0f} of {found['turns']:,.0f} |"
    )


if __name__ == "__main__":
    main()
