"""Tasks that a model answers step by step in an environment: episodes, the model that runs them, the tasks' base."""
