"""Landmarks by name and at several granularities: metrics, lm-eval tasks, comparisons of models, and predictions."""
