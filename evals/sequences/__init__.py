"""Synthetic sequences: the word expected at one scored position, by log-likelihood (see README.md)."""
