"""The steps that add to the card of a published model."""

from ..hub_sync.step import Role, StepSpec

STEPS: dict[str, StepSpec] = {
    "report": StepSpec(
        "card",
        "hubwright.model_cards.report:ReportConfig",
        "hubwright.model_cards.report:report",
        "model",
        "evaluation results and plots added to a published model's card",
        inputs={
            "model": Role("model"),
            "result": Role("dataset", optional=True),
            "baseline": Role("dataset", optional=True),
            "answers": Role("dataset", optional=True),
            "other": Role("model", optional=True),
            "arm_*": Role("dataset"),
        },
    ),
}
