"""PPO's clipped loss on stored actions, on TRL's SFTTrainer."""

from collections.abc import Mapping
from typing import Any, cast

import torch
import trl
from datasets import Dataset, Features, List, Value, concatenate_datasets
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...inference.conversations import read_messages
from ...inference.generation import end_of_turn
from .._lib import chat, rows
from .._lib.arguments import build
from .episodes import steps_of
from .gigpo import GiGPOConfig

UNSCORED = -100


class StepReader(rows.Reader):
    """Reads episodes as steps."""

    @classmethod
    def unfold(cls, splits: dict[str, Any], config: Any, context: StepContext) -> dict[str, Any]:
        return {role: steps_of(split, role, config, context) for role, split in splits.items()}

    def read(self, row: Mapping[str, Any], pads: Any, changes: Any) -> dict[str, Any]:
        # An empty reply ends the turn at once: an action like others.
        names = ("prompt", "completion")
        turns = {name: read_messages(row[name], [], empty_answers=True, changes=changes) for name in names}
        return {**turns, "unlearnt": [], "tools": None, "advantage": row["advantage"], "cut": row["cut"]}


class Actions(rows.Encoder):
    """Tokens of prompt and action up to the action's end of turn, which a cut reply does not have; a row longer than
    `max_length` is left out."""

    features = dict.fromkeys(("input_ids", "labels"), List(Value("int32"))) | {"advantage": List(Value("float32"))}
    names = ("rows", "rows_cut_while_played", "rows_longer_than_max_length", "rows_used", "tokens", "action_tokens")

    def __init__(self, reader: rows.Reader) -> None:
        super().__init__(reader)
        self.config = cast(GiGPOConfig, reader.config)
        self.key = self.config.max_length
        end = end_of_turn(reader.tokenizer)
        self.end = reader.tokenizer.eos_token_id if end is None else end

    def __call__(self, columns: dict[str, Any], account: rows.Account) -> dict[str, Any] | None:
        sums, most = account["sums"], account["most"]
        start, [ids] = self.reader.continued(columns, sums)
        if self.end in ids[start:]:  # what the template writes behind it was not drawn, nor it in a cut reply
            ids = ids[: ids.index(self.end, start) + (not columns["cut"])]
        fits = start < len(ids) <= self.config.max_length
        sums.update({
            "rows": 1, "rows_cut_while_played": columns["cut"], "rows_longer_than_max_length": not fits,
            "rows_used": fits, "tokens": fits * len(ids), "action_tokens": fits * (len(ids) - start),
        })  # fmt: skip
        if not fits:
            return None
        most["id"], most["length"] = max(most.get("id", -1), *ids), max(most.get("length", 0), len(ids))
        labels = [UNSCORED] * start + ids[start:]
        return {"input_ids": ids, "labels": labels, "advantage": [columns["advantage"]]}

    def check(self, sums: Mapping[str, int], split: str) -> None:
        total, long, config = sums["rows"], sums.get("rows_longer_than_max_length", 0), self.config
        if long > config.max_cut_share * total or long == total:
            raise UsageError(
                f"{long} of {total} steps of the {split} split are longer than max_length {config.max_length}, more "
                f"than max_cut_share {config.max_cut_share}: raise one of the two"
            )


