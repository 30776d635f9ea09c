"""The base of interactive tasks: requests for episodes out, transcripts in.

Importing this registers the model `interactive`. `lm_eval run` imports a task's class only after it has looked up the
model, except for tasks given as the path of a YAML file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ....hub_sync.errors import UsageError
from ..scored import ScoredTask
from .episodes import Player, Request, read_transcript, register
from .model import is_made


class InteractiveTask(ScoredTask):
    """A scored task whose documents are played step by step by the model `interactive`.

    A subclass sets `PLAYER`, which makes the episode of a document, and scores the one transcript in `scores`.
    """

    PLAYER: Player

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._player = register(type(self).PLAYER)
        super().__init__(config)

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **settings: Any) -> str:
        """The request for the document's episode. Raises UsageError if there is no model that could play it."""
        if not is_made():
            raise self._ordinary()
        chat, system = bool(settings.get("apply_chat_template")), settings.get("system_instruction")
        return Request(self._player, doc, chat, system, self.reasoning_tags).text()

    def answer(self, text: str, prompt: Any) -> str:
        return text

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Score one transcript. Raises UsageError for another text: an ordinary model was asked."""
        transcript = read_transcript(results[0])
        if transcript is None:
            raise self._ordinary()
        return super().process_results(doc, [transcript])

    def _ordinary(self) -> UsageError:
        name = self.config.task
        return UsageError(
            f"task {name} is played step by step, which an ordinary model cannot do; wrap it in `interactive`: "
            f"hubwright eval {name} --model interactive --model_args model=hf,pretrained=..."
        )
