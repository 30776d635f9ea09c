"""Seal-Tools: which functions a request needs, with which arguments, one result going into the next call."""
