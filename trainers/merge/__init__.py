"""Merging models: declarative, streamed, the same bytes whatever the block or shard size."""
