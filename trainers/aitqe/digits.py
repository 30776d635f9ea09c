"""The score that a model expects to write, from the probabilities of the numbers 1 to 10 as its next tokens.

    S = sum_k k p(k),   p(k) = product of p(token) over the tokens that tell k from the others, normalised over k

A tokenizer that writes digits one by one has "10" begin as "1": then p(1) = p("1") p("," | "1") and
p(10) = p("1") p("0" | "1"). Any other tokenizer works too, since the tokens of all ten replies are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...hub_sync.errors import UsageError

if TYPE_CHECKING:
    import torch

NUMBERS = tuple(range(1, 11))
Path = tuple[int, ...]


@dataclass(frozen=True)
class Numbers:
    """The numbers as tokens behind a beginning.

    Attributes:
        begin: tokens that all replies share.
        paths: tokens of each number after them, up to the one that tells it from all others.
    """

    begin: Path
    paths: tuple[Path, ...]

    @property
    def nodes(self) -> tuple[Path, ...]:
        """The places where numbers part, the beginning first: what comes after it in each."""
        inner = {path[:n] for path in self.paths for n in range(len(path))}
        parting = (
            node for node in inner if len({path[: len(node) + 1] for path in self.paths if _in(node, path)}) > 1
        )
        return tuple(sorted(parting, key=lambda node: (len(node), node)))


def _in(node: Path, path: Path) -> bool:
    return path[: len(node)] == node and len(path) > len(node)


def numbers_of(encode: Callable[[str], Sequence[int]], begin: str, end: str = ",") -> Numbers:
    """How a tokenizer writes the numbers between two texts.

        >>> numbers_of(lambda text: [ord(letter) for letter in text], "a").paths[0], ord(",")
        ((49, 44), 44)

    Args:
        encode: tokens of a text without control tokens.
        begin, end: what stands before and after a number.

    Raises UsageError if two numbers have the same tokens.
    """
    replies = [tuple(encode(f"{begin}{number}{end}")) for number in NUMBERS]
    shared = 0
    while len({reply[shared : shared + 1] for reply in replies}) == 1 and replies[0][shared : shared + 1]:
        shared += 1
    tails = [reply[shared:] for reply in replies]
    paths = []
    for tail in tails:
        size = next((n for n in range(1, len(tail) + 1) if sum(other[:n] == tail[:n] for other in tails) == 1), None)
        if size is None:
            raise UsageError("the tokenizer writes two numbers from 1 to 10 alike: it cannot say a score")
        paths.append(tail[:size])
    return Numbers(replies[0][:shared], tuple(paths))


def expected_score(numbers: Numbers, logits: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, mass) of each row.

    Args:
        logits: (rows, vocabulary) of the token after each of `numbers.nodes`.

    Returns S in 1..10 and the probability that a number follows at all, both float32 (rows,).
    """
    import torch

    tables = dict(zip(numbers.nodes, (one.float().log_softmax(-1) for one in logits), strict=True))
    logs = []
    for path in numbers.paths:
        parts = [tables[path[:n]][:, path[n]] for n in range(len(path)) if path[:n] in tables]
        logs.append(torch.stack(parts).sum(0))
    weights = torch.stack(logs, dim=1)
    values = torch.tensor(NUMBERS, dtype=torch.float32, device=weights.device)
    return weights.softmax(-1) @ values, weights.exp().sum(-1)
