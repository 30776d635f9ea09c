"""Definitions of functions as tools that run: typed stubs with drawn values and words for them."""
