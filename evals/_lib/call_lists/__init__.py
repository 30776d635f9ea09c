"""A request and functions in, a list of calls out: what Seal-Tools and NESTFUL share."""
