"""TRL's GRPOTrainer and RLOOTrainer on single steps, rewarded by a discriminator, with an exact resume."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import trl
from accelerate.utils import set_seed
from datasets import Json, List
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, disable_dropout_in_model

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError
from ...inference import loading
from ...inference.conversations import RowRejected
from .._lib import chat, loop, rows
from .._lib import model as models
from .._lib.arguments import build
from .discriminator_trainer import check_vocabulary, read_discriminator
from .inverse import InverseConfig

REWARD = "discriminator"  # in the names of metrics


class StateReader(rows.Reader):
    """Reads states that the agent answers to, each with the expert's action where it is known."""

    def read(self, row: Mapping[str, Any], *args: Any) -> dict[str, Any]:
        columns = super().read(row, *args)
        if columns["messages"][-1]["role"] == "assistant":
            raise RowRejected("the state ends with the agent's own turn")
        if columns["tools"]:
            raise RowRejected("tools, which GRPOTrainer does not show to the policy")
        return columns | {"expert_action": row.get("expert_action")}


class States(rows.Encoder):
    """States in the form that GRPOTrainer reads; those that leave no room for an action are left out."""

    names = ("rows", "rows_without_room_for_an_action", "expert_actions_longer_than_max_completion_length",
             "rows_used")  # fmt: skip

    def __init__(self, reader: rows.Reader) -> None:
        super().__init__(reader)
        self.config = cast(InverseConfig, reader.config)
        self.key = self.config.max_length, self.config.max_completion_length
        self.features = {"prompt": List(Json())}

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums, most, prompt = account["sums"], account["most"], columns["messages"]
        action = {"role": "assistant", "content": columns["expert_action"] or "a"}
        start = len(self.reader.tokens(prompt, None, add_generation_prompt=True)["input_ids"])
        ids = self.reader.tokens([*prompt, action], None)["input_ids"]
        eos = self.reader.tokenizer.eos_token_id
        end = ids.index(eos, start) + 1 if eos in ids[start:] else len(ids)
        # What the template puts behind an action is read by the discriminator.
        length = start + self.config.max_completion_length + len(ids) - end
        fits = length <= self.config.max_length
        long = bool(columns["expert_action"]) and end - start > self.config.max_completion_length
        counted = (1, not fits, long, fits)
        sums.update(dict(zip(self.names, counted, strict=True)))
        if not fits:
            return None
        most["id"], most["length"] = max(most.get("id", -1), *ids), max(most.get("length", 0), length)
        return {"prompt": prompt}

    def check(self, sums: Mapping[str, int], split: str) -> None:
        config = self.config
        total, full, long, used = (sums.get(name, 0) for name in self.names)
        if full > config.max_cut_share * total or full == total:
            raise UsageError(
                f"in {full} of {total} rows of the {split} split the state leaves no room for an action: "
                f"max_completion_length {config.max_completion_length}, max_length {config.max_length}: raise it"
            )
        if long == total:
            raise UsageError(
                f"all {total} expert actions of the {split} split are longer than max_completion_length "
                f"{config.max_completion_length}, so that none can be drawn: raise it"
            )
        group = config.per_device_train_batch_size * config.num_processes * config.gradient_accumulation_steps
        if used < group // config.num_generations:
            raise UsageError(
                f"{used} states of the {split} split, and a step takes {group // config.num_generations} "
                f"({group} completions, num_generations {config.num_generations}): lower per_device_train_batch_size "
                "or gradient_accumulation_steps"
            )


class PassSampler(RepeatSampler):
    """TRL's order of the prompts, which in the first pass is the same. Those of later passes follow from their number
    alone, so that a resumed training has them too; TRL's follow from how often the sampler was begun."""

    def set_epoch(self, epoch: int) -> None:
        """Called by transformers at the beginning of every pass."""
        self.generator.manual_seed((self.seed or 0) + epoch)


