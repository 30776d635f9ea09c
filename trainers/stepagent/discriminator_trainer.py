"""transformers' Trainer on a binary classifier of state and action."""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from peft import get_peft_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification

from ...hub_sync.context import Input, Report, StepContext
from ...hub_sync.errors import DataError, UsageError, first_line
from ...inference.loading import CompleteModels
from .._lib import loop, rows, templates
from .._lib import model as models
from .._lib.arguments import build
from .discriminator import DiscriminatorConfig
from .pairs import COLUMNS, EXPERT, Collator, PairReader, Pairs, samples_of


def read_discriminator(config: Any, context: StepContext, role: str = "discriminator") -> Any:
    """The classifier of an input in `config.dtype`, every weight from its files. Raises DataError in one line, also if
    it has more than one label."""
    source = context.inputs[role]
    try:
        auto = CompleteModels(AutoModelForSequenceClassification, str(source.ref))
        model = auto.from_pretrained(
            str(source.path), dtype=config.dtype, use_safetensors=True, attn_implementation=config.attn_implementation
        )
    except DataError:
        raise
    except Exception as error:  # safetensors, transformers and torch raise classes of their own
        message = first_line(error).replace(str(source.path), str(source.ref))
        raise DataError(f"{source.ref} cannot be loaded as a discriminator: {message}") from error
    if model.config.num_labels != 1:
        raise DataError(
            f"{source.ref} has {model.config.num_labels} labels, a discriminator has one: train one with "
            "stepagent_discriminator"
        )
    return model


def check_vocabulary(tokenizer: Any, context: StepContext, role: str = "discriminator") -> Any:
    """The tokenizer of an input. Raises DataError if its tokens are not those of the model's `tokenizer`."""
    other = models.read_tokenizer(context, role)
    if other.get_vocab() != tokenizer.get_vocab():
        raise DataError(
            f"{context.inputs[role].ref} has another vocabulary than {loop.name(context, 'model')}: train a "
            "discriminator from this model"
        )
    return other


def with_head(language_model: Any, source_name: str) -> Any:
    """A causal language model's body under a new head with one label, drawn with torch's random state; raises
    UsageError for an architecture without such a class."""
    config = copy.deepcopy(language_model.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):  # the body is there already
            model = AutoModelForSequenceClassification.from_config(config)
        head = model.score
    except (AttributeError, ValueError) as error:
        raise UsageError(
            f"{source_name}: transformers has no sequence classification with a `score` head for "
            f"{config.model_type}: use another architecture"
        ) from error
    setattr(model, model.base_model_prefix, getattr(language_model, language_model.base_model_prefix))
    model.score = torch.nn.Linear(head.in_features, 1, bias=head.bias is not None, dtype=language_model.dtype)
    torch.nn.init.normal_(model.score.weight, std=getattr(config.get_text_config(), "initializer_range", 0.02))
    return model


def figures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What a discriminator is measured by.

    Args:
        logits: (rows,).
        labels: (rows, 2), as of `Collator`.

    Returns `bce` (nats), `accuracy` (ties left out, since nothing tells them apart), the mean of D on the expert's and
    on the agent's actions, and on ties the mean distance of D from 1/2, where it belongs.
    """
    expert, tie = labels[:, 0] == EXPERT, labels[:, 1] == 1
    signed = np.where(expert, logits, -logits).astype(np.float64)
    d = 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))
    parts = {
        "bce": np.logaddexp(0, -signed), "accuracy": (signed > 0)[~tie], "d_expert": d[expert], "d_agent": d[~expert],
        "d_on_ties_from_half": np.abs(d - 0.5)[tie],
    }  # fmt: skip
    return {name: float(part.mean()) for name, part in parts.items() if len(part)}


class DiscriminatorTrainer(loop.CheckpointMixin, transformers.Trainer):
    """A method subclasses it and overrides `compute_loss`.

    Attributes:
        class_weights: of agent and expert, float32 (2,): both sides count the same, whatever is replayed.
    """

    curves = (
        ("Accuracy", "share of actions told apart, ties left out", {"eval": "eval_accuracy"}),
        ("D", "mean probability of the expert", {"expert": "eval_d_expert", "agent": "eval_d_agent"}),
    )
    final_metrics = ("eval_bce", "eval_accuracy", "eval_d_expert", "eval_d_agent", "eval_d_on_ties_from_half")
    _total_train_tokens = 0
    config: DiscriminatorConfig
    class_weights: torch.Tensor

    def card_tags(self) -> list[str]:
        return ["stepagent", "reward-model"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the batch; the gradient penalty in training alone."""
        labels = inputs["labels"][:, 0]
        penalised = bool(self.config.gradient_penalty) and model.training
        with _Embeddings(self.accelerator.unwrap_model(model), penalised) as embeddings:
            outputs = model(**{key: inputs[key] for key in ("input_ids", "attention_mask")}, use_cache=False)
            logits = outputs.logits[:, 0].float()
            targets = labels * (1 - self.config.label_smoothing) + self.config.label_smoothing / 2
            losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
            loss = (losses * self.class_weights.to(labels.device)[labels.long()]).mean()
            if penalised:
                [slope] = torch.autograd.grad(logits.sum(), embeddings.output, create_graph=True)
                loss = loss + self.config.gradient_penalty / 2 * slope.float().pow(2).sum((1, 2)).mean()
        if model.training:
            self._total_train_tokens += int(self.accelerator.reduce(inputs["attention_mask"].sum(), "sum").item())
        return (loss, {"logits": logits}) if return_outputs else loss


