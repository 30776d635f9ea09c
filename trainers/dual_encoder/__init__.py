"""A dual encoder: images and texts as vectors of one space, trained on pairs by a contrastive loss.

Data: a column `image` or `images` (one per row) and `text`, a text or a list of texts that say the same of the image.
"""

from .config import DualEncoderConfig, train

__all__ = ["DualEncoderConfig", "train"]
