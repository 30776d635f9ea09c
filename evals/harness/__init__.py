"""lm-eval as a recipe step and on the command line, and its stored output as a step."""
