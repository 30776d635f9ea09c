"""A request and functions in, a list of calls out, scored call by call."""
