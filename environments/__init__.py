"""Tools that models call: their definitions, their calls, and a sandbox in which they run."""
