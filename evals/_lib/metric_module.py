"""The base of modules for `evaluate.load`: a benchmark's plain scorer as a metric."""

import inspect
from typing import Any

import datasets
import evaluate

TEXT = datasets.Value("string")


class ScorerMetric(evaluate.Metric):
    """A metric described by its docstring: a description, then `Args:` and `Returns:`.

    A subclass sets the features of a prediction and a reference, and `_compute`. Its module imports this one and not
    the class, because `evaluate` takes the first metric class in a module.
    """

    PREDICTION: Any = TEXT
    REFERENCE: Any = TEXT
    CITATION = ""

    def _info(self) -> evaluate.MetricInfo:
        description, _, inputs = str(inspect.getdoc(type(self))).partition("\n\n")
        features = datasets.Features({"predictions": self.PREDICTION, "references": self.REFERENCE})
        return evaluate.MetricInfo(
            description=description, citation=self.CITATION, inputs_description=inputs, features=features
        )
