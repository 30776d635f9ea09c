"""Answers of a model to the conversations of a data set."""
