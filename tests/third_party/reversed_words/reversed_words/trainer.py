"""The trainer, to be imported and subclassed."""

from typing import Any

from hubwright.trainers.sft.trainer import SFTTrainer


class NormTrainer(SFTTrainer):
    """Leaves every parameter that is not a norm's as it is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("norm" in name)
