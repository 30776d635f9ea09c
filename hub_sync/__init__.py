"""Artifact references, pinned pulls, atomic publishing, locks and provenance. Imports no other package.

Only public `huggingface_hub` calls: the same code serves the embedded hub and huggingface.co.
"""
