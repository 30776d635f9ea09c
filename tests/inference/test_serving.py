"""Settings of a served model: how its server wants to be asked, and the tags of thoughts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hubwright.builders.button.build import ButtonConfig
from hubwright.evals._lib.judging.stage import AskConfig
from hubwright.evals.answers.step import AnswersConfig
from hubwright.inference.endpoint import Endpoint
from hubwright.inference.reasoning import TAGS
from hubwright.inference.serving import ServingConfig, remote_endpoint


@pytest.mark.parametrize("kind", [ServingConfig, AskConfig, AnswersConfig, ButtonConfig])
def test_remote_endpoint_takes_how_the_server_wants_to_be_asked(kind: type[ServingConfig]) -> None:
    settings: dict[str, Any] = {
        "token_limit": "max_completion_tokens",
        "send_temperature": False,
        "reasoning_tags": ["<plan>"],
    }
    endpoint = remote_endpoint("openai:m@http://127.0.0.1:1/v1", kind.model_validate(settings))
    assert endpoint.reasoning_tags == (*TAGS, "<plan>")
    body = {"messages": [], "temperature": 0.0, "max_tokens": 5, "seed": 1}
    assert endpoint.request(body) == {"messages": [], "max_completion_tokens": 5, "seed": 1}
    plain = remote_endpoint("openai:m@http://127.0.0.1:1/v1", kind())
    assert plain.request(body) == body and plain.reasoning_tags == TAGS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reasoning_tags": ["think"]}, "is not an opening tag"),
        ({"token_limit": "max_new_tokens"}, "max_completion_tokens"),
        ({"send_temperature": False, "temperature": 0.3}, "temperature does nothing with send_temperature: false"),
    ],
)
def test_serving_config_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AnswersConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("param", "message", "said"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "token_limit"),
        ("temperature", "Unsupported value: 'temperature' does not support 0.0 with this model.", "send_temperature"),
        ("", "temperature is not supported by this model", "send_temperature"),
        ("messages", "too long", ""),
    ],
)
def test_remedy_names_the_setting(param: str, message: str, said: str) -> None:
    assert (said in Endpoint("m").remedy(param, message)) and bool(Endpoint("m").remedy(param, message)) == bool(said)
    assert Endpoint("m", token_limit="max_completion_tokens", send_temperature=False).remedy(param, message) == ""
