"""Feedback drills: two-turn feedback dialogues with exact answers, scored by rule (see README.md)."""
