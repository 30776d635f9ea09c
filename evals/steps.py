"""The evaluations: steps that publish answers, verdicts, figures and metrics."""

from typing import Any

from ..hub_sync.step import Role, StepSpec

_DATA, _ANY_DATA = Role("dataset"), Role("dataset", optional=True)
_SERVED = Role("model", optional=True, endpoint=True)


def _eval(config: str, run: str, help: str, **more: Any) -> StepSpec:
    """A step of this package; `config` and `run` name modules below it."""
    return StepSpec("eval", f"hubwright.evals.{config}", f"hubwright.evals.{run}", "dataset", help, **more)


STEPS: dict[str, StepSpec] = {
    "lm_eval": _eval(
        "harness.step:HarnessConfig",
        "harness.step:evaluate",
        "lm-eval tasks on a model; every answer and figure as a data set",
        inputs={"model": Role("model", optional=True, folds=True), "dataset": _ANY_DATA},
        version=3,
        extra="eval",
        loads_models=True,
    ),
    "lm_eval_output": _eval(
        "harness.imported:LmEvalOutputConfig",
        "harness.imported:collect",
        "what the stock lm_eval command wrote, as a data set like that of an lm_eval step",
        inputs={"model": Role("model"), "dataset": _ANY_DATA},
        extra="eval",
    ),
    "answers": _eval(
        "answers.step:AnswersConfig",
        "answers.step:answer",
        "a served model's answers to the conversations of a data set",
        inputs={"dataset": _DATA, "model": _SERVED},
        version=3,
        extra="llm",
    ),
    "judge": _eval(
        "judge.step:RubricJudgeConfig",
        "judge.step:judge",
        "a model's verdicts on the answers of a data set, by the questions of a rubric",
        inputs={"answers": _DATA, "judge": _SERVED},
        version=3,
        extra="llm",
    ),
    "fbbench_judge": _eval(
        "_lib.judging.step:JudgeStepConfig",
        "fbbench.step:judge",
        "a model's verdicts on answers to FB-Bench, one row per checklist item, and the published scores",
        inputs={"answers": _DATA, "judge": _SERVED, "dataset": _ANY_DATA},
        extra="llm",
        benchmark="hubwright.evals.fbbench.benchmark:FBBENCH",
    ),
    "cfbench_judge": _eval(
        "_lib.judging.step:JudgeStepConfig",
        "cfbench.step:judge",
        "a model's verdicts on answers to CFBench, one row per criterion, and CSR, ISR and PSR",
        inputs={"answers": _DATA, "judge": _SERVED, "dataset": _ANY_DATA},
        extra="llm",
        benchmark="hubwright.evals.cfbench.benchmark:CFBENCH",
    ),
    "sysbench_judge": _eval(
        "_lib.judging.step:JudgeStepConfig",
        "sysbench.step:judge",
        "a model's verdicts on answers to SysBench, one row per criterion, and CSR, ISR and SSR",
        inputs={"answers": _DATA, "judge": _SERVED, "dataset": _ANY_DATA},
        extra="llm",
        benchmark="hubwright.evals.sysbench.benchmark:SYSBENCH",
    ),
    "followbench_judge": _eval(
        "_lib.judging.step:JudgeStepConfig",
        "followbench.step:judge",
        "a model's verdicts on answers to FollowBench, one row per constraint, and HSR, SSR and CSL",
        inputs={"answers": _DATA, "judge": _SERVED, "dataset": _ANY_DATA},
        extra="llm",
        benchmark="hubwright.evals.followbench.benchmark:FOLLOWBENCH",
    ),
    "alpaca_eval": _eval(
        "alpaca_eval.step:AlpacaEvalConfig",
        "alpaca_eval.step:score_annotations",
        "AlpacaEval: win rates from stored preferences, also by length, and a table of wins and losses",
        inputs={"dataset": _DATA},
        benchmark="hubwright.evals.alpaca_eval.benchmark:ALPACA_EVAL",
    ),
    "aitqe_score": _eval(
        "aitqe.score:ScoreConfig",
        "aitqe.score:score",
        "AITQE: how well scores tell good texts of images from bad ones, method by method",
        inputs={"dataset": _DATA, "scores_*": Role("dataset", ordered=True)},
    ),
    "aitqe_shift": _eval(
        "aitqe.shift_step:ShiftConfig",
        "aitqe.shift_step:shift",
        "AITQE: how far the texts of processed data sets moved from the raw ones",
        inputs={"dataset": _DATA, "output_*": Role("dataset", ordered=True), "embedder": Role("model", optional=True)},
        extra="vision",
    ),
    "landmark_answers": _eval(
        "landmarks.answers:LandmarkAnswersConfig",
        "landmarks.answers:answer",
        "landmarks: what a model that sees replies, and which of several names it finds likeliest",
        inputs={"dataset": _DATA, "model": Role("model", folds=True)},
        extra="train",
        loads_models=True,
    ),
    "landmark_predict": _eval(
        "landmarks.predict:LandmarkPredictConfig",
        "landmarks.predict:predict",
        "landmarks: names for the images of a data set or a folder, with a confidence, abstaining below a threshold",
        inputs={
            "dataset": _ANY_DATA,
            "landmarks": _ANY_DATA,
            "dev": _ANY_DATA,
            "encoder": Role("model", optional=True),
            "tower": Role("model", optional=True),
            "model": Role("model", optional=True, folds=True),
        },
        extra="train",
        loads_models=True,
    ),
    "landmark_score": _eval(
        "landmarks.score:LandmarkScoreConfig",
        "landmarks.score:score",
        "landmarks: how well models and baselines name them, by level, bucket and split, with intervals",
        inputs={"dataset": _DATA, "replies_*": Role("dataset", ordered=True)},
        extra="vision",
    ),
    "stepagent_cycles": _eval(
        "stepagent.cycles:CyclesConfig",
        "stepagent.cycles:cycles",
        "StepAgent: evaluations after each cycle as curves, factors and episodes to read",
        inputs={"cycle_*": Role("dataset", ordered=True)},
    ),
    "versatune_summary": _eval(
        "versatune.summary:SummaryConfig",
        "versatune.summary:summarise",
        "VersaTune: evaluations of several arms by domain, with relative gains and held-out losses",
        inputs={"arm_*": Role("dataset", ordered=True)},
    ),
    "agreement": _eval(
        "agreement.step:AgreementConfig",
        "agreement.step:agreement",
        "how far two judges' verdicts on the same answers agree",
        inputs={"a": _DATA, "b": _DATA},
    ),
    "metric": StepSpec(
        "eval",
        "hubwright.evals.metric.step:MetricConfig",
        "hubwright.evals.metric.step:write_metric",
        "space",
        "a scorer as a module for evaluate.load",
        version=2,
        extra="eval",
    ),
}