class InverseMixin(chat.ChatMixin):
    """What GRPO and RLOO have in common.

    Attributes:
        completions: drawn so far in this process.
    """

    curves = (
        ("Reward", "log D - log(1 - D), mean", {"train": "reward"}),
        ("KL divergence", "nats per token, from the policy at the start", {"train": "kl"}),
        ("Entropy", "nats per token", {"train": "entropy"}),
        ("Length of actions", "tokens, mean", {"train": "completions/mean_length"}),
        ("Actions cut", "share without end of turn", {"train": "completions/clipped_ratio"}),
        ("Equal rewards", "share of states whose actions have one reward", {"train": "frac_reward_zero_std"}),
    )  # fmt: skip
    completions = 0
    _total_train_tokens: int

    def card_tags(self) -> list[str]:
        return [*super().card_tags(), "stepagent"]

    def can_resume(self) -> bool:
        """Between two draws: completions that are still used are in no checkpoint."""
        return bool(self.state.global_step % self.num_iterations == 0)  # type: ignore[attr-defined]

    def keep_reference(self, reference: Any, beta: float) -> None:
        """Let a copy of the policy at the start be the reference. TRL would read it by the name in its config, which
        is the base of an adapter that was folded in."""
        disable_dropout_in_model(reference)
        add_fused_lm_head(reference.eval(), temperature=self.temperature)  # type: ignore[attr-defined]
        self.beta = beta
        self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)  # type: ignore[attr-defined]

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        # Processes that share a state must not draw the same actions.
        set_seed(self.args.seed, device_specific=True)  # type: ignore[attr-defined]
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        usual = super()._get_train_sampler(dataset)  # type: ignore[misc]
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return PassSampler(**{name: getattr(usual, name) for name in names})

    def _generate(self, prompts: Any, *args: Any, **kwargs: Any) -> Any:
        before, self.completions = self.state.num_input_tokens_seen, self.completions + len(prompts)  # type: ignore[attr-defined]
        drawn = super()._generate(prompts, *args, **kwargs)  # type: ignore[misc]
        self._total_train_tokens += self.state.num_input_tokens_seen - before  # type: ignore[attr-defined]
        return drawn


class GRPOTrainer(InverseMixin, trl.GRPOTrainer):
    """A method subclasses it and overrides TRL's hooks. Arguments as of `ChatMixin`."""


class RLOOTrainer(InverseMixin, trl.RLOOTrainer):
    """A method subclasses it and overrides TRL's hooks. Arguments as of `ChatMixin`."""


TRAINERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "grpo": (GRPOTrainer, trl.GRPOConfig), "rloo": (RLOOTrainer, trl.RLOOConfig),
}  # fmt: skip


def fit(config: InverseConfig, context: StepContext, trainer_class: Callable[..., Any] | None = None) -> Any:
    """One process's training; returns its trainer."""
    usual, arguments_class = TRAINERS[config.algorithm]
    source_name = loop.name(context, "dataset")
    loop.name(context, REWARD)
    models.check(config, context)
    tokenizer = models.load_tokenizer(config, context)
    if tokenizer.eos_token is None:
        raise UsageError(f"the tokenizer of {loop.name(context, 'model')} has no eos token to end an action: set one")
    reward_tokenizer = check_vocabulary(tokenizer, context)
    reward = read_discriminator(config, context)
    reward.config._name_or_path, called = REWARD, loop.name(context, REWARD)
    ids, embeddings = tokenizer.get_vocab().values(), reward.get_input_embeddings().weight.shape[0]
    loading.check_ids(ids, embeddings, tokenizer, called)
    loading.check_window([config.max_length], reward.config, called)

    def form_of(columns: set[str]) -> rows.Form:
        if "prompt" not in columns:
            raise DataError(
                f"{source_name} lacks `prompt`: a policy is trained on the states of config `steps`; its columns are "
                f"{', '.join(sorted(columns))}"
            )
        return rows.Form(messages="prompt")

    def arguments(_: rows.Form, **common: Any) -> Any:
        own = {"num_generations", "num_iterations", "epsilon", "max_completion_length", "temperature"}
        own |= {"loss_type", "scale_rewards"} if config.algorithm == "grpo" else set()
        common = {name: value for name, value in common.items() if name not in ("max_length", "dataset_num_proc")}
        beta = 0.0 if config.lora is None else config.beta  # without an adapter we keep the reference ourselves
        fixed = common | config.model_dump(include=own) | {"beta": beta, "disable_dropout": True}
        return build(config, arguments_class, fixed)

    def make(*settings: Any, model: Any, args: Any, **options: Any) -> Any:
        for module in model.modules():  # TRL's disable_dropout knows layers of dropout alone
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
        reference = copy.deepcopy(model) if config.beta and config.lora is None else None
        options |= {"reward_funcs": reward, "reward_processing_classes": reward_tokenizer}
        trainer = (trainer_class or usual)(*settings, model=model, args=args, **options)
        if reference is not None:
            trainer.keep_reference(reference, config.beta)
        return trainer

    return chat.fit(config, context, make, arguments, form_of, States, StateReader)
