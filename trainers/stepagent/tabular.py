"""When training cycles converge to the expert, computed exactly for policies that are tables.

With expert E, policy pi_t of cycle t, reference ref and beta, step-wise DPO on pairs of an action of E (chosen) and
one of pi_t (rejected) has its optimum at

    log pi_{t+1} = log ref + (log E - log pi_t) / beta + c(s)

so that with ref = pi_t the error log E - log pi, centred in each state, is multiplied by 1 - 1/beta per cycle: the
cycles converge for beta > 1/2, alternate at 1/2 and diverge below. With a fixed reference the factor is -1/beta, and
for beta > 1 they converge to pi* ~ ref^(beta/(1+beta)) E^(1/(1+beta)), which is not the expert.

The policy that maximises the logit of the optimal discriminator, log E - log pi_t, minus beta KL(pi || ref) is the
same one: both reflections have the same fixed points and the same factor. Derived here, not in the paper.

All tables are float64: policies (states, actions) with rows that sum to 1, `T` (states, actions, states).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
ReferenceMode = Literal["cycle_start", "fixed", "ema"]


def kl(p: Table, q: Table, weights: Table | None = None) -> float:
    """Mean KL(p || q) in nats over states, weighted by `weights` (states,), by default equally."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(axis=1)
    return float(np.average(terms, weights=weights))


def normalized(logits: Table) -> Table:
    """The policies of these logits (states, actions)."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def optimum(expert: Table, policy: Table, reference: Table, beta: float) -> Table:
    """The policy that minimises the expected step-wise DPO loss of a cycle."""
    return normalized(np.log(reference) + (np.log(expert) - np.log(policy)) / beta)


def factor(beta: float) -> float:
    """What the error is multiplied by in a cycle whose reference is the policy at its start."""
    return 1 - 1 / beta


def fixed_point(expert: Table, reference: Table, beta: float) -> Table:
    """Where cycles with a fixed reference end, for beta > 1."""
    return normalized((beta * np.log(reference) + np.log(expert)) / (1 + beta))


def error(expert: Table, policy: Table) -> Table:
    """log E - log pi, centred in each state, (states, actions)."""
    ratio = np.log(expert) - np.log(policy)
    return np.asarray(ratio - ratio.mean(axis=1, keepdims=True))


def contraction(expert: Table, before: Table, after: Table) -> float:
    """The factor by which a cycle multiplied the error, by least squares over states and actions."""
    old, new = error(expert, before), error(expert, after)
    return float((old * new).sum() / (old * old).sum())


def descend(
    expert: Table, policy: Table, reference: Table, beta: float, *, steps: int, rate: float = 1.0, ties: bool = True
) -> Table:
    """The policy after gradient descent on the logits, from `policy` on, of the expected step-wise DPO loss.

    Args:
        steps: gradient steps.
        rate: step size, in logits per unit of gradient of one state's loss divided by beta.
        ties: keep pairs of equal actions, whose gradient is zero, in the mean over pairs.
    """
    pairs = expert[:, :, None] * policy[:, None, :]  # (states, chosen, rejected)
    if not ties:
        pairs = pairs * (1 - np.eye(pairs.shape[1]))
        pairs = pairs / np.maximum(pairs.sum(axis=(1, 2), keepdims=True), 1e-300)
    logits, base = np.log(policy), np.log(reference)
    for _ in range(steps):
        implicit = beta * (np.log(normalized(logits)) - base)
        weights = pairs / (1 + np.exp(implicit[:, :, None] - implicit[:, None, :]))  # sigmoid of minus the margin
        logits = logits + rate * (weights.sum(axis=2) - weights.sum(axis=1))
    return normalized(logits)


def cycles(
    expert: Table, start: Table, beta: float, number: int, mode: ReferenceMode = "cycle_start", *, decay: float = 0.5,
    steps: int | None = None, rate: float = 1.0,
) -> list[Table]:  # fmt: skip
    """The policies after 0, 1, ... `number` cycles.

    Args:
        mode: reference: the policy at the start of the cycle, `start`, or a moving average of the log-probabilities.
        decay: share of the old average that a cycle keeps.
        steps: gradient steps per cycle; None: to the optimum.
    """
    policies, average = [start], np.log(start)
    for _ in range(number):
        policy = policies[-1]
        average = decay * average + (1 - decay) * np.log(policy)
        reference = {"cycle_start": policy, "fixed": start, "ema": normalized(average)}[mode]
        if steps is None:
            policies.append(optimum(expert, policy, reference, beta))
        else:
            policies.append(descend(expert, policy, reference, beta, steps=steps, rate=rate))
    return policies


def occupancy(policy: Table, T: NDArray[np.float64], start: Table, gamma: float) -> Table:
    """Discounted share of time, (states, actions), summing to 1: solves rho = (1 - gamma) start + gamma rho T.

    Args:
        T: transition probabilities; of a state after the end, rows of zeros.
        start: distribution of first states, (states,).
    """
    step = np.einsum("sa,sat->st", policy, T)
    visits = np.linalg.solve(np.eye(len(start)) - gamma * step.T, (1 - gamma) * start)
    rho = np.asarray(visits[:, None] * policy)
    return np.asarray(rho / rho.sum())


def action_values(policy: Table, T: NDArray[np.float64], rewards: Table, gamma: float) -> Table:
    """Q, (states, actions): expected discounted sum of `rewards` from an action on."""
    step, mean = np.einsum("sa,sat->st", policy, T), (policy * rewards).sum(axis=1)
    values = np.linalg.solve(np.eye(len(mean)) - gamma * step, mean)
    return np.asarray(rewards + gamma * T @ values)


def soft_optimal(T: NDArray[np.float64], rewards: Table, gamma: float, temperature: float) -> Table:
    """The policy that maximises reward plus `temperature` times its entropy, by value iteration to 1e-10."""
    values = np.zeros(len(rewards))
    while True:
        q = rewards + gamma * T @ values
        top = q.max(axis=1)
        new = top + temperature * np.log(np.exp((q - top[:, None]) / temperature).sum(axis=1))
        if np.abs(new - values).max() < 1e-10:
            return normalized(q / temperature)
        values = new


def adversarial(
    expert: Table, start: Table, T: NDArray[np.float64], first: Table, gamma: float, number: int, beta: float,
    teacher_forced: bool,
) -> list[Table]:  # fmt: skip
    """The policies after 0, 1, ... `number` cycles of inverse RL with optimal discriminators.

    The reward is the logit log D - log(1 - D) of D = rho_E / (rho_E + rho_pi). A policy update maximises the reward
    minus beta KL(pi || pi_t): pi_{t+1} ~ pi_t exp(A / beta).

    Args:
        first: distribution of first states, (states,).
        teacher_forced: actions are judged on the expert's states, one step each; else by all that follows, on the
            policy's own states.
    """
    rho_expert, policies = occupancy(expert, T, first, gamma), [start]
    for _ in range(number):
        policy = policies[-1]
        if teacher_forced:
            values = np.log(expert) - np.log(policy)
        else:
            rho = occupancy(policy, T, first, gamma)
            tiny = np.finfo(float).tiny
            reward = np.log(np.maximum(rho_expert, tiny)) - np.log(np.maximum(rho, tiny))
            values = action_values(policy, T, reward, gamma)
        advantage = values - (policy * values).sum(axis=1, keepdims=True)
        policies.append(normalized(np.log(policy) + advantage / beta))
    return policies
