"""Builder `versatune_probe`: samples of a base model from its start token, and the domain of each by judges.

    config = ProbeConfig(samples=300, max_new_tokens=64)
    splits = build(config, context)              # inputs model and judge
    json.loads((context.output / "distribution.json").read_text())["soft"]["code"]
    # {"share": 0.41, "ci_low": 0.37, "ci_high": 0.45}

Batches of samples and judged texts are kept as they finish, so that a killed run resumes with the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...hub_sync.files import write_atomic
from ...hub_sync.settings import Settings
from ...inference.serving import ServingConfig, check_spec, serve_input
from ...inference.shards import in_shards
from .._lib.row_writer import RowWriter
from .distribution import agreement, distance, drop_reason, one_hot, probabilities, shares
from .judges import WORDS, read_label
from .report import describe_probe

if TYPE_CHECKING:
    from datasets import DatasetDict

    from ...inference.endpoint import Endpoint

Row = dict[str, Any]


class ProbeConfig(Settings):
    """What is drawn and how it is judged. Defaults are our choice, except for the six domains' names."""

    domains: dict[str, str] = Field(
        default_factory=lambda: dict(sorted(WORDS["domains"].items())),
        min_length=2,
        description="Name -> description for the judge; they are asked about in the order of their names.",
    )
    samples: int = Field(1000, ge=1, description="Samples that are drawn.")
    max_new_tokens: int = Field(256, ge=1, description="Tokens of a sample at most.")
    temperature: float = Field(1.0, gt=0, description="Of sampling.")
    top_p: float = Field(1.0, gt=0, le=1, description="Of sampling; 1: the full distribution.")
    top_k: int = Field(0, ge=0, description="Of sampling; 0: the full distribution.")
    prompt: str | None = Field(
        None,
        description="What a sample begins after; null: the tokenizer's start token, else its end token. A served "
        'model needs it, as its start token is not known here: "<s>", or "" if the server adds it.',
    )
    served_model: str | None = Field(
        None, description="openai:MODEL@BASE_URL with a route `completions`; null: the input `model`, or the input "
        "`served_model`, a GGUF repository.",
    )  # fmt: skip
    served_judge: str | None = Field(
        None, description="openai:MODEL@BASE_URL whose replies have logprobs; null: inputs `judge`, `judge_NAME`, or "
        "the input `served_judge`, a GGUF repository.",
    )  # fmt: skip
    serving: ServingConfig = Field(
        default_factory=lambda: ServingConfig.model_validate({}), description="How served models are reached."
    )
    hard: Literal["argmax", "generate"] = Field(
        "argmax", description="Hard label: the most probable label, or what the judge writes, null if it is no label."
    )
    judge_chars: int = Field(2000, ge=1, description="Characters of a sample that a judge reads.")
    min_mass: float = Field(
        0.5, ge=0, le=1, description="A judge whose labels hold less probability on average is named in a warning."
    )
    allow_weak_judge: bool = Field(False, description="Go on if no reply of a judge is a label.")
    min_words: int = Field(5, ge=1, description="Shorter samples are dropped.")
    min_distinct: float = Field(
        0.3, ge=0, le=1, description="Samples with a smaller share of different 3-grams of words are dropped."
    )
    max_failed: float = Field(0.05, ge=0, le=1, description="Share of a server's requests that may fail.")
    resamples: int = Field(2000, ge=1, description="Of the bootstrap.")
    batch_size: int = Field(16, ge=1, description="Samples drawn at once. Another size draws other samples.")
    seed: int = Field(0, ge=0, description="Of the samples and of the bootstrap.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: CUDA, else MPS, else CPU.")
    threads: int | None = Field(None, ge=1, description="torch.set_num_threads; null: torch's choice.")

    @field_validator("domains")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name, description in value.items():
            if not re.fullmatch("[a-z0-9_]+", name) or not description.strip():
                raise ValueError(f"domain {name!r}: a name of a to z, 0 to 9 and _, and a description for the judge")
        return dict(sorted(value.items()))  # recorded settings have no order

    @field_validator("served_model", "served_judge")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else check_spec(value)

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if not self.serving.send_temperature:
            raise ValueError("serving.send_temperature: false: a probe needs the temperature that it states")
        return self