class Collator(DataCollatorForLanguageModeling):
    """TRL's, with `advantage` (batch,) and, where the rows have them, `start_logps` (action tokens of the batch,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        for name in {"advantage", "start_logps"} & examples[0].keys():
            batch[name] = torch.tensor([value for example in examples for value in example[name]])
        return batch


class GiGPOTrainer(chat.ChatMixin, trl.SFTTrainer):
    """A method subclasses it and overrides TRL's hooks, such as `compute_loss`. Arguments as of `ChatMixin`."""

    curves = (
        ("KL divergence", "nats per token from the model at the start, k3", {"train": "kl", "eval": "eval_kl"}),
        ("Clipped tokens", "share", {"train": "clipped", "eval": "eval_clipped"}),
        ("Log-probability of actions", "nats per token, mean", {"train": "logp", "eval": "eval_logp"}),
    )
    final_metrics = ("eval_kl",)
    config: GiGPOConfig
    model: Any
    data_collator: Any
    _metrics: Any

    def __init__(self, config: Any, context: StepContext, **options: Any) -> None:
        super().__init__(config, context, **options)
        self.model_accepts_loss_kwargs = True  # the loss is one of the whole optimiser step
        self.data_collator = Collator(self.data_collator.pad_token_id)
        self.train_dataset = self._with_start(self.train_dataset, "train")
        if self.eval_dataset is not None:
            self.eval_dataset = self._with_start(self.eval_dataset, "eval")

    def card_tags(self) -> list[str]:
        return ["gigpo", "reinforcement-learning"]

    def action_logps(self, model: Any, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the actions' tokens, float32 (tokens,), row by row; and where they are, bool (batch,
        length - 1)."""
        labels = inputs["labels"][:, 1:]
        mask = labels != UNSCORED
        places = mask.any(dim=0).nonzero().squeeze(1)
        shown = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logits = model(**shown, use_cache=False, logits_to_keep=places).logits[mask[:, places]]
        return -cross_entropy(logits.float() / self.config.temperature, labels[mask], reduction="none"), mask

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        config, mode = self.config, "train" if self.model.training else "eval"
        logps, mask = self.action_logps(model, inputs)
        lengths = mask.sum(1)
        advantage = inputs["advantage"].repeat_interleave(lengths)
        losses, kl, clipped = token_losses(logps, inputs["start_logps"], advantage, config.epsilon, config.beta)
        weights = 1 / lengths.repeat_interleave(lengths) if config.length_normalised else 1.0
        steps = len(lengths) if num_items_in_batch is None else num_items_in_batch
        loss = (losses * weights).sum() / steps
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        gather = self.accelerator.gather_for_metrics
        for name, values in (("kl", kl), ("clipped", clipped.float()), ("logp", logps)):
            self._metrics[mode][name].append(gather(values.detach().mean()).mean().item())
        if mode == "train":
            self._total_train_tokens += int(gather(inputs["attention_mask"].sum()).sum().item())
        return (loss, {}) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Environment steps of an optimiser step, over all processes where their mean is taken."""
        steps = torch.tensor(sum(len(batch["input_ids"]) for batch in batch_samples), device=device)
        across = self.args.average_tokens_across_devices and self.args.world_size > 1
        return self.accelerator.gather(steps).sum() if across else steps

    def _with_start(self, dataset: Dataset, role: str) -> Dataset:
        """The rows with `start_logps`, those of the model before the first step; each process makes a part, and parts
        that are there are read."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        folder = self.context.workdir / "start_logps"
        folder.mkdir(parents=True, exist_ok=True)
        parts = [folder / f"{role}-{dataset._fingerprint}-{n}-of-{world}.arrow" for n in range(world)]
        self.model.eval()
        dataset.shard(world, rank, contiguous=True).map(
            self._start_logps, batched=True, batch_size=self.args.per_device_eval_batch_size,
            remove_columns=dataset.column_names, features=Features({"start_logps": List(Value("float32"))}),
            new_fingerprint=f"{dataset._fingerprint}-{rank}", cache_file_name=str(parts[rank]),
            desc=f"Log-probabilities of {role} actions",
        )  # fmt: skip
        self.accelerator.wait_for_everyone()
        columns = [Dataset.from_file(str(path)) for path in parts if path.exists()]  # an empty part has no file
        return concatenate_datasets([dataset, concatenate_datasets(columns)], axis=1)

    def _start_logps(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        examples = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
        inputs = self._prepare_inputs(self.data_collator(examples))
        kind = self.accelerator.device.type
        # The forward pass of training has the same autocast.
        with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.args.bf16):
            logps, mask = self.action_logps(self.model, inputs)
        return {"start_logps": [one.tolist() for one in logps.cpu().split(mask.sum(1).tolist())]}


def token_losses(
    logps: torch.Tensor, start: torch.Tensor, advantage: torch.Tensor, epsilon: float, beta: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """PPO's clipped loss with KL, k3's estimate of the KL, and whether the clip is in effect; all (tokens,).

    Args:
        logps, start: log-probabilities of policy and start, (tokens,).
        advantage: of the tokens' steps, (tokens,).
    """
    log_ratio = logps - start
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    kl = torch.exp(-log_ratio) - 1 + log_ratio
    losses = beta * kl - torch.minimum(ratio * advantage, clipped * advantage)
    return losses, kl, clipped * advantage < ratio * advantage


def fit(config: GiGPOConfig, context: StepContext, trainer_class: type[GiGPOTrainer] = GiGPOTrainer) -> GiGPOTrainer:
    """One process's training; returns its trainer."""

    def form_of(_: set[str]) -> rows.Form:
        return rows.Form(responses=("completion",))

    def arguments(_: rows.Form, **common: Any) -> Any:
        # Rows come with tokens and labels, and with columns that the model does not read.
        common |= {"remove_unused_columns": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
        return build(config, trl.SFTConfig, common)

    trainer: GiGPOTrainer = chat.fit(config, context, trainer_class, arguments, form_of, Actions, StepReader)
    return trainer
