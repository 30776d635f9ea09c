"""Model judges on checklists, for every benchmark: what is asked (`prompts`), the stage (`stage`), how far two judges
agree (`agreement`). Verdicts are rows, one per item, complete in themselves (`cases`)."""
