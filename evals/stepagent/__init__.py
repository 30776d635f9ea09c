"""How a model acts in text games, and how close its distribution over actions is to an expert's."""

from .scorer import distribution_scores, episode_scores

__all__ = ["distribution_scores", "episode_scores"]
