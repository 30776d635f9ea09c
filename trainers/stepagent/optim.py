"""StepAgent-Optim (arXiv:2411.03817): DPO on single steps, the expert's action against the agent's in the same state.

With expert action a_E and agent action a_A ~ pi_t in state s (the expert's turns so far), beta and reference ref:

    L = -log sigmoid( beta [ log pi(a_E|s)/ref(a_E|s) - log pi(a_A|s)/ref(a_A|s) ] )

The paper's method section was not available: the two stages of a cycle are from its abstract and its reviews, this
form is our reconstruction, and all settings are our choice. See `tabular.py` for when cycles of it converge.

- Reference: without an input `reference` it is the model at the start of the cycle; with one, that model: the model
  after SFT in every cycle (as IPR has it), or a moving average, made by a `merge` step once per cycle.
- Inner steps are `max_steps`. A small beta converges because few steps are taken, not at the optimum.
- Equal actions have no gradient; they are left out and counted.
"""

from pydantic import Field

from ...hub_sync.context import StepContext
from .._lib.launch import run
from ..dpo import DPOConfig


class OptimConfig(DPOConfig):
    """Settings of a cycle's step-wise DPO; names as in `trl.DPOConfig`. Defaults are our choice."""

    dataset_configs: tuple[str, ...] = Field(("pairs",), description="Configs of the data set with the pairs.")
    beta: float = Field(0.5, gt=0, description="Strength of the pull to the reference.")


def train(config: OptimConfig, context: StepContext) -> None:
    """One cycle's reflection: `context.inputs["model"]` is trained on the pairs of `context.inputs["dataset"]`.

    Raises UsageError (settings that do not fit model or data), DataError (columns or pairs that cannot be used, or
    no pair of different actions).
    """
    run("hubwright.trainers.stepagent.optim_trainer:fit", config, context)
