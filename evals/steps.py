"""The evaluations: steps that publish answers, verdicts, figures and metrics."""

from ..hub_sync.step import Role, StepSpec

STEPS: dict[str, StepSpec] = {
    "lm_eval": StepSpec(
        "eval",
        "hubwright.evals.harness:HarnessConfig",
        "hubwright.evals.harness:evaluate",
        "dataset",
        "lm-eval tasks on a model; every answer and figure as a data set",
        inputs={"model": Role("model", folds=True), "dataset": Role("dataset", optional=True)},
        version=2,
        extra="eval",
        loads_models=True,
    ),
    "lm_eval_output": StepSpec(
        "eval",
        "hubwright.evals.imported:LmEvalOutputConfig",
        "hubwright.evals.imported:collect",
        "dataset",
        "what the stock lm_eval command wrote, as a data set like that of an lm_eval step",
        inputs={"model": Role("model"), "dataset": Role("dataset", optional=True)},
        extra="eval",
    ),
    "answers": StepSpec(
        "eval",
        "hubwright.evals.answering:AnswersConfig",
        "hubwright.evals.answering:answer",
        "dataset",
        "a served model's answers to the conversations of a data set",
        inputs={"dataset": Role("dataset"), "model": Role("model", optional=True, served=True)},
        version=2,
        extra="llm",
    ),
    "judge": StepSpec(
        "eval",
        "hubwright.evals.judge_step:JudgeStepConfig",
        "hubwright.evals.judge_step:judge",
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
        "hubwright.evals.agreement_step:AgreementConfig",
        "hubwright.evals.agreement_step:agreement",
        "dataset",
        "how far two judges' verdicts on the same answers agree",
        inputs={"a": Role("dataset"), "b": Role("dataset")},
    ),
    "metric": StepSpec(
        "eval",
        "hubwright.evals.metric_step:MetricConfig",
        "hubwright.evals.metric_step:write_metric",
        "space",
        "one of our scorers as a module for evaluate.load",
    ),
}
