"""Supervised fine-tuning of a vision-language model, assembled from a vision tower and a language model, or given.

Data: a column `image` or `images`, and `messages` (or `conversations`), or `prompt` + `completion`, or `text`. What is
supervised is as in `sft`; tokens of images never are.
"""

from .config import VisionSFTConfig, train

__all__ = ["VisionSFTConfig", "train"]
