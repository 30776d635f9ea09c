"""Benchmarks: task code and scorers, one folder each; `tasks/` holds the YAML files lm-eval reads."""
