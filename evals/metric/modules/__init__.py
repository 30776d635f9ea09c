"""Our scorers as modules of the `evaluate` library. The step kind `metric` copies one into a Space, where
`evaluate.load("org/NAME")` finds it; that is why they import hubwright by its full name."""
