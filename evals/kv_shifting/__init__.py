"""The benchmarks of KV shifting attention's tables: upstream's tasks at pinned revisions (see README.md)."""
