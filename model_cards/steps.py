"""The steps that add to the card of a published model."""

from ..hub_sync.step import Role, StepSpec

_RESULTS = Role("dataset", optional=True)

STEPS: dict[str, StepSpec] = {
    "report": StepSpec(
        "card",
        "hubwright.model_cards.report:ReportConfig",
        "hubwright.model_cards.report:report",
        "model",
        "evaluation results and plots added to a published model's card",
        {"model": Role("model"), **dict.fromkeys(("result", "baseline", "answers"), _RESULTS)}
        | {"other": Role("model", optional=True), "arm_*": Role("dataset")},
    )
}
