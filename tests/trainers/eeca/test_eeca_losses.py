"""The two losses against plain renderings of their equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hubwright.trainers.eeca.labels import Bank, Candidates
from hubwright.trainers.eeca.losses import UNKNOWN, class_loss, name_loss


def plain_class_loss(outputs: list[Any], targets: list[list[int]], weights: list[float]) -> float:
    """L_hc by loops."""
    total = 0.0
    for level, weight in enumerate(weights):
        losses = []
        for image, row in enumerate(targets):
            if row[level] != UNKNOWN:
                values = [float(value) for value in outputs[level][image]]
                losses.append(math.log(sum(map(math.exp, values))) - values[row[level]])
        total += weight * sum(losses) / len(losses) if losses else 0.0
    return total


def plain_name_loss(
    states: Any, entities: list[int], vectors: Any, names: list[str], pool: list[int], temperature: float
) -> float:
    """L_ec by loops: `pool` are numbers of landmarks, `vectors` theirs by number."""
    losses = []
    for image, entity in enumerate(entities):
        if entity == UNKNOWN:
            continue
        z = np.asarray(states[image], np.float64)
        z = z / np.linalg.norm(z)
        scores = {one: math.exp(float(z @ np.asarray(vectors[one], np.float64)) / temperature) for one in pool}
        right = sum(score for one, score in scores.items() if names[one] == names[entity])
        losses.append(-math.log(right / sum(scores.values())))
    return sum(losses) / len(losses) if losses else 0.0


def case(seed: int) -> dict[str, Any]:
    """A batch: landmarks 0 and 1 bear one name."""
    generator = torch.Generator().manual_seed(seed)
    names = ["a", "a", "b", "c", "d", "e"]
    vectors = torch.nn.functional.normalize(torch.randn(6, 8, generator=generator), dim=-1)
    entities = torch.tensor([0, 2, UNKNOWN, 2, 3, 1][: 2 + seed % 5])
    return {
        "states": torch.randn(len(entities), 8, generator=generator), "entities": entities, "all": vectors,
        "names": names, "groups": torch.tensor([0, 0, 1, 2, 3, 4]), "temperature": torch.tensor([0.07 + 0.1 * seed]),
    }  # fmt: skip


def loss_of(one: dict[str, Any], candidates: Any) -> float:
    chosen = torch.as_tensor(candidates)
    return float(
        name_loss(one["states"], one["entities"], one["all"][chosen], chosen, one["groups"], one["temperature"])
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("negatives", ["batch", "all"])
def test_names_loss_is_its_equation(seed: int, negatives: str) -> None:
    one = case(seed)
    bank = Bank([str(n) for n in range(6)], one["names"], [None] * 6)
    pool = Candidates(bank, negatives, 100, 0)(one["entities"].numpy())
    assert sorted(pool) == sorted(set(pool))
    expected = plain_name_loss(
        one["states"].numpy(), one["entities"].tolist(), one["all"].numpy(), one["names"], pool.tolist(),
        float(one["temperature"]),
    )  # fmt: skip
    assert loss_of(one, pool) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("negatives", ["batch", "hard", "all"])
def test_duplicating_every_sample_changes_nothing_and_would_unmasked(negatives: str) -> None:
    one = case(4)
    bank = Bank([str(n) for n in range(6)], one["names"], ["x", "x", "y", "y", None, None])
    choose = Candidates(bank, negatives, 2, 0)
    twice = one | {"states": one["states"].repeat(2, 1), "entities": one["entities"].repeat(2)}
    single = loss_of(one, choose(one["entities"].numpy()))
    double = loss_of(twice, choose(twice["entities"].numpy()))
    assert double == pytest.approx(single, abs=1e-6)

    def unmasked(batch: dict[str, Any]) -> float:
        """Every other sample is a negative, of whatever landmark."""
        shown = batch["entities"] != UNKNOWN
        z = torch.nn.functional.normalize(batch["states"][shown], dim=-1)
        logits = z @ batch["all"][batch["entities"][shown]].T / batch["temperature"]
        return float(torch.nn.functional.cross_entropy(logits, torch.arange(len(z))))

    assert abs(unmasked(twice) - unmasked(one)) > 0.1


def test_no_landmark_is_a_loss_of_zero_with_a_gradient() -> None:
    states = torch.randn(2, 8, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    loss = name_loss(states, torch.full((2,), UNKNOWN), torch.zeros(0, 8), none, none, torch.tensor(0.07))
    loss.backward()
    assert loss.item() == 0 and states.grad is not None and bool((states.grad == 0).all())


@pytest.mark.parametrize("seed", range(4))
def test_classes_loss_is_its_equation_and_missing_labels_have_no_part(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes, weights = [2, 5, 3], [1.0, 0.5, 2.0]
    outputs = [torch.from_numpy(draw.normal(size=(4, size))) for size in sizes]
    targets = np.stack([draw.integers(0, size, 4) for size in sizes], axis=1)
    targets[draw.random(targets.shape) < 0.4] = UNKNOWN
    targets[:, seed % 3] = UNKNOWN  # a level that no image of the batch has
    loss, losses = class_loss(outputs, torch.from_numpy(targets), weights)
    expected = plain_class_loss([one.numpy() for one in outputs], targets.tolist(), weights)
    assert float(loss) == pytest.approx(expected, abs=1e-5) and float(losses[seed % 3]) == 0


def test_a_batch_without_labels_is_zero_and_not_nan() -> None:
    outputs = [torch.randn(3, 4, requires_grad=True)]
    loss, _ = class_loss(outputs, torch.full((3, 1), UNKNOWN), [1.0])
    loss.backward()
    assert loss.item() == 0 and bool((outputs[0].grad == 0).all())


def test_hard_negatives_share_a_parent_and_no_more_than_the_limit_are_drawn() -> None:
    ids = [f"{n:03}" for n in range(100)]
    bank = Bank(ids, ids, ["x" if n % 2 else "y" for n in range(100)])
    batch = np.asarray([3, 3, 7, UNKNOWN])
    hard = Candidates(bank, "hard", 10, 0)(batch)
    assert hard[:2].tolist() == [3, 7] and len(hard) == 12 and all(number % 2 for number in hard)
    assert np.array_equal(hard, Candidates(bank, "hard", 10, 0)(batch))  # by the batch and the seed alone
    assert not np.array_equal(hard, Candidates(bank, "hard", 10, 1)(batch))
    assert len(Candidates(bank, "all", 1000, 0)(batch)) == 100
    assert Candidates(bank, "batch", 10, 0)(batch).tolist() == [3, 7]
