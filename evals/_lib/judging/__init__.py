"""Model judges on checklists, for every benchmark: prompts, the stage, and how far two judges agree."""
