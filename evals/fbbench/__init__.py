"""FB-Bench (arXiv:2410.09412): answers, verdicts and scores as three separate, re-runnable stages.

`samples` and `scorer` import neither lm-eval nor torch; `task` is what the YAML files in `evals/tasks` name.
"""
