"""A model as the judge of stored answers."""
