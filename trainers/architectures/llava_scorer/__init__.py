"""A LLaVA model under a head of regressions: scores of an image and a text."""


def register() -> None:
    """Make the Auto classes know `model_type: llava_scorer`."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from .configuration_llava_scorer import LlavaScorerConfig
    from .modeling_llava_scorer import LlavaScorerForSequenceClassification

    AutoConfig.register("llava_scorer", LlavaScorerConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(LlavaScorerConfig, LlavaScorerForSequenceClassification, exist_ok=True)
