"""The steps of this package."""

from hubwright.hub_sync.step import Role, StepSpec

STEPS = {
    "reversed_words": StepSpec(
        "builder",
        "reversed_words.build:ReversedWordsConfig",
        "reversed_words.build:build",
        "dataset",
        "words and their letters in reverse",
    ),
    "norm_tuning": StepSpec(
        "trainer",
        "reversed_words.norm_tuning:NormTuningConfig",
        "reversed_words.norm_tuning:train",
        "model",
        "supervised fine-tuning of the norms alone",
        inputs={"model": Role("model", folds=True), "dataset": Role("dataset")},
        extra="train",
    ),
}
