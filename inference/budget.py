"""What a run has used and may use: requests, tokens, money; and what the whole of it will need, from a probe."""

import math
from array import array
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import Field

from ..hub_sync.errors import UsageError
from ..hub_sync.settings import Settings

PROBE_ROWS = 20
COUNTS = ("requests", "recorded", "retries", "prompt_tokens", "completion_tokens")


class Budget(Settings):
    """Prices and hard caps. Prices are the provider's; nothing is assumed where they are not given."""

    price_prompt: float = Field(default=0.0, ge=0, description="Price of a million prompt tokens, any currency.")
    price_completion: float = Field(default=0.0, ge=0, description="Price of a million generated tokens.")
    max_requests: int | None = Field(default=None, gt=0, description="Stop before more requests than this.")
    max_tokens: int | None = Field(default=None, gt=0, description="Stop before more tokens, both kinds together.")
    max_cost: float | None = Field(default=None, gt=0, description="Stop before it costs more than this.")


@dataclass
class Usage:
    """What was asked of the network and what came from the store, with `latencies` in seconds per answered request."""

    requests: int = 0
    recorded: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    latencies: "array[float]" = field(default_factory=lambda: array("d"))  # 8 bytes per request

    @property
    def tokens(self) -> int:
        """Prompt and generated tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def totals(self) -> Self:
        """A copy without outcomes and latencies: all that a budget counts."""
        return replace(self, outcomes={}, latencies=array("d"))

    def add(self, other: Self) -> None:
        """Add another worker's use."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.latencies += other.latencies

    def cost(self, budget: Budget) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * budget.price_prompt + self.completion_tokens * budget.price_completion) / 1e6

    def summary(self, budget: Budget | None = None) -> dict[str, Any]:
        """Figures for a card: counts, tokens, cost where prices are known, latency percentiles in seconds."""
        figures: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
        figures |= {f"outcome_{name}": count for name, count in sorted(self.outcomes.items())}
        if budget and (budget.price_prompt or budget.price_completion):
            figures["cost"] = self.cost(budget)
        ordered = sorted(self.latencies)
        for share in (50, 95, 99) if ordered else ():
            figures[f"latency_p{share}_seconds"] = ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]
        return figures


def check_budget(budget: Budget, usage: Usage, in_flight: int) -> None:
    """Raise UsageError if another request could pass a cap; those in flight count with the mean of the answered."""
    ahead = (in_flight + 1) / usage.requests + 1 if usage.requests else 1
    expected = {
        "max_requests": usage.requests + in_flight + 1,
        "max_tokens": usage.tokens * ahead,
        "max_cost": usage.cost(budget) * ahead,
    }
    for name, amount in expected.items():
        cap = getattr(budget, name)
        if cap is not None and amount > cap:
            raise UsageError(
                f"{name} {cap:g} is reached after {usage.requests} requests and {usage.tokens:,} tokens; what was "
                "answered is recorded: raise it and run again to go on"
            )


def estimate(
    usage: Usage, done: int, total: int, seconds: float, budget: Budget, concurrency: int = 1
) -> dict[str, float]:
    """The need of `total` rows by `done` of them: requests, tokens, cost, seconds (linear, our choice).

    A probe smaller than `concurrency` leaves places empty, so the seconds are those of full places.
    """
    share = total / max(done, 1)
    return {
        "rows": total,
        "requests": usage.requests * share,
        "tokens": usage.tokens * share,
        "cost": usage.cost(budget) * share,
        "seconds": seconds * max(1.0, share * min(1.0, done / concurrency)),
    }


def check_estimate(expected: dict[str, float], budget: Budget) -> None:
    """Raise UsageError where the estimate passes a cap, before the money is spent."""
    for name, key in (("max_requests", "requests"), ("max_tokens", "tokens"), ("max_cost", "cost")):
        cap = getattr(budget, name)
        if cap is not None and expected[key] > cap:
            raise UsageError(
                f"{name} {cap:g} will not do: {expected['rows']:,.0f} rows need about {expected[key]:,.4g} {key}, by "
                f"the first {PROBE_ROWS}; raise it, or take fewer rows"
            )
