"""A law of held-out losses over mixtures, fitted to small runs, and the mixture that it predicts to be best.

    loss(w) = c + exp(b + sum_j t_j w_j)

The log-linear form of Olmix (arXiv:2602.12237); so is the Huber loss with delta 0.02. The starts, the penalty on t and
the form of the search are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...hub_sync.errors import DataError

DELTA = 0.02  # nats: residuals beyond it count linearly
STARTS = 8
SUM_TOLERANCE = 0.02  # published tables round weights to three digits
RIDGE = 1e-6  # of t: weights sum to 1, so that b and all t shift against one another


@dataclass(frozen=True)
class Law:
    """A fitted law of one loss.

    Attributes:
        c, b: as in the formula; nats per token.
        t: (domains,).
    """

    c: float
    b: float
    t: np.ndarray

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """(...,) losses of mixtures (..., domains)."""
        return np.asarray(self.c + np.exp(self.b + weights @ self.t))


def fit(weights: np.ndarray, losses: np.ndarray, *, delta: float = DELTA, seed: int = 0) -> Law:
    """The law with the least Huber loss, best of several starts.

    Args:
        weights: (runs, domains), rows sum to 1.
        losses: (runs,), nats per token.
        delta: in nats.

        >>> w = np.random.default_rng(0).dirichlet(np.ones(3), 40)
        >>> law = fit(w, 2 + np.exp(0.5 + w @ np.array([-2.0, 0.3, 0.1])))
        >>> bool(np.abs(law.predict(w) - (2 + np.exp(0.5 + w @ np.array([-2.0, 0.3, 0.1])))).max() < 1e-3)
        True
    """
    from scipy.optimize import least_squares

    runs, domains = weights.shape
    if runs < domains + 2:
        raise DataError(f"{runs} runs cannot fit the {domains + 2} parameters of the law: give more runs")
    rng, spread = np.random.default_rng(seed), max(float(np.ptp(losses)), 1e-3)

    def residuals(p: np.ndarray) -> np.ndarray:
        error = p[0] + np.exp(np.minimum(p[1] + weights @ p[2:], 30)) - losses
        return np.concatenate([error, RIDGE**0.5 * p[2:]])

    def slopes(p: np.ndarray) -> np.ndarray:
        rise = np.exp(np.minimum(p[1] + weights @ p[2:], 30))[:, None]
        top = np.hstack([np.ones((runs, 1)), rise, rise * weights])
        return np.vstack([top, np.hstack([np.zeros((domains, 2)), RIDGE**0.5 * np.eye(domains)])])

    best = None
    for start in range(STARTS):
        floor = losses.min() - spread * (0.1, 0.5, 1.0, 3.0)[start % 4]
        first = np.r_[floor, np.log(losses.mean() - floor), rng.normal(0, 0.3 * (start > 3), domains)]
        one = least_squares(residuals, first, slopes, loss="huber", f_scale=delta, max_nfev=400)
        if best is None or one.cost < best.cost:
            best = one
    assert best is not None
    return Law(float(best.x[0]), float(best.x[1]), best.x[2:])


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rho of two series."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def held_out_correlation(weights: np.ndarray, losses: np.ndarray, *, folds: int = 5, seed: int = 0) -> float | None:
    """Spearman's rho of losses with predictions of laws fitted to the other folds; None if a fold leaves too few."""
    runs, domains = weights.shape
    if runs - -(-runs // folds) < domains + 2:
        return None
    fold = np.random.default_rng(seed).permutation(runs) % folds
    predicted = np.empty(runs)
    for number in range(folds):
        rest = fold != number
        predicted[~rest] = fit(weights[rest], losses[rest], seed=seed).predict(weights[~rest])
    return rank_correlation(predicted, losses)


def best_mixture(
    laws: Sequence[Law], prior: np.ndarray, low: np.ndarray, high: np.ndarray, *, kl: float = 0.0
) -> np.ndarray:
    """The weights with the least mean predicted loss plus `kl` times their KL divergence from the prior.

    The problem is convex, so that the start decides nothing.

    Args:
        prior: (domains,), within the bounds and above 0 where `high` is.
        low, high: (domains,), bounds of the weights.
        kl: nats of loss per nat of divergence.
    """
    from scipy.optimize import minimize

    slopes, reference = np.array([law.t for law in laws]), np.maximum(prior, 1e-12)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.maximum(w, 1e-15)
        rises = np.array([law.predict(w) - law.c for law in laws])
        ratio = np.log(w / reference)
        value = float(rises.mean() + kl * (w @ ratio))
        return value, rises @ slopes / len(laws) + kl * (ratio + 1)

    result = minimize(
        objective, prior, jac=True, method="SLSQP", bounds=list(zip(low, high, strict=True)),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(len(w))},
        options={"maxiter": 1000, "ftol": 1e-12},
    )  # fmt: skip
    if not result.success and objective(result.x)[0] > objective(prior)[0]:
        raise DataError(f"no mixture was found that lowers the predicted loss ({result.message}): raise kl")
    return np.clip(result.x, low, high)


def read_runs(
    columns: Mapping[str, Sequence[object]], name: str
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """(domains, (runs, domains) weights, losses by domain) of a run table: columns `weight_DOMAIN` and `loss_DOMAIN`.

    Args:
        name: of the table, for messages.

    Raises DataError for a table without such columns, with a value that is no finite number, a weight below 0, or
    weights that do not sum to 1.
    """
    domains = [column.removeprefix("weight_") for column in columns if column.startswith("weight_")]
    measured = [column.removeprefix("loss_") for column in columns if column.startswith("loss_")]
    if not domains or not measured:
        raise DataError(f"{name} has no columns weight_DOMAIN and loss_DOMAIN: give the run table of a sweep")

    def numbers(column: str) -> np.ndarray:
        values = np.empty(len(columns[column]))
        for row, value in enumerate(columns[column]):
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise DataError(f"{name}: row {row}: {column} is {value}, not a finite number: leave that run out")
            values[row] = value
        return values

    weights = np.stack([numbers(f"weight_{domain}") for domain in domains], axis=1)
    sums = weights.sum(axis=1)
    wrong = (weights.min(axis=1) < 0) | (np.abs(sums - 1) > SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{name}: row {row}: weights sum to {sums[row]:.4g}, the least is {weights[row].min():.4g}: "
                        "weights are shares from 0 to 1 that sum to 1")  # fmt: skip
    return domains, weights / sums[:, None], {domain: numbers(f"loss_{domain}") for domain in measured}