@dataclass(frozen=True)
class Verdicts:
    """A judge's labels of the usable samples, in their order.

    Attributes:
        soft: probabilities by domain, None where no label has any.
        hard: labels, None where the answer is none.
        mass: probability of all labels together.
        off_label: share of the replies that begin with no label (or are none, if the judge writes).
    """

    name: str
    model: str
    soft: list[list[float] | None]
    hard: list[str | None]
    mass: list[float]
    off_label: float


def build(config: ProbeConfig, context: StepContext) -> DatasetDict:
    """Split `train`: id, text, tokens, finished, dropped (reason or null), and of the first judge `probabilities` (in
    the order of `domains`), `hard`, `mass`; of a further judge the same with `_ROLE`. `distribution.json` is written
    below `context.output`.

    Inputs: `model` or `served_model`, and one or more of `judge`, `served_judge`, `judge_NAME`.

    Raises UsageError for inputs that do not fit, DataError if no sample can be judged or a judge writes no label.
    """
    served = config.served_model is not None or "served_model" in context.inputs
    judges = _judges(config, context)
    if served == ("model" in context.inputs):
        raise UsageError(f"step {context.step}: give the model as input `model`, or as `served_model`")
    if served and config.prompt is None:
        raise UsageError(f'step {context.step}: served_model needs `prompt`: its start token, or "" if it adds it')
    samples, model, start = _served_samples(config, context) if served else _samples(config, context)
    for number, row in enumerate(samples):
        reason = row.pop("failed", None)
        row |= {
            "id": f"{number:06d}",
            "dropped": reason or drop_reason(row["text"], config.min_words, config.min_distinct),
        }
    usable = [row for row in samples if row["dropped"] is None]
    dropped = Counter(row["dropped"] for row in samples if row["dropped"] is not None)
    if not usable:
        raise DataError(f"none of {len(samples)} samples of {model} can be judged "
                        f"({', '.join(f'{r}: {n}' for r, n in dropped.items())}): raise max_new_tokens or lower "
                        "min_words")  # fmt: skip
    texts = [{"n": n, "text": row["text"][: config.judge_chars]} for n, row in enumerate(usable)]
    verdicts = [_verdicts(config, context, role, texts) for role in judges]
    result = _distribution(config, verdicts, dropped, len(samples))
    reached = {"serving", "served_model", "served_judge", "device", "threads"}
    result["settings"] = config.model_dump(mode="json", exclude=reached) | {"model": model, "start": start}
    context.output.mkdir(parents=True, exist_ok=True)
    write_atomic(context.output / "distribution.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    describe_probe(context.report, result, verdicts, config.min_mass)
    return _rows(context, samples, verdicts)


def _judges(config: ProbeConfig, context: StepContext) -> list[str]:
    """Roles of the judges, the first one's labels being those of the distribution. Raises UsageError for none."""
    served = config.served_judge is not None or "served_judge" in context.inputs
    further = sorted(role for role in context.inputs if role.startswith("judge_") and not role.endswith(".base"))
    roles = [*(["judge"] if "judge" in context.inputs else []), *(["served_judge"] if served else []), *further]
    if not roles:
        raise UsageError(f"step {context.step}: a probe needs a judge: an input `judge`, or `served_judge`")
    return roles


def _load(config: ProbeConfig, context: StepContext, role: str) -> tuple[Any, Any, str]:
    """(model in evaluation mode, tokenizer, its reference)."""
    import torch

    from ...inference import device, loading

    if config.threads:
        torch.set_num_threads(config.threads)
    tokenizer = loading.input_tokenizer(context.inputs, role)
    model = loading.input_model(context.inputs, role, config.dtype).eval().to(device.choose(config.device))
    return model, tokenizer, str(context.inputs[role].ref)


def _identity(config: ProbeConfig, context: StepContext, role: str, *names: str) -> Row:
    """What decides the rows of a shard beside its input."""
    refs = {name: str(one.ref) for name, one in context.inputs.items() if name in (role, f"{role}.base")}
    return {"step": "versatune_probe", "models": refs} | config.model_dump(mode="json", include={*names, "dtype"})


def _samples(config: ProbeConfig, context: StepContext) -> tuple[list[Row], str, str]:
    """(samples with text, tokens and finished, the model, what they begin after).

    Raises UsageError for a start that the model or tokenizer does not allow, DataError for weights that are not
    numbers.
    """
    from ...inference.generation import Generator
    from ...inference.loading import window

    loaded: list[Any] = []
    name = str(context.inputs["model"].ref)
    start, ids = start_tokens(config.prompt, context)

    def draw(some: Sequence[Row], index: int) -> Iterable[Row]:
        if not loaded:
            model, tokenizer, _ = _load(config, context, "model")
            positions = window(model.config)
            if positions is not None and len(ids) + config.max_new_tokens > positions:
                raise UsageError(
                    f"max_new_tokens {config.max_new_tokens} and a prompt of {len(ids)} are longer than the "
                    f"{positions} positions of {name}: write max_new_tokens: {positions - len(ids)}"
                )
            loaded.append(
                Generator(
                    model, tokenizer, temperature=config.temperature, max_new_tokens=config.max_new_tokens,
                    seed=config.seed, source_name=name, top_k=config.top_k, top_p=config.top_p, chat=False,
                )
            )  # fmt: skip
            loaded[0].check([ids])
        try:
            batch = loaded[0].sample([ids] * len(some), f"samples {index}")
        except RuntimeError as error:  # torch's, for probabilities that are NaN or infinite
            raise DataError(f"{name} cannot be sampled ({first_line(error)}): check its weights") from error
        return [{"text": one.text, "tokens": one.tokens, "finished": not one.cut} for one in batch]

    identity = _identity(config, context, "model", "temperature", "top_p", "top_k", "max_new_tokens", "prompt", "seed")
    numbers = [{"n": n} for n in range(config.samples)]
    rows = in_shards(numbers, identity, context.workdir / "samples", config.batch_size, draw)
    return list(rows), name, start


def start_tokens(prompt: str | None, context: StepContext) -> tuple[str, list[int]]:
    """(what a sample begins after, in words; its token ids): the prompt, else the start token, else the end token.

    Raises UsageError for a tokenizer with neither, and a prompt without tokens.
    """
    from ...inference.loading import input_tokenizer

    tokenizer, name = input_tokenizer(context.inputs, "model"), context.inputs["model"].ref
    if prompt is not None:
        ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if not ids:
            raise UsageError(f"prompt {prompt!r} has no tokens: write the start token, or leave prompt out")
        return f"the prompt {prompt!r}", ids
    for what, token in (("start", "bos_token"), ("end", "eos_token")):
        if (number := getattr(tokenizer, f"{token}_id")) is not None:
            note = "" if what == "start" else ", as the tokenizer has no start token"
            return f"the {what} token `{getattr(tokenizer, token)}`{note}", [number]
    raise UsageError(f"the tokenizer of {name} has neither start nor end token: set prompt")


def _stage(
    config: ProbeConfig, context: StepContext, role: str, work: str, rows: Sequence[Row], settings: Row
) -> tuple[list[Row | None], Endpoint]:
    """(results in the order of the rows, None for a failed one, endpoint) of a served model."""
    from ...inference.stage import Failure, run_stage

    endpoint = serve_input(role, getattr(config, role), config.serving, context)
    result = run_stage(
        f"{__package__}.served:{work}", rows, settings, endpoint=endpoint, folder=context.workdir / role,
        recording=context.recording or context.workdir / "recording", replay=context.replay,
        max_failed=config.max_failed, **config.serving.scale(),
    )  # fmt: skip
    return [None if isinstance(one, Failure) else one for one in result], endpoint


def _served_samples(config: ProbeConfig, context: StepContext) -> tuple[list[Row], str, str]:
    sampling = {"max_tokens": config.max_new_tokens, "temperature": config.temperature, "top_p": config.top_p,
                "top_k": config.top_k, "min_p": 0.0}  # fmt: skip
    settings = {"prompt": config.prompt, "sampling": sampling, "seed": config.seed}
    rows, endpoint = _stage(
        config, context, "served_model", "sample", [{"n": n} for n in range(config.samples)], settings
    )
    absent = {"text": "", "tokens": 0, "finished": False, "failed": "request failed"}
    return [row or dict(absent) for row in rows], endpoint.made_by, f"the prompt {config.prompt!r}"


def _verdicts(config: ProbeConfig, context: StepContext, role: str, texts: list[Row]) -> Verdicts:
    """A judge's labels. Raises DataError if no reply is a label, unless `allow_weak_judge`."""
    rows: list[Row | None]
    if role == "served_judge":
        settings = {"domains": config.domains, "generate": config.hard == "generate", "prompt": WORDS["prompt"]}
        rows, endpoint = _stage(config, context, role, "judge", texts, settings)
        model = endpoint.made_by
    else:
        rows, model = _judged(config, context, role, texts), str(context.inputs[role].ref)
    labels, soft, hard, mass, off = list(config.domains), list[Any](), list[str | None](), list[float](), 0
    for row in rows:
        p, held = probabilities(row["logp"]) if row else (None, 0.0)
        label = labels[int(np.argmax(p))] if p is not None else None
        if config.hard == "generate":
            label = read_label(row["answer"], labels) if row else None
        off += (label is None) if config.hard == "generate" else not (row and row["on_label"])
        soft.append(p)
        hard.append(label)
        mass.append(held)
    if off == len(rows) and not config.allow_weak_judge:
        raise DataError(
            f"judge {model} gives no label for any of {len(rows)} samples (its labels hold {np.mean(mass):.1%} of the "
            "probability): use a stronger judge, or set allow_weak_judge: true"
        )
    return Verdicts(role, model, soft, hard, mass, off / len(rows))


def _judged(config: ProbeConfig, context: StepContext, role: str, texts: list[Row]) -> list[Row | None]:
    from .judges import LabelJudge

    loaded: list[LabelJudge] = []

    def judge(some: Sequence[Row], index: int) -> Iterable[Row]:
        if not loaded:
            model, tokenizer, name = _load(config, context, role)
            generate = config.hard == "generate"
            loaded.append(LabelJudge(model, tokenizer, config.domains, source_name=name, generate=generate))
        return [loaded[0].read(row["text"]) for row in some]

    identity = _identity(config, context, role, "domains", "hard") | {"prompt": WORDS["prompt"] + WORDS["cue"]}
    return list(in_shards(texts, identity, context.workdir / role, config.batch_size, judge))


def _distribution(config: ProbeConfig, verdicts: Sequence[Verdicts], dropped: Mapping[str, int], read: int) -> Row:
    """`distribution.json` without its settings."""
    domains, first = list(config.domains), verdicts[0]
    how = {"resamples": config.resamples, "seed": config.seed}

    def figures(one: Verdicts) -> Row:
        soft, hard = [p for p in one.soft if p is not None], [label for label in one.hard if label is not None]
        return {
            "soft": shares(np.array(soft).reshape(-1, len(domains)), domains, **how),
            "hard": shares(one_hot(hard, domains), domains, **how),
        }

    judges = {
        one.name: {
            "model": one.model, "mean_mass": float(np.mean(one.mass)), "off_label": one.off_label,
            "weak": bool(np.mean(one.mass) < config.min_mass),
            "unlabelled": {"soft": one.soft.count(None), "hard": one.hard.count(None)}, **figures(one),
        }
        for one in verdicts
    }  # fmt: skip
    compared: Row = {}
    if config.hard == "generate":
        likeliest = [domains[int(np.argmax(p))] if p is not None else None for p in first.soft]
        compared["soft and hard"] = agreement(likeliest, first.hard)
    compared |= {
        f"{first.name} and {one.name}": agreement(first.hard, one.hard) | {"distance": distance(first.soft, one.soft)}
        for one in verdicts[1:]
    }
    return {
        "domains": domains, "soft": judges[first.name]["soft"], "hard": judges[first.name]["hard"],
        "n": len(first.hard), "dropped": dict(sorted(dropped.items())), "drop_rate": sum(dropped.values()) / read,
        "judges": judges, "agreement": compared,
    }  # fmt: skip


def _rows(context: StepContext, samples: Sequence[Row], verdicts: Sequence[Verdicts]) -> DatasetDict:
    from datasets import Features, List, Value

    text, number = Value("string"), Value("float64")
    types: Row = {"id": text, "text": text, "tokens": Value("int64"), "finished": Value("bool"), "dropped": text}
    for place, one in enumerate(verdicts):
        end = f"_{one.name}" if place else ""
        types |= {f"probabilities{end}": List(number), f"hard{end}": text, f"mass{end}": number}
    writer, place = RowWriter(context.workdir / "rows", Features(types)), 0
    for row in samples:
        labelled = row["dropped"] is None
        for n, one in enumerate(verdicts):
            end = f"_{one.name}" if n else ""
            values = (one.soft[place], one.hard[place], one.mass[place]) if labelled else (None, None, None)
            row |= dict(zip((f"probabilities{end}", f"hard{end}", f"mass{end}"), values, strict=True))
        place += labelled
        writer.write("train", row)
    return writer.finish()
