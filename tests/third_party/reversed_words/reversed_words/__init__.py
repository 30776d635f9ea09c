"""Words in reverse: a builder, a trainer and a task outside of hubwright."""
