"""Step-wise DPO: ties are left out, and what happens to the expert's log-probability is shown."""

from collections.abc import Mapping
from typing import Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from .._lib import rows
from ..dpo.trainer import DPOTrainer, Pairs
from ..dpo.trainer import fit as preference
from .optim import OptimConfig


class StepDPOTrainer(DPOTrainer):
    """DPO on steps. Without `sft_weight` the expert's log-probability may fall while the margin grows."""

    curves = (
        *DPOTrainer.curves,
        ("Log-probability of actions", "nats", {"expert": "logps/chosen", "agent": "logps/rejected"}),
    )

    def card_tags(self) -> list[str]:
        return [*super().card_tags(), "stepagent"]


class StepPairs(Pairs):
    """Pairs of different actions."""

    names = (*Pairs.names, "ties")

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        if columns["chosen"] == columns["rejected"]:
            account["sums"].update({"rows": 1, "ties": 1})
            return None
        return super().__call__(columns, account)

    def check(self, sums: Mapping[str, int], split: str) -> None:
        if sums["rows"] == sums.get("ties"):
            raise DataError(
                f"the agent takes the expert's action in all {sums['rows']} rows of the {split} split: nothing is "
                "left to learn from them; end the cycles here, or sample more actions per state"
            )
        super().check(sums, split)


def fit(config: OptimConfig, context: StepContext) -> DPOTrainer:
    """One process's training; returns its trainer."""
    return preference(config, context, StepDPOTrainer, StepPairs)