class _Embeddings:
    """What a model's input embeddings return while it is entered, with a gradient, under attention that can be
    differentiated twice."""

    output: torch.Tensor

    def __init__(self, model: Any, active: bool) -> None:
        self._model, self._active = model, active

    def __enter__(self) -> "_Embeddings":
        if self._active:
            self._hook = self._model.get_input_embeddings().register_forward_hook(self._keep)
            self._kernel = sdpa_kernel(SDPBackend.MATH)
            self._kernel.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._active:
            self._hook.remove()
            self._kernel.__exit__(*error)

    def _keep(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        self.output = output if output.requires_grad else output.requires_grad_()
        return self.output


def fit(
    config: DiscriminatorConfig, context: StepContext, trainer_class: type[DiscriminatorTrainer] = DiscriminatorTrainer
) -> DiscriminatorTrainer:
    """One process's training; returns its trainer."""
    models.check(config, context)
    source_name, warm = loop.name(context, "model"), "discriminator" in context.inputs
    replays = _check_replays(config, context)
    tokenizer = models.load_tokenizer(config, context)
    if warm:
        tokenizer = check_vocabulary(tokenizer, context)
    template = templates.choose(tokenizer, source_name, tools=False)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise UsageError(f"the tokenizer of {source_name} has neither pad nor eos token: set one")
        tokenizer.pad_token = tokenizer.eos_token  # as GRPOTrainer does
    fixed = loop.training_arguments(config, context, config.eval_split is not None or config.eval_share > 0)
    fixed |= {"remove_unused_columns": False, "label_names": ["labels"]}
    arguments = build(config, transformers.TrainingArguments, fixed)
    with arguments.main_process_first(local=False):
        splits, accounts = _read(config, context, tokenizer)
        earlier = [
            _read(config, dataclasses.replace(context, report=Report(), inputs={**context.inputs, "dataset": one}),
                  tokenizer, replayed=True)
            for one in replays
        ]  # fmt: skip
    train, held_out = samples_of(config, context, splits, [part["train"] for part, _ in earlier])
    start = loop.name(context, "discriminator") if warm else source_name
    model = read_discriminator(config, context) if warm else models.read_model(config, context)
    transformers.set_seed(config.seed)  # a resumed run draws the same head, whatever was cached
    model = model if warm else with_head(model, source_name)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    for account in (*accounts, *(account for _, several in earlier for account in several)):
        models.check_extremes(account["most"]["id"], account["most"]["length"], model, tokenizer, start)
    if (adapter := models.peft_config(config, model, start)) is not None:
        adapter.task_type = "SEQ_CLS"  # which trains the head, and saves it
        model = get_peft_model(model, adapter)
    tokenizer.chat_template = template
    trainer = trainer_class(
        model=model,
        args=arguments,
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        compute_metrics=lambda result: figures(np.asarray(result.predictions), np.asarray(result.label_ids)),
    )
    trainer.config, trainer.model_accepts_loss_kwargs = config, False  # the loss is a mean over the batch
    counts = context.report.counts
    experts, agents = counts["train_expert_actions"], counts["train_agent_actions"]
    trainer.class_weights = torch.tensor([(experts + agents) / 2 / side for side in (agents, experts)])
    loop.fit(trainer, config, context)
    context.report.card["pipeline_tag"] = "text-classification"
    return trainer


def _check_replays(config: DiscriminatorConfig, context: StepContext) -> list[Input]:
    """The inputs with pairs of earlier cycles. Raises UsageError for pairs of this one, or none of which is taken."""
    replays = {role: one for role, one in sorted(context.inputs.items()) if role.startswith("replay_")}
    for role, one in replays.items():
        if not config.replay_share:
            raise UsageError(f"step {context.step}: replay_share is 0, so nothing of {role} is used: drop one of them")
        if one.ref == context.inputs["dataset"].ref:
            raise UsageError(f"step {context.step}: {role} is the data set itself, {one.ref}: name an earlier cycle's")
    return list(replays.values())


def _read(
    config: DiscriminatorConfig, context: StepContext, tokenizer: Any, replayed: bool = False
) -> tuple[dict[str, Dataset], list[rows.Account]]:
    """The rows of the splits as tokens, and their accounts; the train split alone where they are replayed."""
    source_name = loop.name(context, "dataset")
    splits = loop.load_splits(config.model_copy(update={"eval_split": None}) if replayed else config, context)
    if missing := [name for name in COLUMNS if name not in splits["train"].column_names]:
        raise DataError(
            f"{source_name} lacks `{missing[0]}`: a discriminator reads pairs as stepagent_inspect writes them; "
            f"its columns are {', '.join(sorted(splits['train'].column_names))}"
        )
    reader = PairReader(splits["train"], rows.Form(responses=("chosen", "rejected")), tokenizer, config, context)
    prepared = {split: rows.prepare(part, split, Pairs(reader), context) for split, part in splits.items()}
    return {split: part for split, (part, _) in prepared.items()}, [account for _, account in prepared.values()]
