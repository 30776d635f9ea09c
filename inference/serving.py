"""Which model is asked, named by one string or by a recipe's input, and where it is served.

openai:MODEL@BASE_URL               any OpenAI-compatible endpoint; openai:MODEL uses OPENAI_BASE_URL
embedded:ORG/NAME[@REV][#FILE]      a GGUF repository, resolved to a commit and served on the loopback (llama.cpp)
"""

from contextlib import ExitStack
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ..hub_sync.context import StepContext
from ..hub_sync.errors import UsageError
from ..hub_sync.refs import ArtifactRef
from ..hub_sync.settings import SPEED, Settings
from .budget import Budget
from .endpoint import Endpoint
from .reasoning import reasoning_tags

REMOTE_TIMEOUT, EMBEDDED_TIMEOUT = 120.0, 1800.0


class ServingConfig(Settings):
    """How the model is reached. A remote endpoint refuses the settings of the embedded engine."""

    concurrency: int = Field(
        16, ge=1, le=1024, json_schema_extra=SPEED, description="Requests in flight; an embedded model takes `slots`."
    )
    timeout: float | None = Field(
        None, gt=0, json_schema_extra=SPEED, description="Seconds for a request; null: 120, embedded 1800 (ours)."
    )
    max_retries: int = Field(
        6, ge=0, json_schema_extra=SPEED, description="Retries of a request that failed in transport, 429 or 5xx."
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the endpoint's key.")
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="Server's name for the limit of new tokens; OpenAI's reasoning models: the second."
    )
    send_temperature: bool = Field(True, description="False for servers that refuse a temperature: none is sent.")
    reasoning_tags: tuple[str, ...] = Field(
        (),
        description="Further opening tags of a thought, e.g. <reflection>, or pairs '<|begin|> <|end|>', besides "
        "<think>, <thinking>, <thought> and [THINK]; a thought is never part of an answer.",
    )
    file: str | None = Field(None, description="Embedded: which GGUF of the repository; null: its only one.")
    context_tokens: int = Field(8192, ge=256, description="Embedded: prompt and answer together, per slot.")
    slots: int = Field(1, ge=1, description="Embedded: requests worked on at the same time.")
    threads: int | None = Field(None, ge=1, description="Embedded: CPU threads; null: all CPUs of the process.")
    engine: Literal["local", "ray"] = Field(
        "local", json_schema_extra=SPEED, description="Requests from here, or from tasks on a Ray cluster."
    )
    workers: int = Field(
        1,
        ge=1,
        json_schema_extra=SPEED,
        description="Processes, or Ray tasks at once; the result does not depend on it.",
    )
    shard_rows: int = Field(
        256,
        ge=1,
        json_schema_extra=SPEED,
        description="Rows a worker takes at once; the result does not depend on it.",
    )
    budget: Budget | None = Field(None, description="Prices, and caps that stop the run before they are passed.")

    @field_validator("reasoning_tags")
    @classmethod
    def _tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        reasoning_tags(value)
        return value

    @model_validator(mode="after")
    def _temperature_is_sent(self) -> Self:
        set_here = "temperature" in self.model_fields_set and getattr(self, "temperature", None) is not None
        if set_here and not self.send_temperature:
            raise ValueError("temperature does nothing with send_temperature: false; leave one of them out")
        return self

    def asking(self) -> dict[str, Any]:
        """The settings of an `Endpoint` that decide how its server is asked and how its replies are read."""
        settings = {name: getattr(self, name) for name in ("max_retries", "token_limit", "send_temperature")}
        return settings | {"reasoning_tags": reasoning_tags(self.reasoning_tags)}

    def scale(self) -> dict[str, Any]:
        """The settings of `inference.stage.run_stage` that decide how much is done at once, and at what price."""
        names = ("engine", "workers", "shard_rows", "budget")
        return {name: getattr(self, name) for name in names}


def check_spec(value: str) -> str:
    """A spec of one of the two forms, unchanged. Raises ValueError."""
    kind, colon, rest = value.partition(":")
    if not colon or not rest or kind not in ("openai", "embedded"):
        raise ValueError(f"{value!r} is unknown: write openai:MODEL@BASE_URL or embedded:ORG/NAME")
    return value


ModelSpec = Annotated[str, AfterValidator(check_spec)]


def embedded_ref(spec: str) -> tuple[ArtifactRef, str | None]:
    """(repository, GGUF file or None) of what stands behind "embedded:"."""
    where, _, file = spec.removeprefix("embedded:").partition("#")
    return ArtifactRef.parse(where, "model"), file or None


def remote_endpoint(spec: str, config: ServingConfig) -> Endpoint:
    """The endpoint behind "openai:"; a base URL stands behind the last "@" that a URL follows."""
    changed = {"file", "context_tokens", "slots", "threads"} & config.model_fields_set
    if changed:
        raise UsageError(f"{sorted(changed)[0]} is for an embedded model; {spec} is served elsewhere: leave it out")
    model, at, url = spec.removeprefix("openai:").rpartition("@http")
    return Endpoint(
        model=model if at else url,
        base_url=f"http{url}" if at else None,
        api_key_env=config.api_key_env,
        concurrency=config.concurrency,
        timeout=config.timeout or REMOTE_TIMEOUT,
        **config.asking(),
    )


def serve(model: str | ArtifactRef, config: ServingConfig, resources: ExitStack, *, replay: bool = False) -> Endpoint:
    """Make `model` reachable until `resources` closes.

    Args:
        model: a spec, or the pinned reference of a recipe's input (embedded).
        replay: nothing will be asked, so no engine is started.

    Raises UsageError and HubError as `engine.shared_engine` does.
    """
    file = config.file
    if isinstance(model, str):
        if model.startswith("openai:"):
            return remote_endpoint(model, config)
        model, named = embedded_ref(model)
        file = named or file
    ref = model.resolve()
    revision = f"{ref.revision}#{file}" if file else ref.revision
    url = "http://127.0.0.1/v1"
    if not replay:
        from .engine import shared_engine

        engine = shared_engine(
            ref, file=file, context_tokens=config.context_tokens, slots=config.slots, threads=config.threads
        )
        url = resources.enter_context(engine).url
    return Endpoint(
        model=ref.repo_id,
        base_url=url,
        revision=revision,
        concurrency=config.slots,  # what waits in our queue does not run into the time limit
        timeout=config.timeout or EMBEDDED_TIMEOUT,
        **config.asking(),
    )


def serve_input(role: str, spec: str | None, config: ServingConfig, context: StepContext) -> Endpoint:
    """A step's model: its input of this role, or the endpoint that `with:` names under the same word.

    Raises UsageError unless it is exactly one of them, and for an embedded model that no lock file pins.
    """
    pinned = context.inputs.get(role)
    if (pinned is None) == (spec is None):
        raise UsageError(f"step {context.step}: give the {role} as an input, or as `with: {{{role}: openai:...}}`")
    if spec is not None and not spec.startswith("openai:"):
        raise UsageError(f"step {context.step}: {spec} is not pinned; name it below `inputs:` as `{role}: ORG/NAME`")
    return serve(pinned.ref if pinned else str(spec), config, context.resources, replay=context.replay)
