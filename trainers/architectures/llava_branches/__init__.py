"""A LLaVA model whose image is seen at two resolutions, and stands in the text as a few learned queries."""


def register() -> None:
    """Make the Auto classes know `model_type: llava_branches`."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    from .configuration_llava_branches import LlavaBranchesConfig
    from .modeling_llava_branches import LlavaBranchesForConditionalGeneration

    AutoConfig.register("llava_branches", LlavaBranchesConfig, exist_ok=True)
    AutoModelForImageTextToText.register(LlavaBranchesConfig, LlavaBranchesForConditionalGeneration, exist_ok=True)
