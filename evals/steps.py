"""The evaluations: steps that publish answers, verdicts, figures and metrics."""

from ..hub_sync.step import Role, StepSpec

STEPS: dict[str, StepSpec] = {
    "lm_eval": StepSpec(
        "eval",
        "hubwright.evals.harness.step:HarnessConfig",
        "hubwright.evals.harness.step:evaluate",
        "dataset",
        "lm-eval tasks on a model; every answer and figure as a data set",
        inputs={"model": Role("model", folds=True), "dataset": Role("dataset", optional=True)},
        version=2,
        extra="eval",
        loads_models=True,
    ),
    "lm_eval_output": StepSpec(
        "eval",
        "hubwright.evals.harness.imported:LmEvalOutputConfig",
        "hubwright.evals.harness.imported:collect",
        "dataset",
        "what the stock lm_eval command wrote, as a data set like that of an lm_eval step",
        inputs={"model": Role("model"), "dataset": Role("dataset", optional=True)},
        extra="eval",
    ),
    "answers": StepSpec(
        "eval",
        "hubwright.evals.answers.step:AnswersConfig",
        "hubwright.evals.answers.step:answer",
        "dataset",
        "a served model's answers to the conversations of a data set",
        inputs={"dataset": Role("dataset"), "model": Role("model", optional=True, served=True)},
        version=2,
        extra="llm",
    ),
    "judge": StepSpec(
        "eval",
        "hubwright.evals.judge.step:JudgeStepConfig",
        "hubwright.evals.judge.step:judge",
        "dataset",
        "a model's verdicts on answers, one row per checklist item, and the scores that follow",
        inputs={
            "answers": Role("dataset"),
            "judge": Role("model", optional=True, served=True),
            "dataset": Role("dataset", optional=True),
        },
        version=2,
        extra="llm",
    ),
    "agreement": StepSpec(
        "eval",
        "hubwright.evals.agreement.step:AgreementConfig",
        "hubwright.evals.agreement.step:agreement",
        "dataset",
        "how far two judges' verdicts on the same answers agree",
        inputs={"a": Role("dataset"), "b": Role("dataset")},
    ),
    "metric": StepSpec(
        "eval",
        "hubwright.evals.metric.step:MetricConfig",
        "hubwright.evals.metric.step:write_metric",
        "space",
        "one of our scorers as a module for evaluate.load",
    ),
}
