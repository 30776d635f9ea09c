"""Configuration of a LLaVA model of two branches.

This file, `heads_llava_branches.py` and `modeling_llava_branches.py` need nothing but torch and transformers: a
published model carries them, so that `from_pretrained(..., trust_remote_code=True)` works without hubwright.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlavaConfig


@strict
class LlavaBranchesConfig(LlavaConfig):
    """A `LlavaConfig`, and what an image is before the projector.

    Attributes:
        latents: learned queries that stand for an image; None: all tokens of the tower.
        high_resolution: side in pixels of the images that the model is given, which the second branch sees; None: one
            branch.
        low_resolution: side in pixels of the images that the first branch sees, with `high_resolution`.
        branch_heads: heads of the attention between branches, and of the queries.
        heads: what is trained on the image's tokens beside the language model: `levels`, pairs of a
            name and its number of classes, and `entities`, whether names are compared. None: there are no heads.
    """

    model_type = "llava_branches"

    latents: int | None = None
    high_resolution: int | None = None
    low_resolution: int | None = None
    branch_heads: int = 1
    heads: dict[str, Any] | None = None


LlavaBranchesConfig.register_for_auto_class()
