"""NESTFUL: calls in sequence, each taking fields of the results before it."""
