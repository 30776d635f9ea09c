"""Expected scores against all ten continuations written out, for tokenizers that cut numbers differently."""

import itertools

import pytest
import torch

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers.aitqe.digits import NUMBERS, expected_score, numbers_of

TOKENS = ["a", "b", " ", ",", *"0123456789", "10", " 1", " 10", "1,", "b "]


def cut(text: str, words: list[str]) -> list[int]:
    """Greedy longest match, as of a tokenizer that has these words."""
    ids = []
    while text:
        word = max((word for word in words if text.startswith(word)), key=len)
        ids.append(TOKENS.index(word))
        text = text[len(word) :]
    return ids


@pytest.mark.parametrize("more", [[], ["10"], [" 1", " 10"], ["1,"], ["b "], ["10", "1,", "b ", " 1"]])
def test_expected_score_is_that_of_the_continuations_written_out(more: list[str]) -> None:
    words = [word for word in TOKENS if len(word) == 1] + more
    numbers = numbers_of(lambda text: cut(text, words), "ab ")
    model = torch.Generator().manual_seed(len(more))
    tables: dict[tuple[int, ...], torch.Tensor] = {}

    def logits(prefix: tuple[int, ...]) -> torch.Tensor:
        if prefix not in tables:
            tables[prefix] = 3 * torch.randn(1, len(TOKENS), generator=model)
        return tables[prefix]

    score, mass = expected_score(numbers, [logits(node) for node in numbers.nodes])
    weights = []
    for number in NUMBERS:
        path = tuple(cut(f"ab {number},", words))[len(numbers.begin) :]
        # Tokens that every number with this beginning shares say nothing of the number.
        own = numbers.paths[number - 1]
        assert path[: len(own)] == own
        steps = [logits(own[:n]).log_softmax(-1)[0, own[n]] for n in range(len(own)) if own[:n] in numbers.nodes]
        weights.append(torch.stack(steps).sum().exp())
    total = torch.stack(weights)
    assert mass.item() == pytest.approx(total.sum().item(), rel=1e-5)
    assert score.item() == pytest.approx((total / total.sum() @ torch.tensor([*NUMBERS], dtype=torch.float32)).item())


def test_ten_shares_its_first_digit_with_one() -> None:
    numbers = numbers_of(lambda text: cut(text, [word for word in TOKENS if len(word) == 1]), "ab ")
    one, zero, comma = (TOKENS.index(token) for token in "10,")
    assert numbers.nodes == ((), (one,))
    assert numbers.paths[0] == (one, comma) and numbers.paths[9] == (one, zero)
    sure = [torch.full((1, len(TOKENS)), -30.0) for _ in range(2)]
    sure[0][0, one] = sure[1][0, zero] = 30.0
    score, mass = expected_score(numbers, sure)
    assert score.item() == pytest.approx(10) and mass.item() == pytest.approx(1)


def test_all_orders_of_sure_numbers() -> None:
    numbers = numbers_of(lambda text: cut(text, TOKENS), "ab ")
    assert len({numbers.begin + path for path in numbers.paths}) == 10
    assert all(a != b[: len(a)] for a, b in itertools.permutations(numbers.paths, 2))


def test_a_tokenizer_that_cannot_tell_numbers_apart_is_refused() -> None:
    with pytest.raises(UsageError, match="two numbers from 1 to 10 alike"):
        numbers_of(lambda text: [0 if letter.isdigit() else 1 for letter in text], "a")
