"""Our scorers as modules that `evaluate.load` loads."""
