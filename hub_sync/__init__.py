"""Artifact references, pinned pulls, atomic publishing, locks and provenance. Knows no other room.

Only public `huggingface_hub` calls: the same code serves the embedded hub and huggingface.co.
"""
