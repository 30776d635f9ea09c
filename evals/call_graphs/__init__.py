"""Turns of the gold path of BUTTON: calls compared, and made in the worlds that the rows were made in."""
